//! The producer's settings: real types, defaults, validated together.

use std::time::Duration;

use keylane_protocol::compression::Compression;

use super::request::any_broker;
use super::{BuildProducerError, Producer};
use crate::client::Client;
use crate::limits::{ROUTED_BATCH_BYTES_MAX, ROUTED_IN_FLIGHT_MAX, UNRESOLVED_BATCHES_MAX};
use crate::routers::is_router;

/// Whom a batch waits for before it counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: a record counts as written once its bytes are handed to the network, and is lost if that fails.
    None,
    /// The leader alone.
    Leader,
    /// All replicas in sync. The producer is idempotent: nothing is written twice or out of order.
    #[default]
    All,
}

impl Acks {
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Which way records take to their partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// Routed where that is offered and the other settings allow it, else partitioned.
    #[default]
    Automatic,
    /// A router chooses the partitions: batches are by topic, and many producers of one client share a connection. Needs
    /// [`Acks::All`] and no compression.
    Routed,
    /// The client chooses the partitions, as Kafka's clients do.
    Partitioned,
}

/// The producer's settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct ProducerConfig {
    pub(crate) acks: Acks,
    pub(crate) linger: Duration,
    pub(crate) batch_size_bytes: usize,
    /// `None` for one that follows from the number of partitions.
    pub(crate) routed_batch_size_bytes: Option<usize>,
    pub(crate) memory_bytes: usize,
    pub(crate) max_record_bytes: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) in_flight_requests: usize,
    pub(crate) compression: Compression,
    pub(crate) delivery_timeout: Duration,
    pub(crate) creates_topics: bool,
}

/// Settings of a producer; every one has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProducerBuilder {
    client: Client,
    config: ProducerConfig,
    in_flight_requests: Option<usize>,
    path: Path,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        let config = ProducerConfig {
            acks: Acks::All,
            linger: Duration::from_millis(5),
            batch_size_bytes: 128 * 1024,
            routed_batch_size_bytes: None,
            memory_bytes: 32 * 1024 * 1024,
            max_record_bytes: 1024 * 1024,
            max_request_bytes: 8 * 1024 * 1024,
            in_flight_requests: UNRESOLVED_BATCHES_MAX,
            compression: Compression::None,
            delivery_timeout: Duration::from_secs(120),
            creates_topics: true,
        };
        Self {
            client,
            config,
            in_flight_requests: None,
            path: Path::default(),
        }
    }

    /// Sets whom a batch waits for. Default [`Acks::All`], which alone is idempotent: with the others a record may be
    /// written twice ([`Acks::Leader`]) or lost ([`Acks::None`]) when a connection breaks.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config.acks = acks;
        self
    }

    /// Sets how long a batch waits for more records before it is sent. Default 5 ms; zero sends as soon as the
    /// connection is free, which still fills batches under load.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// Sets the size at which a batch is sent without waiting any longer. Default 128 KiB; for routed batches 4 KiB for
    /// each of the topic's partitions, at least 64 KiB and at most 1 MiB, to which those grow that have to wait.
    pub fn batch_size_bytes(mut self, bytes: usize) -> Self {
        self.config.batch_size_bytes = bytes;
        self.config.routed_batch_size_bytes = Some(bytes.min(ROUTED_BATCH_BYTES_MAX));
        self
    }

    /// Sets how many bytes of records the producer holds at most; `send` waits when they are used up. Default 32 MiB.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.config.memory_bytes = bytes;
        self
    }

    /// Sets the size of the largest record taken. Default 1 MiB, which is also what brokers take by default.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.config.max_record_bytes = bytes;
        self
    }

    /// Sets how many bytes of batches one request carries at most, unless a single batch is larger. Default 8 MiB.
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.config.max_request_bytes = bytes;
        self
    }

    /// Sets how many requests to one broker, or routed batches of one topic, may wait for their answers. Default 5, and
    /// 1 with [`Acks::Leader`], where more than one gives up the order of records when a request has to be repeated.
    /// At most 1,024, of which the partitioned path uses 5: that many is what brokers remember.
    pub fn in_flight_requests(mut self, requests: usize) -> Self {
        self.in_flight_requests = Some(requests);
        self
    }

    /// Sets which way records take to their partitions. Default [`Path::Automatic`]: through a router they are routed,
    /// unless acks or compression need the partitioned path; at brokers and with Apache Kafka they are partitioned.
    pub fn path(mut self, path: Path) -> Self {
        self.path = path;
        self
    }

    /// Sets how batches are compressed. Default not at all.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// Sets how long to try before a batch is given up, counted from its first record. Default 2 minutes: a broker that
    /// dies and comes back within that time costs nothing but time. Of a routed batch that waits to be sent, later records
    /// have at least three quarters of it.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        self
    }

    /// Sets whether sending to a topic that does not exist asks the cluster to create it. Default yes; the cluster may
    /// still refuse.
    pub fn create_topics(mut self, creates_topics: bool) -> Self {
        self.config.creates_topics = creates_topics;
        self
    }

    /// Returns the producer, once the cluster has given it an id (unless acks are not [`Acks::All`]).
    ///
    /// # Errors
    /// When settings make no sense, the cluster gives no producer id, or nobody routes although that was asked for.
    pub async fn build(self) -> Result<Producer, BuildProducerError> {
        let mut config = self.config;
        config.in_flight_requests = self.in_flight_requests.unwrap_or(match config.acks {
            Acks::Leader => 1,
            Acks::None | Acks::All => UNRESOLVED_BATCHES_MAX,
        });
        let mut faults = config.faults();
        if self.path == Path::Routed {
            faults.extend(config.faults_of_routed());
        }
        if !faults.is_empty() {
            return Err(BuildProducerError::Settings { faults });
        }
        let may_route = match self.path {
            Path::Partitioned => false,
            Path::Routed => true,
            Path::Automatic => config.faults_of_routed().is_empty(),
        };
        let is_routed = may_route && finds_router(&self.client, self.path).await?;
        Producer::start(self.client, config, is_routed).await
    }
}

