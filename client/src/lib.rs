//! Keylane and Kafka client: producer, reader and admin, in pure Rust on tokio.
//!
//! ```text
//! client.rs     the entry                     connection/  one pipelined connection per broker
//! producer/     records in                    metadata/    who leads what
//! reader/       records out                   offsets.rs   offsets by place or time
//! admin/        topics, settings, cluster     backoff.rs   pauses between attempts
//! ```
//! What decides (`producer::{accumulator, delivery}`, `reader::positions`, `metadata::view`) does no I/O and reads no clock.

mod address;
mod admin;
mod ambient;
mod backoff;
mod client;
mod connection;
mod inbox;
mod limits;
mod metadata;
mod offsets;
mod producer;
mod reader;

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
pub use keylane_protocol::record::{Record, RecordHeader};
pub use metadata::MetadataError;
pub use offsets::{ListOffsetsError, ListedOffset, OffsetSpec};
pub use producer::{
    Acks, BuildProducerError, DeliveryError, DeliveryFailure, FlushError, Producer,
    ProducerBuilder, ProducerRecord, Receipt, RecordPlace, SendError,
};
pub use reader::{
    BuildReaderError, ConsumedBatch, ConsumedRecord, OutOfRange, ReadError, Reader, ReaderBuilder,
    StartAt,
};
