//! A shard: the task that owns a fixed set of partitions and is the only one to change them.
//!
//! It assigns offsets, hands appends to the writer, and hears from the writer how far each partition is durable; then
//! it acknowledges and wakes readers, once per group of writes. It never waits for a disk and never touches a socket.

pub(crate) mod receipts;
pub(crate) mod reports;
pub(crate) mod request;
pub(crate) mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::RecordBatch;
use tokio::sync::{Notify, oneshot};

use self::receipts::Receipt;
use self::request::{
    AppendEach, AppendOutcome, AppendRequest, Appended, FindRequest, LonePart, ReadPart,
    ReadRequest,
};
use crate::clock::Uptime;
use crate::limits::{SHARED_FRAME_BYTES, TAIL_COPY_DIVISOR, TAIL_ENTRY_BYTES};
use crate::log::writer::Append;
use crate::log::{RollSettings, TopicPartition};
use crate::meters::Meters;
use crate::partition::read::ReadError;
use crate::partition::routed_state::Routing;
use crate::partition::tail::{ReadLimit, Tail, TailBatch};
use crate::partition::waiting::{ConnectionId, PendingAcks, Watches};
use crate::partition::{Accepted, AppendError, Outcome, Partition, SegmentSeal};

/// Who waits for a batch to be durable.
#[derive(Debug)]
enum AckToken {
    /// A part of a request.
    Part { request: u64, part: usize },
    /// The batch alone, which has its place.
    Alone {
        appended: Appended,
        receipt: Receipt,
    },
}

/// A Produce some of whose batches are not durable yet.
struct PendingAppend {
    outcomes: Vec<AppendOutcome>,
    missing: usize,
    reply: oneshot::Sender<Vec<AppendOutcome>>,
}

/// A partition and who waits for it.
struct Owned {
    partition: Partition,
    acks: PendingAcks<AckToken>,
}

/// The state of a shard.
pub(crate) struct Shard {
    uptime: Uptime,
    meters: Arc<Meters>,
    partitions: BTreeMap<TopicPartition, Owned>,
    tail: Tail<TopicPartition>,
    watches: Watches<TopicPartition, Arc<Notify>>,
    pending: BTreeMap<u64, PendingAppend>,
    next_request: u64,
    /// The data folder failed: nothing is appended or acknowledged any more.
    offline: bool,
}

impl Shard {
    pub(crate) fn new(uptime: Uptime, tail_bytes_max: usize, meters: Arc<Meters>) -> Self {
        Self {
            uptime,
            meters,
            partitions: BTreeMap::new(),
            tail: Tail::new(tail_bytes_max),
            watches: Watches::default(),
            pending: BTreeMap::new(),
            next_request: 0,
            offline: false,
        }
    }

    /// Begins to serve a partition.
    pub(crate) fn open(&mut self, partition: Partition) {
        let owned = Owned {
            partition,
            acks: PendingAcks::default(),
        };
        self.partitions.insert(owned.partition.id(), owned);
    }

    /// Leads a partition in an epoch from now on, or no longer; who waits for records is woken to hear of it.
    pub(crate) fn lead(&mut self, id: TopicPartition, leader_epoch: Option<LeaderEpoch>) {
        if let Some(owned) = self.partitions.get_mut(&id) {
            owned.partition.lead(leader_epoch);
            let mut woken = Vec::new();
            self.watches.on_gone(id, &mut woken);
            wake(woken);
        }
    }

    /// Ends a partition's segments by these settings from now on.
    pub(crate) fn roll(&mut self, id: TopicPartition, roll: RollSettings) {
        if let Some(owned) = self.partitions.get_mut(&id) {
            owned.partition.roll(roll);
        }
    }

    /// Stops serving a partition; who waits for it is answered.
    pub(crate) fn close(&mut self, id: TopicPartition) -> Option<Partition> {
        let mut owned = self.partitions.remove(&id)?;
        let waiting: Vec<AckToken> = owned.acks.give_up().collect();
        for token in waiting {
            self.settle(token, Err(AppendError::Gone));
        }
        self.tail.forget(id);
        let mut woken = Vec::new();
        self.watches.on_gone(id, &mut woken);
        wake(woken);
        Some(owned.partition)
    }

