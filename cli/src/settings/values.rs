//! How the text of a setting becomes a value, and how a value is shown in the help text.

use keylane_broker::config::{BrokerConfig, VoterAddress};
use keylane_broker::topic_settings::Durability;
use keylane_protocol::cluster::Endpoint;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::admin::AdminAddress;
use crate::quantity;

pub(super) fn put<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

pub(super) fn number<N: FromStr>(text: &str) -> Result<N, String>
where
    N::Err: Display,
{
    text.parse()
        .map_err(|error| format!("not a whole number that is possible here ({error})"))
}

pub(super) fn size<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    N::try_from(quantity::size(text)?).map_err(|_| "larger than is possible".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    quantity::duration(text)
}

pub(super) fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "give true or false".to_owned())
}

pub(super) fn durability(text: &str) -> Result<Durability, String> {
    text.parse().map_err(|_| {
        "give fsync (survives a power loss) or page-cache (faster, does not)".to_owned()
    })
}

pub(super) fn put_host(config: &mut BrokerConfig, text: &str) -> Result<(), String> {
    let host: IpAddr = text.parse().map_err(|_| {
        "not an IP address: give 127.0.0.1 for this machine only, 0.0.0.0 for every network"
            .to_owned()
    })?;
    config.listen.set_ip(host);
    Ok(())
}

pub(super) fn put_port(config: &mut BrokerConfig, text: &str) -> Result<(), String> {
    let port = text
        .parse()
        .map_err(|_| "not a port: give a number from 0 to 65535, 0 takes a free one".to_owned())?;
    config.listen.set_port(port);
    Ok(())
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "not an IP address and a port: give for instance 127.0.0.1:9093".to_owned())
}

pub(super) fn admin_address(text: &str) -> Result<Option<SocketAddr>, String> {
    let address: AdminAddress = text.parse()?;
    Ok(address.0)
}

pub(super) fn show_admin_address(address: Option<SocketAddr>) -> String {
    AdminAddress(address).to_string()
}

pub(super) fn voters(text: &str) -> Result<Vec<VoterAddress>, String> {
    let voters = text.split(',').map(|voter| {
        let voter: Result<VoterAddress, _> = voter.trim().parse();
        voter.map_err(|error| error.to_string())
    });
    voters.collect()
}

pub(super) fn advertised(text: &str) -> Result<Option<Endpoint>, String> {
    let endpoint: Result<Endpoint, _> = text.parse();
    endpoint.map(Some).map_err(|error| error.to_string())
}

pub(super) fn show_size(bytes: impl TryInto<u64>) -> String {
    bytes.try_into().map_or(String::new(), quantity::show_size)
}

pub(super) fn show_time(time: Duration) -> String {
    quantity::show_duration(time)
}
