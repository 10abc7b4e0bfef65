//! Produce: one sub-batch per partition for the broker that leads it. Record bytes stay slices of the client's frame.
//!
//! A sub-batch carries what its routing was decided by: topic id, partition and leader epoch. What has no leader, or
//! does not exist as far as this router knows, is held; for how long is decided in [`crate::holding`]. Batches are
//! checked by the leader, except for what only this side knows: the request's version.

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::cluster::TopicImage;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, ProducerId, TopicId};
use keylane_protocol::link::{self, Lane};
use keylane_protocol::message::produce::{ProducePartition, ProduceRequest};
use keylane_protocol::offset::{LeaderEpoch, Sequence};
use keylane_protocol::record_batch::RecordBatchHeader;

use super::Place;
use crate::merge::produce::ProduceMerge;
use crate::routing::{Route, Routing, TopicKey};

/// The first version that carries zstd (KIP-110).
const VERSION_ZSTD: i16 = 7;

/// What a leader tells an old routed batch from a missing one by, besides the batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedOrder {
    /// The producer, whose order it is.
    pub producer_id: ProducerId,
    /// Everything below is answered or given up.
    pub floor: Sequence,
    /// The last number of the session that touched the partition; [`Sequence::NONE`] if none above the floor did.
    pub previous: Sequence,
}

/// Records for one partition, with its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubBatch {
    /// Who leads the partition.
    pub broker: BrokerId,
    /// Where in the request it stands.
    pub place: Place,
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The epoch of the leadership; a broker refuses an older one than its own.
    pub leader_epoch: LeaderEpoch,
    /// Whom to wait for: 0 nobody, 1 the leader, -1 all replicas in sync.
    pub acks: i16,
    /// What is said of a routed batch.
    pub order: Option<RoutedOrder>,
    /// One record batch: a slice of the client's frame, or what a routed one was split into.
    pub records: Bytes,
}

impl SubBatch {
    /// Returns it as the link carries it, without copying. Correlation and time left are the link's.
    #[must_use]
    pub fn on_lane(self, lane: Lane) -> link::append::SubBatch {
        let floor = self.order.map_or(Sequence::NONE, |order| order.floor);
        let previous = self.order.map_or(Sequence::NONE, |order| order.previous);
        link::append::SubBatch {
            lane,
            acks: self.acks,
            topic_id: self.topic_id,
            partition: self.partition,
            leader_epoch: self.leader_epoch,
            records_length: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            records: self.records.into(),
            floor,
            previous,
            ..link::append::SubBatch::default()
        }
    }
}

/// Records for a partition that cannot be sent yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSubBatch {
    /// Where in the request they stand.
    pub place: Place,
    /// The topic, as the request names it.
    pub topic: TopicKey,
    /// The partition.
    pub partition: PartitionIndex,
    /// Whom to wait for.
    pub acks: i16,
    /// What is said of a routed batch.
    pub order: Option<RoutedOrder>,
    /// One record batch.
    pub records: Bytes,
}

/// What a Produce becomes.
#[derive(Debug)]
pub struct ProducePlan {
    /// What to send, in the order of the request.
    pub sub_batches: Vec<SubBatch>,
    /// What cannot be sent yet, in the order of the request.
    pub held: Vec<HeldSubBatch>,
    /// The answer, which has the places of what is refused already.
    pub merge: ProduceMerge,
}

/// Why records are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// The same for people.
    pub text: ByteString,
}

impl Refusal {
    /// Returns a refusal in fixed words.
    #[must_use]
    pub const fn new(code: ErrorCode, text: &'static str) -> Self {
        Self {
            code,
            text: ByteString::from_static(text),
        }
    }
}

/// Splits a Produce by the leaders of its partitions.
#[must_use]
pub fn plan(request: ProduceRequest, version: i16, routing: &Routing) -> ProducePlan {
    let acks = request.acks;
    let refused_whole = refuse_whole(&request);
    let named_twice = request.named_twice();
    let mut plan = ProducePlan {
        sub_batches: Vec::new(),
        held: Vec::new(),
        merge: ProduceMerge::new(&request),
    };
    for (topic_place, topic) in request.topic_data.into_iter().enumerate() {
        let image = routing.image().topic_named(&topic.name);
        for (partition_place, data) in topic.partition_data.into_iter().enumerate() {
            let place = Place {
                topic: topic_place,
                partition: partition_place,
            };
            let checked = match &refused_whole {
                Some(refusal) => Err(refusal.clone()),
                None if named_twice.contains(&(topic.name.clone(), data.index)) => Err(TWICE),
                None => check(data, version),
            };
            let (partition, records) = match checked {
                Ok(checked) => checked,
                Err(refusal) => {
                    plan.merge.on_refused(place, refusal);
                    continue;
                }
            };
            let held = HeldSubBatch {
                place,
                topic: TopicKey::Name(topic.name.clone()),
                partition,
                acks,
                order: None,
                records,
            };
            match held.at_leader(image.map(|image| &**image), routing) {
                Ok(sub_batch) => plan.sub_batches.push(sub_batch),
                Err(held) => plan.held.push(held),
            }
        }
    }
    plan
}

impl HeldSubBatch {
    /// Returns where the partition is served.
    #[must_use]
    pub fn route(&self, routing: &Routing) -> Route {
        let topic = routing.topic(&self.topic);
        topic.map_or(Route::Unknown, |topic| routing.route(topic, self.partition))
    }

    /// Returns what to send if the partition has a leader by now.
    ///
    /// # Errors
    /// Gives itself back if it has none.
    pub fn released(self, routing: &Routing) -> Result<SubBatch, Self> {
        let topic = routing.topic(&self.topic).map(|topic| &**topic);
        self.at_leader(topic, routing)
    }

    fn at_leader(self, topic: Option<&TopicImage>, routing: &Routing) -> Result<SubBatch, Self> {
        let Some(topic) = topic else {
            return Err(self);
        };
        match routing.route(topic, self.partition) {
            Route::Leader { broker, epoch } => Ok(SubBatch {
                broker,
                place: self.place,
                topic_id: topic.id,
                partition: self.partition,
                leader_epoch: epoch,
                acks: self.acks,
                order: self.order,
                records: self.records,
            }),
            Route::Lost { .. } | Route::Unknown => Err(self),
        }
    }
}

const TWICE: Refusal = Refusal::new(
    ErrorCode::InvalidRequest,
    "the request names this partition more than once",
);

fn refuse_whole(request: &ProduceRequest) -> Option<Refusal> {
    if !matches!(request.acks, -1..=1) {
        return Some(Refusal {
            code: ErrorCode::InvalidRequiredAcks,
            text: format!("acks is -1, 0 or 1, not {}", request.acks).into(),
        });
    }
    request.transactional_id.as_ref().map(|_| {
        Refusal::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            "transactions do not exist here yet",
        )
    })
}

fn check(data: ProducePartition, version: i16) -> Result<(PartitionIndex, Bytes), Refusal> {
    let records = data.records.filter(|records| !records.is_empty());
    let Some(records) = records else {
        let text = "a record batch is missing";
        return Err(Refusal::new(ErrorCode::InvalidRecord, text));
    };
    if version < VERSION_ZSTD && is_zstd(&records) {
        let text = "zstd needs Produce version 7";
        return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, text));
    }
    Ok((data.index, records))
}

/// Tells whether a batch says that it is compressed with zstd. What is no batch at all is refused by its leader.
fn is_zstd(records: &Bytes) -> bool {
    let header = RecordBatchHeader::read(records);
    header.is_ok_and(|header| header.compression() == Ok(Compression::Zstd))
}

#[cfg(test)]
mod tests;
