//! Keylane and Kafka client: producer and admin, in pure Rust on tokio.
//!
//! ```text
//! client.rs     the entry                     connection/  one pipelined connection per broker
//! producer/     records in                    metadata/    who leads what
//! admin/        topics, settings, cluster     offsets.rs   offsets by place or time
//! ```

mod address;
mod admin;
mod ambient;
mod backoff;
mod client;
mod connection;
mod limits;
mod metadata;
mod offsets;
mod producer;

pub use address::{Bootstrap, BrokerAddress, InvalidAddress};
pub use admin::{
    Admin, AskError, BrokerDescription, ClusterDescription, ConfigEntry, ConfigResource,
    ConfigSource, CreateTopicError, CreatedTopic, DeleteTopicError, NewTopic, PartitionDescription,
    TopicDescription, TopicListing,
};
pub use client::{Client, ClientBuilder, ConnectError};
pub use connection::ConnectionError;
pub use keylane_protocol::compression::Compression;
pub use keylane_protocol::error_code::ErrorCode;
pub use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
pub use keylane_protocol::offset::{LeaderEpoch, Offset};
pub use metadata::MetadataError;
pub use offsets::{ListOffsetsError, ListedOffset, OffsetSpec};
pub use producer::{
    Acks, BuildProducerError, DeliveryError, DeliveryFailure, FlushError, Producer,
    ProducerBuilder, ProducerRecord, Receipt, RecordPlace, SendError,
};