    /// Gives up all partitions, for a clean stop.
    pub(crate) fn take_partitions(&mut self) -> Vec<Partition> {
        let owned = std::mem::take(&mut self.partitions);
        owned.into_values().map(|owned| owned.partition).collect()
    }

    /// Appends the batches of one Produce; adds what the writer has to do to `appends`.
    pub(crate) fn on_append(&mut self, request: AppendRequest, appends: &mut Vec<Append>) {
        let id = self.next_request;
        self.next_request += 1;
        let arrival = Arrival {
            now_ms: self.uptime.now_ms(),
            keep: Keep::of(
                request.parts.iter().map(|part| &part.1),
                request.frame_bytes,
            ),
        };
        let mut outcomes = Vec::with_capacity(request.parts.len());
        let mut missing = 0;
        for (part, (partition, batch)) in request.parts.iter().enumerate() {
            let arriving = Arriving {
                partition: *partition,
                batch,
                routing: Routing::NONE,
            };
            let outcome = self.append_part(arriving, arrival, appends);
            outcomes.push(outcome.map(|(appended, _)| appended));
            let Ok((_, end)) = outcome else { continue };
            let Some(owned) = self.partitions.get_mut(partition) else {
                continue;
            };
            if end > owned.partition.high_watermark() {
                owned.acks.wait(end, AckToken::Part { request: id, part });
                missing += 1;
            }
        }
        let reply = request.reply;
        if missing == 0 {
            // The connection may have gone; its batches are in the log all the same.
            let _ = reply.send(outcomes);
            return;
        }
        let pending = PendingAppend {
            outcomes,
            missing,
            reply,
        };
        self.pending.insert(id, pending);
    }

    /// Appends batches that are told of one by one; adds what the writer has to do to `appends`.
    pub(crate) fn on_append_each(&mut self, request: AppendEach, appends: &mut Vec<Append>) {
        let batches = request.parts.iter().map(|part| &part.batch);
        let arrival = Arrival {
            now_ms: self.uptime.now_ms(),
            keep: Keep::of(batches, request.frame_bytes),
        };
        for part in request.parts {
            let LonePart {
                partition,
                leader_epoch,
                batch,
                routing,
                receipt,
            } = part;
            let arriving = Arriving {
                partition,
                batch: &batch,
                routing,
            };
            let appended = self
                .check_epoch(partition, leader_epoch)
                .inspect_err(|error| self.meters.records.refused(error))
                .and_then(|()| self.append_part(arriving, arrival, appends));
            let (appended, end) = match appended {
                Ok(appended) => appended,
                Err(error) => {
                    receipt.tell(Err(error));
                    continue;
                }
            };
            match self.partitions.get_mut(&partition) {
                Some(owned) if end > owned.partition.high_watermark() => {
                    let token = AckToken::Alone { appended, receipt };
                    owned.acks.wait(end, token);
                }
                _ => receipt.tell(Ok(appended)),
            }
        }
    }

    /// Notes how long a message has waited that was sent at a time.
    pub(crate) fn has_waited(&self, sent_at: std::time::Instant, now: std::time::Instant) {
        let waited = now.saturating_duration_since(sent_at);
        self.meters.waits.shard.record(waited);
    }

    fn check_epoch(&self, id: TopicPartition, wanted: LeaderEpoch) -> Result<(), AppendError> {
        let owned = self.partitions.get(&id).ok_or(AppendError::Gone)?;
        match wanted == LeaderEpoch::NONE || owned.partition.leader_epoch() == Some(wanted) {
            true => Ok(()),
            false => Err(AppendError::NotLeader),
        }
    }

