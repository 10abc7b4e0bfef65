//! Every bound on what a router holds and how long it waits, with the reason for its number.
//!
//! What happens at a bound is said where it is kept. Bounds of single messages are the codec's, those of links are
//! `keylane_protocol::link`'s.

use std::time::Duration;

/// How long a partition without leader is waited for, counted from when its leader was lost, unless configured
/// otherwise (`router.hold.ms`): most elections are over by then, and a request that nobody waits behind waits longer.
pub const HOLD: Duration = Duration::from_secs(3);

/// How long a request lives that names no time-out of its own: Kafka's `request.timeout.ms`, after which clients close
/// the connection.
pub const TIME_OUT: Duration = Duration::from_secs(30);

/// The shortest time-out that counts: for Kafka the number in a Produce is only how long to wait for replicas, so clients
/// that do not wait for them may send 0, and their records must leave all the same.
pub const TIME_OUT_MIN: Duration = Duration::from_secs(1);

/// The longest time-out that a request can name; a longer one counts as this: it holds memory meanwhile.
pub const TIME_OUT_MAX: Duration = Duration::from_secs(300);

/// How much longer a Fetch waits for the other brokers when one has answered with records: a round trip in a data
/// centre, many times.
pub const FETCH_GRACE: Duration = Duration::from_millis(10);

/// The longest a Fetch waits, whatever the client asks for.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);

/// The most record bytes that a connection's Fetch asks for, whatever the client does.
pub const FETCH_BYTES_MAX: usize = 4 << 20;

/// How long it is believed that a topic does not exist, or that the cluster creates none on demand, once a controller has
/// said so.
pub const UNKNOWN_TOPIC_BELIEVED: Duration = Duration::from_secs(1);

/// How long a request waits to hear whether a topic exists: a router cut off from controllers serves on.
pub const UNKNOWN_TOPIC_WAIT: Duration = Duration::from_secs(1);

/// How long a client that asks for a topic to be created on demand waits for it: an election among the controllers is
/// over by then. It is told to ask again after that.
pub const CREATION_WAIT: Duration = Duration::from_secs(10);

/// The most topics of which it is remembered that they do not exist; beyond it the ones asked for first are forgotten.
pub const UNKNOWN_TOPICS_MAX: usize = 10_000;

/// The most topics, partitions or resources that one request names; the connection of a longer one is closed, as by a
/// broker. Answers are a few hundred bytes for each.
pub const REQUEST_ITEMS_MAX: usize = 100_000;

/// How much a Fetch gets, of all its partitions, when the answers of all connections have reached their bound.
pub const FETCH_BYTES_AT_BOUND: usize = 64 << 10;

/// Answers that are ready leave together until they have so many bytes; then none is begun before they have left.
pub const ANSWER_BYTES_QUEUED_MAX: usize = 256 << 10;

/// While a client has not taken so many bytes of answers, nothing more of it is read: two Fetches' worth, so that only one
/// that takes nothing is stopped.
pub const ANSWER_BYTES_UNREAD_MAX: usize = 2 * FETCH_BYTES_MAX;

/// The most connections that a runtime has been given and has not begun; at the bound accepting waits.
pub const CONNECTIONS_HANDED_OVER_MAX: usize = 256;

/// The most questions of clients that wait for the controllers; at the bound those who ask wait.
pub const CONTROLLER_ASKS_WAITING_MAX: usize = 1024;

/// How long a controller may hold a request for metadata until something changes.
pub const METADATA_WAIT: Duration = Duration::from_secs(5);

/// How long an answer to a request for metadata may take, its wait included; then another broker is asked.
pub const METADATA_TIME_OUT: Duration = Duration::from_secs(10);

/// How often a router with an address of its own says that it lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// How long it may take to connect to a broker and to agree on a link.
pub const DIAL_TIME_OUT: Duration = Duration::from_secs(3);

/// The first pause after a broker could not be reached; it doubles up to [`PAUSE_MAX`].
pub const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause between attempts to reach a broker: what a router adds at most to a broker's own start.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long the controllers have to hear that a router stops.
pub const FAREWELL: Duration = Duration::from_millis(500);

/// How often a question that changes nothing, such as for a producer id, is put to another broker.
pub const ATTEMPTS_MAX: usize = 3;

/// The most voters that are remembered: a quorum has a handful.
pub const VOTERS_MAX: usize = 64;

/// The most sessions of routed producers that a client connection has: eight for each request that it may have
/// unanswered. At the bound those that were not used for longest end, which costs their producers one refusal at worst.
pub const ROUTED_SESSIONS_MAX: usize = 8 * 1024;

/// What a part of a routed batch takes beside its records: the header of its batch, its places on the way to its leader and
/// in the answer.
pub const ROUTED_PART_BYTES: usize = 384;

/// How many times its own length a routed batch may become without being charged for it.
pub const ROUTED_GROWTH_FREE: usize = 4;

/// What is added to that length: charging many small requests twice would cost more than it bounds.
pub const ROUTED_SMALL_BYTES: usize = 1024;

/// The most partitions that the routed sessions of a client connection remember: about as many bytes as its unanswered
/// requests may have. At the bound sessions end likewise; one session alone beyond it is refused.
pub const ROUTED_TOUCHES_MAX: usize = 256 * 1024;
