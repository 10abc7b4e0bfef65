//! The processes of a cluster as the metadata shows them.

use std::fmt;
use std::str::FromStr;

use bytestring::ByteString;

use super::record::{BrokerRegistered, RouterRegistered};
use crate::identifiers::{BrokerId, FolderId, StartId};
use crate::offset::BrokerEpoch;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A host name or an address.
    pub host: ByteString,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Returns the endpoint, or `None` if it is none: an empty host, or a port that is 0 or too large.
    #[must_use]
    pub fn new(host: &ByteString, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|&port| port > 0)?;
        (!host.is_empty()).then(|| Self {
            host: host.clone(),
            port,
        })
    }
}

/// Shows `host:port`, with an IPv6 address in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// A text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: give HOST:PORT, an IPv6 address in brackets, the port from 1 to 65535")]
pub struct InvalidEndpoint;

/// Reads `host:port`, with an IPv6 address in brackets.
impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (host, port) = text.trim().rsplit_once(':').ok_or(InvalidEndpoint)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.contains(char::is_whitespace) || (host.contains(':') && bracketed.is_none()) {
            return Err(InvalidEndpoint);
        }
        let port: u16 = port.parse().map_err(|_| InvalidEndpoint)?;
        Self::new(&host.into(), port.into()).ok_or(InvalidEndpoint)
    }
}

/// A broker that has registered at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerImage {
    /// Its id.
    pub id: BrokerId,
    /// Its last registration.
    pub epoch: BrokerEpoch,
    /// Its data folder.
    pub folder_id: FolderId,
    /// How often the folder had been opened when it registered.
    pub incarnation: i32,
    /// The start that registered; zero if that was of a version that drew none.
    pub start: StartId,
    /// The operating system's id of its own start.
    pub boot_id: ByteString,
    /// Where clients reach it.
    pub endpoint: Endpoint,
    /// Where brokers and routers reach it.
    pub internal: Endpoint,
    /// What fails together with it.
    pub rack: Option<ByteString>,
    /// Whether it takes no part: it has been silent, has ended, or has not caught up.
    pub is_fenced: bool,
}

impl BrokerImage {
    pub(super) fn from_record(record: &BrokerRegistered) -> Option<Self> {
        Some(Self {
            id: record.broker_id,
            epoch: record.broker_epoch,
            folder_id: record.folder_id,
            incarnation: record.incarnation,
            start: record.start,
            boot_id: record.boot_id.clone(),
            endpoint: Endpoint::new(&record.host, record.port)?,
            internal: Endpoint::new(&record.internal_host, record.internal_port)?,
            rack: record.rack.clone(),
            is_fenced: true,
        })
    }

    pub(super) fn to_record(&self) -> BrokerRegistered {
        BrokerRegistered {
            broker_id: self.id,
            broker_epoch: self.epoch,
            folder_id: self.folder_id,
            incarnation: self.incarnation,
            boot_id: self.boot_id.clone(),
            host: self.endpoint.host.clone(),
            port: i32::from(self.endpoint.port),
            internal_host: self.internal.host.clone(),
            internal_port: i32::from(self.internal.port),
            rack: self.rack.clone(),
            start: self.start,
        }
    }
}

/// A router that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterImage {
    /// Its id, from 1,000,000 on.
    pub id: BrokerId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Where clients reach it.
    pub endpoint: Endpoint,
}

impl RouterImage {
    pub(super) fn from_record(record: &RouterRegistered) -> Option<Self> {
        Some(Self {
            id: record.router_id,
            epoch: record.router_epoch,
            endpoint: Endpoint::new(&record.host, record.port)?,
        })
    }

    pub(super) fn to_record(&self) -> RouterRegistered {
        RouterRegistered {
            router_id: self.id,
            router_epoch: self.epoch,
            host: self.endpoint.host.clone(),
            port: i32::from(self.endpoint.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_as_it_is_read() {
        for text in ["b-1.example:9093", "127.0.0.1:1", "[::1]:65535"] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn what_nobody_could_dial_is_no_endpoint() {
        for text in [
            "", "b", "b:", "b:0", "b:65536", ":9", "[]:9", "::1:9", "b c:9",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(InvalidEndpoint), "{text}");
        }
    }
}
