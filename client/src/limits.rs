//! Every bound of the client that is not a setting, with the reason for its number.

use std::time::Duration;

/// The largest answer taken from a broker: Kafka's own limit on requests, which nothing a client asks for exceeds.
pub(crate) const RESPONSE_BYTES_MAX: usize = 100 * 1024 * 1024;

/// How many requests of one connection may wait for their answers. What the client sends by itself stays far below;
/// only an application with thousands of concurrent admin calls meets it, and gets an error that says so.
pub(crate) const REQUESTS_WAITING_MAX: usize = 1024;

/// The same for a connection to a router that the producers of a client share: thirty thousand small producers may have
/// a batch in flight each, whose bytes count against their own memory.
pub(crate) const SHARED_REQUESTS_WAITING_MAX: usize = 32 * 1024;

/// The most connections to routers that the producers of a client share; more of them are no fewer writes.
pub(crate) const ROUTER_CONNECTIONS_MAX: usize = 64;

/// How long a TCP connection may take to be set up; its handshake is bounded by the request time-out.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause before a broken connection or a failed request is tried again.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// The longest such pause: a broker that comes back is found within a second.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The most addresses taken from a bootstrap list; more of them is a mistake, not a cluster.
pub(crate) const BOOTSTRAP_ADDRESSES_MAX: usize = 256;

/// How long to look for a topic that the cluster does not know: a topic just created may not have reached every broker.
pub(crate) const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_secs(3);

/// Kafka remembers the last five batches of a producer in a partition, so no more may be open at once (KIP-98).
pub(crate) const UNRESOLVED_BATCHES_MAX: usize = 5;

/// The capacity a partition's first batch buffer gets; later ones follow the size of the batch before.
pub(crate) const BATCH_BYTES_FIRST: usize = 4 * 1024;

/// The most partitions of one topic the client takes from an answer, so that a bent answer costs little.
pub(crate) const PARTITIONS_MAX: usize = 1_000_000;

/// The capacity a topic's first routed batch gets; a producer that sends one small record at a time needs no more.
pub(crate) const ROUTED_BATCH_BYTES_FIRST: usize = 512;

/// The size of the largest routed batch, unless a single record is larger.
pub(crate) const ROUTED_BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The most routed batches of a topic that may be sent and not answered: as many as the window has numbers.
pub(crate) const ROUTED_IN_FLIGHT_MAX: usize = 1024;
