//! Every bound on what clients can make a broker hold, with its default and what happens at the bound.
//!
//! All are on by default. Bounds of single messages (how long a string, how many array elements) are the codec's.

use std::time::Duration;

use keylane_protocol::config::Faults;

/// The most topics, partitions or resources that one request names; the connection of a longer one is closed. Answers
/// are a few hundred bytes for each.
pub(crate) const REQUEST_ITEMS_MAX: usize = 100_000;

/// The most bytes of an answer's words about an error; longer ones are cut. They may repeat a name that a client gave,
/// and what is longer than the codec's texts could not be answered at all.
pub(crate) const ERROR_WORDS_BYTES_MAX: usize = 1024;

/// How much a Fetch gets, of all its partitions, when the answers of all connections have reached their bound.
pub(crate) const FETCH_BYTES_AT_BOUND: usize = 64 << 10;

/// The most requests that wait in a shard's mailbox; at the bound connections stop reading.
pub(crate) const SHARD_MAILBOX_MAX: usize = 1024;

/// The most images and ended segments that wait for the thread of the data folder; at the bound older images are left
/// out, and index files.
pub(crate) const HOSTING_WORK_WAITING_MAX: usize = 64;

/// The most changes that wait for the leading controller; at the bound it refuses, and clients try again.
pub(crate) const CONTROLLER_ASKS_WAITING_MAX: usize = 4096;

/// The most bytes of recent metadata that a controller keeps for those who follow; who is further behind gets it all.
pub(crate) const METADATA_HISTORY_BYTES_MAX: usize = 4 << 20;

/// Answers that are ready leave together until they have so many bytes.
pub(crate) const ANSWER_BYTES_QUEUED_MAX: usize = 256 << 10;

/// The most connections that a runtime has been given and has not begun; at the bound accepting waits.
pub(crate) const CONNECTIONS_HANDED_OVER_MAX: usize = 256;

/// A batch is copied into the tail ring, instead of kept as a slice, if it is smaller than its frame divided by this:
/// a slice keeps the whole frame in memory.
pub(crate) const TAIL_COPY_DIVISOR: usize = 2;

/// Frames up to this size are slices of a read buffer that many share, so their batches are always copied.
pub(crate) const SHARED_FRAME_BYTES: usize = keylane_protocol::limits::FRAME_SHARED_BYTES_MAX;

/// How many bytes of a segment are read at a time to find a timestamp.
pub(crate) const TIMESTAMP_WALK_BYTES: usize = 256 << 10;

/// The most reads that wait for each reader thread; at the bound connections wait.
pub(crate) const READS_WAITING_MAX: usize = 256;

/// The most segment files that each reader thread keeps open.
pub(crate) const READER_FILES_MAX: usize = 256;

/// The most bytes that the records of one batch may have when they are decompressed to find a timestamp.
pub(crate) const SEARCH_DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// What a batch in the tail ring counts besides its bytes.
pub(crate) const TAIL_ENTRY_BYTES: usize = 128;

/// The most messages a shard takes from its mailbox before it hands their appends to the writer.
pub(crate) const SHARD_MESSAGES_AT_ONCE: usize = 64;

/// The largest payload of one entry of the metadata quorum's log; a larger proposal is refused.
pub const RAFT_ENTRY_BYTES_MAX: usize = 1 << 20;

/// The largest snapshot of the metadata; a voter whose state is larger stops.
pub const RAFT_SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// What one message carries of a snapshot.
pub const RAFT_SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// A leader sends entries together until they have so many bytes; a single entry may be larger.
pub const RAFT_REPLICATE_BYTES: usize = 1 << 20;

/// The largest message between voters; a larger one is refused before it is decoded.
pub const RAFT_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The most members, voters and learners, of the metadata quorum.
pub const RAFT_MEMBERS_MAX: usize = 64;

/// A segment of the quorum's log is closed, and the next one begun, when it has so many bytes.
pub const RAFT_SEGMENT_BYTES: u64 = 4 << 20;

/// A voter makes a snapshot when so many bytes were appended to its log since it last did.
pub const RAFT_SNAPSHOT_AFTER_BYTES: u64 = 32 << 20;

/// So many entries that a snapshot holds stay in the log for followers that are a little behind.
pub const RAFT_ENTRIES_KEPT: u64 = 256;

/// The most proposals that wait for the quorum; at the bound those who propose wait.
pub(crate) const RAFT_PROPOSALS_MAX: usize = 64;

/// The most calls of other voters that are answered at once; at the bound further ones are refused.
pub(crate) const RAFT_CALLS_MAX: usize = 256;

/// The most requests that wait for the quorum's disk thread; at the bound those who ask wait.
pub(crate) const RAFT_STORE_JOBS_MAX: usize = 256;

/// The most links at once, from routers and other brokers; at the bound new ones are closed at once.
pub(crate) const LINKS_MAX: usize = 512;

/// The most calls of one link that are answered at once; at the bound further ones are refused.
pub(crate) const LINK_CALLS_MAX: usize = 256;

/// The most Fetches of one lane that wait at once; at the bound further ones are refused.
pub(crate) const LANE_FETCHES_MAX: usize = 16;

/// The most Fetches of all lanes of a link that wait at once; at the bound further ones are refused.
pub(crate) const LINK_FETCHES_MAX: usize = 65_536;