    /// Gives a batch its place, and counts what has become of it.
    fn append_part(
        &mut self,
        arriving: Arriving<'_>,
        arrival: Arrival,
        appends: &mut Vec<Append>,
    ) -> Result<(Appended, Offset), AppendError> {
        let appended = self.place(arriving, arrival, appends);
        if let Err(error) = &appended {
            self.meters.records.refused(error);
        }
        appended
    }

    fn place(
        &mut self,
        arriving: Arriving<'_>,
        arrival: Arrival,
        appends: &mut Vec<Append>,
    ) -> Result<(Appended, Offset), AppendError> {
        if self.offline {
            return Err(AppendError::Offline);
        }
        let Arriving {
            partition: id,
            batch,
            routing,
        } = arriving;
        let owned = self.partitions.get_mut(&id).ok_or(AppendError::Gone)?;
        let outcome = owned.partition.append(batch, routing, arrival.now_ms)?;
        let (base_offset, end_offset) = match outcome {
            Outcome::Duplicate(original) => {
                self.meters.records.duplicates.increment(1);
                (original.base_offset, original.end_offset)
            }
            Outcome::Accepted(accepted) => {
                let Accepted {
                    base_offset,
                    end_offset,
                    append,
                    recent,
                } = *accepted;
                let bytes = u64::try_from(batch.bytes().len()).expect("a size fits 64 bits");
                let records = u64::from(batch.header().record_count.unsigned_abs());
                self.meters.records.appended_bytes.increment(bytes);
                self.meters.records.appended_records.increment(records);
                appends.push(append);
                let (recent, cost) = arrival.keep.apply(recent);
                self.tail.push(id, recent, cost);
                (base_offset, end_offset)
            }
        };
        let appended = Appended {
            base_offset,
            log_start_offset: owned.partition.log_start_offset(),
        };
        Ok((appended, end_offset))
    }

    /// Hears how far a partition is durable; adds to `seals` the segments that ended below, and to `woken` who has
    /// enough to read.
    pub(crate) fn on_durable(
        &mut self,
        id: TopicPartition,
        end: Offset,
        seals: &mut Vec<SegmentSeal>,
        woken: &mut Vec<Arc<Notify>>,
    ) {
        // A report may come for a partition that was closed meanwhile.
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let bytes = owned.partition.on_durable(end, seals);
        let reached: Vec<AckToken> = owned.acks.reach(end).collect();
        for token in reached {
            self.settle_durable(token);
        }
        if bytes > 0 {
            self.watches.on_visible(id, bytes, woken);
        }
    }

    /// Hears that the data folder failed: what waits for it will never be durable.
    pub(crate) fn on_offline(&mut self) {
        self.offline = true;
        let ids: Vec<TopicPartition> = self.partitions.keys().copied().collect();
        let mut woken = Vec::new();
        for id in ids {
            let owned = self.partitions.get_mut(&id).expect("just listed");
            let waiting: Vec<AckToken> = owned.acks.give_up().collect();
            for token in waiting {
                self.settle(token, Err(AppendError::Offline));
            }
            self.watches.on_gone(id, &mut woken);
        }
        wake(woken);
    }

    fn settle(&mut self, token: AckToken, outcome: AppendOutcome) {
        match token {
            AckToken::Part { request, part } => {
                if let Some(pending) = self.pending.get_mut(&request) {
                    pending.outcomes[part] = outcome;
                }
                self.settle_part(request);
            }
            AckToken::Alone { receipt, .. } => receipt.tell(outcome),
        }
    }

    fn settle_durable(&mut self, token: AckToken) {
        match token {
            AckToken::Part { request, .. } => self.settle_part(request),
            AckToken::Alone { appended, receipt } => receipt.tell(Ok(appended)),
        }
    }

    fn settle_part(&mut self, request: u64) {
        let Some(pending) = self.pending.get_mut(&request) else {
            return;
        };
        pending.missing -= 1;
        if pending.missing == 0
            && let Some(done) = self.pending.remove(&request)
        {
            let _ = done.reply.send(done.outcomes);
        }
    }

