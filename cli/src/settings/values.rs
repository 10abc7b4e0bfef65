//! How the text of a setting becomes a value of a configuration, and how such a value is shown in the help text.

use keylane_broker::topic_settings::Durability;
use keylane_protocol::cluster::Endpoint;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::quantity;

/// A value in a configuration, with its way to be written.
pub(super) trait Value {
    /// Takes what the text says.
    fn read(&mut self, text: &str) -> Result<(), String>;
    /// Returns the text that says this value; empty if none does.
    fn show(&self) -> String;
}

/// A value in a configuration, whatever its type.
pub(super) type AnyValue<'a> = Box<dyn Value + 'a>;

struct Written<'a, T> {
    value: &'a mut T,
    /// Returns what becomes of the value with a text.
    read: fn(&T, &str) -> Result<T, String>,
    show: fn(&T) -> String,
}

impl<T> Value for Written<'_, T> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self.value = (self.read)(self.value, text)?;
        Ok(())
    }

    fn show(&self) -> String {
        (self.show)(self.value)
    }
}

fn written<T>(
    value: &mut T,
    read: fn(&T, &str) -> Result<T, String>,
    show: fn(&T) -> String,
) -> AnyValue<'_> {
    Box::new(Written { value, read, show })
}

pub(super) fn number<N>(value: &mut N) -> AnyValue<'_>
where
    N: FromStr<Err: Display> + Display,
{
    let read = |_: &N, text: &str| {
        text.parse()
            .map_err(|error| format!("not a whole number that is possible here ({error})"))
    };
    written(value, read, N::to_string)
}

pub(super) fn size<N>(value: &mut N) -> AnyValue<'_>
where
    N: TryFrom<u64> + TryInto<u64> + Copy,
{
    let read = |_: &N, text: &str| {
        N::try_from(quantity::size(text)?).map_err(|_| "larger than is possible".to_owned())
    };
    let show = |bytes: &N| {
        let bytes = (*bytes).try_into();
        bytes.map_or(String::new(), quantity::show_size)
    };
    written(value, read, show)
}

pub(super) fn duration(value: &mut Duration) -> AnyValue<'_> {
    let show = |time: &Duration| quantity::show_duration(*time);
    written(value, |_, text| quantity::duration(text), show)
}

pub(super) fn truth(value: &mut bool) -> AnyValue<'_> {
    let read = |_: &bool, text: &str| parsed(text, "give true or false");
    written(value, read, bool::to_string)
}

pub(super) fn durability(value: &mut Durability) -> AnyValue<'_> {
    const WORDS: &str = "give fsync (survives a power loss) or page-cache (faster, does not)";
    written(value, |_, text| parsed(text, WORDS), Durability::to_string)
}

pub(super) fn folder(value: &mut PathBuf) -> AnyValue<'_> {
    written(
        value,
        |_, text| Ok(text.into()),
        |folder| folder.display().to_string(),
    )
}

pub(super) fn host(value: &mut SocketAddr) -> AnyValue<'_> {
    const WORDS: &str =
        "not an IP address: give 127.0.0.1 for this machine only, 0.0.0.0 for every network";
    let read =
        |listen: &SocketAddr, text: &str| Ok(SocketAddr::new(parsed(text, WORDS)?, listen.port()));
    written(value, read, |listen| listen.ip().to_string())
}

pub(super) fn port(value: &mut SocketAddr) -> AnyValue<'_> {
    const WORDS: &str = "not a port: give a number from 0 to 65535, 0 takes a free one";
    let read =
        |listen: &SocketAddr, text: &str| Ok(SocketAddr::new(listen.ip(), parsed(text, WORDS)?));
    written(value, read, |listen| listen.port().to_string())
}

pub(super) fn socket_address(value: &mut SocketAddr) -> AnyValue<'_> {
    const WORDS: &str = "not an IP address and a port: give for instance 127.0.0.1:9093";
    let read = |_: &SocketAddr, text: &str| parsed(text, WORDS);
    written(value, read, SocketAddr::to_string)
}

pub(super) fn admin_address(value: &mut Option<SocketAddr>) -> AnyValue<'_> {
    const OFF: &str = "off";
    const WORDS: &str = "not an IP address and a port: give for instance 127.0.0.1:9644, or off";
    let read = |_: &Option<SocketAddr>, text: &str| match text {
        OFF => Ok(None),
        text => parsed(text, WORDS).map(Some),
    };
    let show = |address: &Option<SocketAddr>| {
        let address = address.as_ref();
        address.map_or(OFF.to_owned(), ToString::to_string)
    };
    written(value, read, show)
}

pub(super) fn advertised(value: &mut Option<Endpoint>) -> AnyValue<'_> {
    let read = |_: &Option<Endpoint>, text: &str| {
        let endpoint: Result<Endpoint, _> = text.parse();
        endpoint.map(Some).map_err(|error| error.to_string())
    };
    let show = |endpoint: &Option<Endpoint>| {
        let endpoint = endpoint.as_ref();
        endpoint.map_or(String::new(), ToString::to_string)
    };
    written(value, read, show)
}

/// A list with commas between its members.
pub(super) fn list<T>(value: &mut Vec<T>) -> AnyValue<'_>
where
    T: FromStr<Err: Display> + Display,
{
    let read = |_: &Vec<T>, text: &str| {
        let members = text.split(',').map(|member| member.trim().parse());
        let members: Result<_, T::Err> = members.collect();
        members.map_err(|error| error.to_string())
    };
    let show = |members: &Vec<T>| {
        let members: Vec<String> = members.iter().map(T::to_string).collect();
        members.join(",")
    };
    written(value, read, show)
}

fn parsed<T: FromStr>(text: &str, words: &str) -> Result<T, String> {
    text.parse().map_err(|_| words.to_owned())
}
