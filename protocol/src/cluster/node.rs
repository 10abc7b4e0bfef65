//! The processes of a cluster as the metadata shows them.

use std::fmt;

use bytestring::ByteString;

use super::record::{BrokerRegistered, RouterRegistered};
use crate::identifiers::{BrokerId, FolderId};
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
