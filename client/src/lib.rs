//! Keylane and Kafka client: producer, reader and admin, in pure Rust on tokio.
//!
//! ```
//! # let cluster = keylane_bench::EmbeddedCluster::start()?;
//! # let address = cluster.address();
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! use keylane_client::{Client, ProducerRecord, StartAt};
//!
//! let client = Client::connect(address).await?; // such as "localhost:9092"
//! let producer = client.producer().build().await?;
//! let receipt = producer.send(ProducerRecord::to("orders").key("k").value("v")).await?;
//! let place = receipt.await?; // durable from here on
//! producer.close().await?;
//!
//! let mut reader = client.reader().topic("orders", StartAt::Earliest).build().await?;
//! let record = reader.next().await?;
//! assert_eq!((record.partition, Some(record.offset)), (place.partition, place.offset));
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It speaks Kafka's protocol, so it works with Keylane and with Apache Kafka. Errors are one enum per operation and say
//! whether trying again may help and whether the outcome is unknown. Memory, queues and answers have bounds. Dropping a
//! future leaves nothing half-done.
//!
//! ```text
//! client.rs     the entry                     connection/  one pipelined connection per broker
//!                                             routers.rs   connections to routers, shared by producers
//! producer/     records in                    metadata/    who leads what
//! reader/       records out                   offsets.rs   offsets by place or time
//! admin/        topics, settings, cluster     backoff.rs   pauses between attempts
//! ```
//!
//! A client that has dialled a router produces *routed* by default: the router splits batches by key, and producers share a
//! connection. At brokers and with Apache Kafka the same code produces partition by partition ([`ProducerBuilder::path`]).
//!
//! What decides (`producer::{accumulator, delivery, routed}`, `reader::positions`, `metadata::view`) does no I/O, reads no
//! clock and is tested without a runtime; `producer::sender`, `producer::routed::side` and `reader::fetcher` act.

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
mod routers;

pub use address::{Bootstrap, BrokerAddress, InvalidAddress};
pub use admin::{
    Admin, AlterConfigsError, AskError, BrokerDescription, ClusterDescription, ConfigChange,
    ConfigEntry, ConfigResource, ConfigSource, CreatePartitionsError, CreateTopicError,
    CreatedTopic, DeleteTopicError, NewTopic, PartitionDescription, TopicDescription, TopicListing,
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
    Acks, BuildProducerError, DeliveryError, DeliveryFailure, FlushError, Path, Producer,
    ProducerBuilder, ProducerRecord, Receipt, RecordPlace, SendError,
};

/// The routed producer without its shell, for simulations of whole systems. No part of the API that is kept stable.
#[doc(hidden)]
pub mod routed_core {
    pub use crate::producer::routed::{
        RoutedAppended, RoutedCore, RoutedEffects, RoutedSettings, Ticket,
    };
}
pub use reader::{
    BuildReaderError, ConsumedBatch, ConsumedRecord, OutOfRange, ReadError, Reader, ReaderBuilder,
    StartAt,
};
