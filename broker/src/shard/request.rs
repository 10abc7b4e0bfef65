//! What connections and the thread of the topics ask of a shard, and what it answers.

use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::RecordBatch;
use tokio::sync::{Notify, oneshot};

use super::receipts::Receipt;
use crate::log::{RollSettings, TopicPartition};
use crate::partition::read::{OffsetQuery, OffsetSearch, PartitionRead, ReadError};
use crate::partition::routed_state::Routing;
use crate::partition::waiting::ConnectionId;
use crate::partition::{AppendError, Partition};

/// A message in a shard's mailbox.
pub(crate) enum ShardRequest {
    /// Append the batches of one Produce that belong to this shard.
    Append(AppendRequest),
    /// Append batches, each told of by itself.
    AppendEach(AppendEach),
    /// Read for one Fetch.
    Read(ReadRequest),
    /// Find offsets for one ListOffsets or OffsetForLeaderEpoch.
    Find(FindRequest),
    /// Begin to serve a partition.
    Open(Box<Partition>),
    /// Lead a partition in an epoch from now on, or no longer.
    Lead {
        partition: TopicPartition,
        leader_epoch: Option<LeaderEpoch>,
    },
    /// End a partition's segments by these settings from now on.
    Roll {
        partition: TopicPartition,
        roll: RollSettings,
    },
    /// Stop serving a partition; answered when no append of it will follow.
    Close {
        partition: TopicPartition,
        closed: oneshot::Sender<()>,
    },
    /// A connection waits for nothing any more.
    Forget(ConnectionId),
    /// Hand over what is under way, give up every partition, and end.
    Stop {
        stopped: oneshot::Sender<Vec<Partition>>,
    },
}

/// Batches to append; each partition occurs once.
pub(crate) struct AppendRequest {
    pub parts: Vec<(TopicPartition, RecordBatch)>,
    /// The size of the frame that the batches are slices of.
    pub frame_bytes: usize,
    pub sent_at: Instant,
    /// One outcome per part, in their order, when all of them are durable or refused. Whoever wants no answer is told
    /// all the same: until then the bytes count as a request under way.
    pub reply: oneshot::Sender<Vec<AppendOutcome>>,
}

/// Batches to append, of which any may be of one partition.
pub(crate) struct AppendEach {
    /// In the order in which they are to be appended.
    pub parts: Vec<LonePart>,
    /// The size of the frame that the batches are slices of.
    pub frame_bytes: usize,
    pub sent_at: Instant,
}

/// A batch that is told of when it is durable or refused, whatever becomes of the others.
pub(crate) struct LonePart {
    pub partition: TopicPartition,
    /// The epoch in which this broker must lead; [`LeaderEpoch::NONE`] checks nothing.
    pub leader_epoch: LeaderEpoch,
    pub batch: RecordBatch,
    /// What was told beside the batch; [`Routing::NONE`] of one that is not routed.
    pub routing: Routing,
    pub receipt: Receipt,
}

/// What became of one batch.
pub(crate) type AppendOutcome = Result<Appended, AppendError>;

/// A batch lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub base_offset: Offset,
    pub log_start_offset: Offset,
}

/// What to read, and what to do when there is too little.
pub(crate) struct ReadRequest {
    pub connection: ConnectionId,
    pub parts: Vec<ReadPart>,
    /// The most bytes of all parts together.
    pub bytes_max: usize,
    /// If fewer bytes are there, wake the connection when the missing ones came.
    pub watch: Option<Watch>,
    pub sent_at: Instant,
    /// One outcome per part, in their order.
    pub reply: oneshot::Sender<Vec<ReadOutcome>>,
}

/// How to be woken.
pub(crate) struct Watch {
    pub bytes_min: usize,
    /// Whether other shards serve parts of the request: what they have is not known here, so any byte may be the last one
    /// missing.
    pub is_divided: bool,
    pub wake: Arc<Notify>,
}

/// Where to read in one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadPart {
    pub partition: TopicPartition,
    pub offset: Offset,
    pub bytes_max: usize,
    /// The leader epoch the client knows; [`LeaderEpoch::NONE`] checks nothing.
    pub leader_epoch: LeaderEpoch,
}

/// What was found in one partition.
pub(crate) type ReadOutcome = Result<PartitionRead, ReadError>;

/// Places to find.
pub(crate) struct FindRequest {
    pub parts: Vec<FindPart>,
    pub reply: oneshot::Sender<Vec<FindOutcome>>,
}

/// What to find in one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FindPart {
    pub partition: TopicPartition,
    pub query: OffsetQuery,
    /// The leader epoch the client knows; [`LeaderEpoch::NONE`] checks nothing.
    pub leader_epoch: LeaderEpoch,
}

/// What was found in one partition.
pub(crate) type FindOutcome = Result<OffsetSearch, ReadError>;