    /// Reads for one Fetch, and lets its connection wait if there is too little.
    pub(crate) fn on_read(&mut self, request: ReadRequest) {
        let mut bytes = 0;
        let mut outcomes = Vec::with_capacity(request.parts.len());
        // Nothing is waited for: something failed, or there is more than the limits let through.
        let mut is_due = false;
        for part in &request.parts {
            let outcome = self.read_part(part, request.bytes_max, bytes);
            match &outcome {
                Ok(read) => {
                    bytes += read.found.bytes();
                    is_due |= read.found.has_more();
                }
                Err(_) => is_due = true,
            }
            outcomes.push(outcome);
        }
        if let Some(watch) = request.watch
            && bytes < watch.bytes_min
            && !is_due
        {
            let missing = match watch.is_divided {
                true => 1,
                false => watch.bytes_min - bytes,
            };
            let partitions = request.parts.iter().map(|part| part.partition).collect();
            self.watches.watch(
                request.connection,
                partitions,
                u64::try_from(missing).expect("a size fits 64 bits"),
                watch.wake,
            );
        }
        let _ = request.reply.send(outcomes);
    }

    fn read_part(&self, part: &ReadPart, bytes_max: usize, bytes: usize) -> request::ReadOutcome {
        let owned = self
            .partitions
            .get(&part.partition)
            .ok_or(ReadError::Gone)?;
        let limit = ReadLimit {
            bytes_max: part.bytes_max.min(bytes_max.saturating_sub(bytes)),
            at_least_one: bytes == 0,
        };
        owned
            .partition
            .read(&self.tail, part.offset, part.leader_epoch, limit)
    }

    /// Forgets what a connection waits for.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.watches.forget(connection);
    }

    /// Finds offsets for one ListOffsets or OffsetForLeaderEpoch.
    pub(crate) fn on_find(&self, request: FindRequest) {
        let find = |part: &request::FindPart| {
            let owned = self
                .partitions
                .get(&part.partition)
                .ok_or(ReadError::Gone)?;
            owned.partition.find(part.query, part.leader_epoch)
        };
        let _ = request.reply.send(request.parts.iter().map(find).collect());
    }
}

fn wake(woken: Vec<Arc<Notify>>) {
    for connection in woken {
        connection.notify_one();
    }
}

/// A batch, and where it belongs.
#[derive(Clone, Copy)]
struct Arriving<'a> {
    partition: TopicPartition,
    batch: &'a RecordBatch,
    routing: Routing,
}

/// What all batches of one request share.
#[derive(Clone, Copy)]
struct Arrival {
    now_ms: u64,
    keep: Keep,
}

/// Whether the batches of a request stay slices of its frame in the tail ring, and what they count.
#[derive(Clone, Copy)]
enum Keep {
    /// They are most of the frame: each counts its share of it.
    Slices { frame_bytes: usize, bytes: usize },
    /// A slice would keep much more alive than itself.
    Copies,
}

impl Keep {
    fn of<'a>(batches: impl Iterator<Item = &'a RecordBatch>, frame_bytes: usize) -> Self {
        let bytes: usize = batches.map(|batch| batch.bytes().len()).sum();
        if frame_bytes > SHARED_FRAME_BYTES && bytes >= frame_bytes / TAIL_COPY_DIVISOR {
            Self::Slices { frame_bytes, bytes }
        } else {
            Self::Copies
        }
    }

    /// Returns the batch as it is kept, and what it counts.
    fn apply(self, batch: TailBatch) -> (TailBatch, usize) {
        let length = batch.len();
        match self {
            Self::Slices { frame_bytes, bytes } => {
                (batch, length * frame_bytes / bytes + TAIL_ENTRY_BYTES)
            }
            Self::Copies => {
                let copy = TailBatch {
                    head: [&*batch.head, &*batch.rest].concat().into(),
                    rest: Bytes::new(),
                    ..batch
                };
                (copy, length + TAIL_ENTRY_BYTES)
            }
        }
    }
}