/// Returns whether what was dialled is a router that takes routed batches.
async fn finds_router(client: &Client, path: Path) -> Result<bool, BuildProducerError> {
    let connection = any_broker(&client.inner).await?;
    let is_router = is_router(&connection);
    if !is_router && path == Path::Routed {
        let address = connection.address().clone();
        return Err(BuildProducerError::NotARouter { address });
    }
    Ok(is_router)
}

impl ProducerConfig {
    /// Returns what keeps a producer with these settings from being routed.
    fn faults_of_routed(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.acks != Acks::All {
            faults.push("a routed producer needs Acks::All".to_owned());
        }
        if self.compression != Compression::None {
            faults
                .push("a routed producer does not compress: routers split its batches".to_owned());
        }
        faults
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |is_right: bool, fault: &str| {
            if !is_right {
                faults.push(fault.to_owned());
            }
        };
        check(
            (1024..=16 * 1024 * 1024).contains(&self.batch_size_bytes),
            "batch_size_bytes must be between 1 KiB and 16 MiB",
        );
        check(
            (1024..=64 * 1024 * 1024).contains(&self.max_record_bytes),
            "max_record_bytes must be between 1 KiB and 64 MiB",
        );
        check(
            self.memory_bytes >= self.batch_size_bytes.max(self.max_record_bytes),
            "memory_bytes must hold at least one batch and the largest record",
        );
        check(
            u32::try_from(self.memory_bytes).is_ok(),
            "memory_bytes must be below 4 GiB",
        );
        check(
            (1024..=64 * 1024 * 1024).contains(&self.max_request_bytes),
            "max_request_bytes must be between 1 KiB and 64 MiB",
        );
        check(
            (1..=ROUTED_IN_FLIGHT_MAX).contains(&self.in_flight_requests),
            "in_flight_requests must be between 1 and 1,024",
        );
        check(
            self.delivery_timeout > self.linger,
            "delivery_timeout must be longer than linger",
        );
        check(
            self.delivery_timeout <= Duration::from_secs(7 * 24 * 3600),
            "delivery_timeout must be at most 7 days",
        );
        faults
    }
}