/// The most bytes of requests of all lanes of a link that wait for those before them; at the bound they are refused.
pub(crate) const LINK_REQUEST_BYTES_WAITING_MAX: usize = 64 << 20;

/// How long what refers to a newer image than this broker has waits for it.
pub(crate) const LINK_IMAGE_WAIT: Duration = Duration::from_secs(1);

/// Who dials the internal listener must have introduced itself within this time.
pub(crate) const LINK_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most members of a consumer group, with those who were given an id and have not joined yet; at the bound JoinGroup
/// is refused with GROUP_MAX_SIZE_REACHED.
pub(crate) const GROUP_MEMBERS_MAX: usize = 10_000;

/// The most bytes that all members of a consumer group tell of themselves; at the bound JoinGroup is refused with
/// GROUP_MAX_SIZE_REACHED.
pub(crate) const GROUP_METADATA_BYTES_MAX: usize = 8 << 20;

/// The most bytes of the assignments of a consumer group; a leader that sends more is refused.
pub(crate) const GROUP_ASSIGNMENT_BYTES_MAX: usize = 8 << 20;

/// The longest name that a member gives itself, its kind of work or a protocol; JoinGroup with a longer one is refused
/// with INVALID_REQUEST.
pub(crate) const GROUP_NAME_BYTES_MAX: usize = 1_000;

/// The most protocols that a member of a consumer group names; JoinGroup with more is refused with INVALID_REQUEST.
pub(crate) const GROUP_MEMBER_PROTOCOLS_MAX: usize = 64;

/// A member's id begins with so many bytes of the client's name.
pub(crate) const GROUP_MEMBER_ID_PREFIX_BYTES_MAX: usize = 255;

/// What a client says about why it joins or leaves is cut to so many bytes, as Kafka's clients do.
pub(crate) const GROUP_REASON_BYTES_MAX: usize = 255;

/// The most bytes of a batch of records about groups; a change that needs more is refused. The topic that takes them needs
/// a `max.message.bytes` of as much. The largest group fits.
pub const GROUP_BATCH_BYTES_MAX: usize = 32 << 20;

/// The most bytes that the records of a stored batch about groups may have when they are decompressed: ours never are.
pub(crate) const GROUP_BATCH_DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// The longest id of a group; a commit for a longer one is refused. Kafka has no bound but the codec's.
pub const GROUP_ID_BYTES_MAX: usize = 1000;

/// The most bytes of what a client keeps with a committed offset; more is refused. Kafka's `offset.metadata.max.bytes`.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// The most groups whose offsets a partition of `__consumer_offsets` holds; at the bound new groups are refused.
pub const OFFSET_GROUPS_MAX: usize = 100_000;

/// The most committed offsets in a partition of `__consumer_offsets`; at the bound those of new partitions are refused.
pub const OFFSETS_MAX: usize = 500_000;

/// About how many bytes of memory the committed offsets of a partition of `__consumer_offsets` take at most; at the bound
/// commits are refused that need more.
pub const OFFSETS_BYTES_MAX: usize = 256 << 20;

/// The most tombstones of committed offsets that are made at once; who deletes or expires more comes again.
pub const OFFSET_TOMBSTONES_AT_ONCE: usize = 1000;

/// Bounds that a deployment may want to change, besides those of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most record bytes in one answer to Fetch, whatever the client asks for. Kafka's `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// The longest a Fetch waits, whatever the client asks for.
    pub fetch_wait_max: Duration,
    /// The most partitions of all topics together; at the bound CreateTopics is refused.
    pub partitions_max: usize,
    /// The most bytes of recent record batches that each shard keeps in memory for readers at the tail.
    pub tail_bytes_per_shard: usize,
    /// The most producers that each partition remembers, of plain and of routed ones each. A routed one makes room for
    /// another only when it has expired, or when it is found at a start with a lower bound.
    pub producers_per_partition_max: usize,
    /// A producer that has not written to a partition for so long is forgotten there. Routed producers need at least a day:
    /// with less, none is given an id.
    pub producer_expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MEBIBYTE: usize = 1 << 20;
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            fetch_bytes_max: 55 * MEBIBYTE,
            fetch_wait_max: Duration::from_secs(60),
            partitions_max: 10_000,
            tail_bytes_per_shard: 64 * MEBIBYTE,
            producers_per_partition_max: 10_000,
            producer_expiry: 7 * DAY,
        }
    }
}

impl Limits {
    /// The shortest `producer_expiry` with which ids of routed producers are given: what is older than a day does not
    /// arrive.
    pub(crate) const ROUTED_EXPIRY_MIN: Duration = Duration::from_secs(24 * 60 * 60);

    /// When a partition remembers as many producers as it may, one silent for so long makes room for a new one. Longer
    /// than any client retries, so that making room never lets a retry be written twice.
    pub(crate) const PRODUCER_IDLE_MIN: Duration = Duration::from_secs(600);

    pub(crate) fn validate(&self, faults: &mut Faults) {
        faults.check_counts(&[
            ("fetch_bytes_max", self.fetch_bytes_max),
            ("partitions_max", self.partitions_max),
            (
                "producers_per_partition_max",
                self.producers_per_partition_max,
            ),
        ]);
        faults.check_times(&[
            ("fetch_wait_max", self.fetch_wait_max),
            ("producer_expiry", self.producer_expiry),
        ]);
    }
}
