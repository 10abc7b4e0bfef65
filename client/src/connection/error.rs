//! What can go wrong with a connection. Errors are cheap to clone: one cause is shared by all who waited.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keylane_protocol::primitive::{DecodeError, EncodeError};

use crate::address::BrokerAddress;

/// Why a broker could not be reached, or why a request got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The name was not found, nobody listens, or the network refuses.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Whom.
        address: BrokerAddress,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Nobody took the connection in time.
    #[error("cannot connect to {address}: no answer within {after:?}")]
    ConnectTimedOut {
        /// Whom.
        address: BrokerAddress,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke while the request was on its way.
    #[error("the connection to {address} broke: {source}")]
    Broken {
        /// To whom.
        address: BrokerAddress,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The broker closed the connection.
    #[error("{address} closed the connection")]
    Closed {
        /// Who.
        address: BrokerAddress,
    },
    /// A request was not answered in time, or could not be written in time if it gets no answer; the connection was given
    /// up, since later answers would come later still.
    #[error("{address} did not answer {api} within {after:?}")]
    RequestTimedOut {
        /// Who.
        address: BrokerAddress,
        /// What was asked.
        api: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// What came is not an answer in Kafka's protocol.
    #[error("{address} sent an answer that cannot be read: {reason}")]
    Malformed {
        /// Who.
        address: BrokerAddress,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer to a request has the right frame but a wrong body.
    #[error("{address} answered {api} with something else: {source}")]
    Body {
        /// Who.
        address: BrokerAddress,
        /// What was asked.
        api: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The broker and this client share no version of an API.
    #[error("{address} does not speak a version of {api} that this client speaks")]
    Unsupported {
        /// Who.
        address: BrokerAddress,
        /// The API.
        api: &'static str,
    },
    /// The request cannot be said in the version the broker speaks.
    #[error("{api} cannot be asked of {address}: {source}")]
    Inexpressible {
        /// Of whom.
        address: BrokerAddress,
        /// The API.
        api: &'static str,
        /// Which part cannot be said.
        source: EncodeError,
    },
    /// Too many requests already wait for this broker.
    #[error("{count} requests already wait for {address}")]
    TooManyWaiting {
        /// For whom.
        address: BrokerAddress,
        /// How many.
        count: usize,
    },
    /// The cluster's metadata names no address for this broker.
    #[error("no address is known for broker {broker}")]
    UnknownBroker {
        /// The broker's id.
        broker: i32,
    },
    /// The client has been shut down.
    #[error("the client is shut down")]
    ShutDown,
}

impl ConnectionError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        !matches!(
            self,
            Self::Unsupported { .. } | Self::Inexpressible { .. } | Self::ShutDown
        )
    }

    /// Returns whether the request may have been carried out although no answer came.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Broken { .. }
                | Self::Closed { .. }
                | Self::RequestTimedOut { .. }
                | Self::Malformed { .. }
                | Self::Body { .. }
        )
    }
}
