//! Behaviour of [`Partition`] without any I/O.

use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{PartitionIndex, ProducerId, TopicId};
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, RecordBatchBuilder, RecordBatchHeader,
};
use keylane_protocol::routed::PRODUCER_ID_MIN;
use proptest::prelude::*;

use super::producer_state::ProducerLimits;
use super::read::{ReadError, ReadFound};
use super::tail::{ReadLimit, Tail};
use super::*;
use crate::disk::Space;

pub(crate) const ID: TopicPartition = TopicPartition {
    topic_id: TopicId([7; 16]),
    partition: PartitionIndex(0),
};

const LIMITS: ProducerLimits = ProducerLimits {
    producers_max: 100,
    expiry_ms: 1_000_000,
    idle_ms_min: 1_000,
};

pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(3);

const LIMIT: ReadLimit = ReadLimit {
    bytes_max: 1 << 20,
    at_least_one: true,
};

/// Returns a partition on a filesystem with so much room.
pub(crate) fn partition(id: TopicPartition, free_bytes: u64) -> Partition {
    let space = Space {
        free_bytes,
        total_bytes: free_bytes,
    };
    let setup = PartitionSetup {
        id,
        shard: 0,
        leader_epoch: Some(EPOCH),
        roll: RollSettings {
            segment_bytes_max: 1_000,
            segment_ms_max: u64::MAX,
        },
        durability: Durability::Fsync,
        space: Arc::new(SpaceBudget::new(0, space)),
        counters: Arc::default(),
    };
    Partition::new(
        setup,
        Log::empty(Offset(0)),
        PartitionProducers::new(LIMITS),
    )
}

/// Returns a batch of `count` records of a producer; `None` numbers nothing.
pub(crate) fn batch(producer: Option<(i64, i32)>, count: i64) -> RecordBatch {
    let mut builder = RecordBatchBuilder::with_capacity(256);
    for timestamp in 0..count {
        builder.append(&NewRecord {
            timestamp,
            key: None,
            value: Some(b"value"),
            headers: &[],
        });
    }
    let producer = producer.map_or(BatchProducer::NONE, |(id, sequence)| BatchProducer {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
    });
    let bytes = builder.finish(Compression::None, producer);
    RecordBatch::check(bytes.expect("nothing is compressed")).expect("sound")
}

fn append(partition: &mut Partition, batch: &RecordBatch) -> Accepted {
    match partition.append(batch, Routing::NONE, 1) {
        Ok(Outcome::Accepted(accepted)) => *accepted,
        other => panic!("{other:?}"),
    }
}

fn durable(partition: &mut Partition, end: i64) -> (u64, usize) {
    let mut seals = Vec::new();
    let bytes = partition.on_durable(Offset(end), &mut seals);
    (bytes, seals.len())
}

#[test]
fn a_batch_is_stamped_with_its_offset_and_leader_epoch() {
    let mut partition = partition(ID, 1 << 30);
    append(&mut partition, &batch(None, 3));
    let second = append(&mut partition, &batch(None, 2));
    assert_eq!(
        (second.base_offset, second.end_offset),
        (Offset(3), Offset(5))
    );
    let stored = [&*second.append.prefix, &*second.append.rest].concat();
    let stored = RecordBatch::check_stored(stored.into()).expect("still sound");
    assert_eq!(stored.header().base_offset, Offset(3));
    assert_eq!(stored.header().leader_epoch, EPOCH);
}

#[test]
fn consumers_see_nothing_above_the_high_watermark() {
    let mut partition = partition(ID, 1 << 30);
    let mut tail = Tail::new(1 << 20);
    for _ in 0..2 {
        let accepted = append(&mut partition, &batch(None, 3));
        tail.push(ID, accepted.recent, 100);
    }
    let read = |partition: &Partition, tail: &Tail<_>, offset| {
        partition.read(tail, Offset(offset), LeaderEpoch::NONE, LIMIT)
    };
    let early = read(&partition, &tail, 0).expect("the start");
    assert!(matches!(early.found, ReadFound::Nothing));
    assert_eq!(
        read(&partition, &tail, 1).err(),
        Some(ReadError::OffsetOutOfRange)
    );
    let (bytes, _) = durable(&mut partition, 3);
    let found = read(&partition, &tail, 0).expect("within");
    assert_eq!(found.high_watermark, Offset(3));
    assert_eq!(found.found.bytes() as u64, bytes, "one of the two batches");
    let nothing = read(&partition, &tail, 3).expect("the end");
    assert!(matches!(nothing.found, ReadFound::Nothing));
}

#[test]
fn what_has_left_the_tail_is_read_from_its_segment() {
    let mut partition = partition(ID, 1 << 30);
    for _ in 0..20 {
        append(&mut partition, &batch(None, 3));
    }
    durable(&mut partition, 60);
    let read = partition.read(&Tail::new(0), Offset(50), EPOCH, LIMIT);
    let ReadFound::OnDisk(plan) = read.expect("within").found else {
        panic!("nothing is in memory");
    };
    assert!(plan.segment > Offset(0) && plan.segment <= Offset(50));
    assert_eq!(plan.range.end_offset, Offset(60));
}

#[test]
fn without_room_nothing_is_assigned() {
    let mut partition = partition(ID, 300);
    append(&mut partition, &batch(Some((1, 0)), 1));
    let big = batch(Some((1, 1)), 50);
    let refused = partition.append(&big, Routing::NONE, 1);
    assert_eq!(refused.err(), Some(AppendError::NoSpace));
    assert_eq!(partition.log().end_offset(), Offset(1));
    // The sequence is still free, so the same batch is neither a duplicate nor a gap.
    let next = partition.append(&batch(Some((1, 1)), 1), Routing::NONE, 1);
    assert!(matches!(next, Ok(Outcome::Accepted(_))), "{next:?}");
}

#[test]
fn a_segment_is_sealed_with_the_producers_of_its_end_once_it_is_durable() {
    let mut partition = partition(ID, 1 << 30);
    let mut at_roll = Vec::new();
    let mut sequence = 0;
    while partition.closed.is_empty() {
        at_roll = partition.producers.encode();
        append(&mut partition, &batch(Some((1, sequence)), 1));
        sequence += 1;
    }
    let end = i64::from(sequence) - 1;
    let mut seals = Vec::new();
    partition.on_durable(Offset(end - 1), &mut seals);
    assert!(seals.is_empty());
    partition.on_durable(Offset(end), &mut seals);
    assert_eq!(seals.len(), 1);
    assert_eq!(seals[0].segment.end_offset(), Offset(end));
    assert_eq!(seals[0].producers, at_roll);
    assert_eq!(partition.into_seals().len(), 1, "the active segment");
}

#[test]
fn the_youngest_ended_segment_of_a_page_cache_topic_is_sealed_when_the_next_ends_or_at_the_stop() {
    let mut partition = partition(ID, 1 << 30);
    partition.setup.durability = Durability::PageCache;
    let mut seals = Vec::new();
    for ended in 1..4 {
        let active = partition.log().active().base_offset();
        while partition.log().active().base_offset() == active {
            append(&mut partition, &batch(None, 1));
        }
        let end = partition.log().end_offset();
        partition.on_durable(end, &mut seals);
        assert_eq!(seals.len(), ended - 1);
    }
    assert_eq!(
        partition.into_seals().len(),
        2,
        "the youngest and the active"
    );
}

#[test]
fn only_the_current_leader_epoch_is_served() {
    let partition = partition(ID, 1 << 30);
    let read = |epoch| {
        let tail = Tail::new(0);
        partition
            .read(&tail, Offset(0), LeaderEpoch(epoch), LIMIT)
            .err()
    };
    assert_eq!(read(2), Some(ReadError::FencedLeaderEpoch));
    assert_eq!(read(3), None);
    assert_eq!(read(4), Some(ReadError::UnknownLeaderEpoch));
}

#[test]
fn a_segment_is_sealed_with_the_routed_producers_of_its_end_and_goes_on_from_them() {
    let mut live = partition(ID, 1 << 30);
    let mut number = 0;
    let numbered = |number| batch(Some((PRODUCER_ID_MIN.0, number)), 1);
    let routing = |previous| Routing {
        floor: Sequence(0),
        previous: Sequence(previous),
    };
    while live.closed.is_empty() {
        let appended = live.append(&numbered(number), routing(number - 1), 1);
        assert!(matches!(appended, Ok(Outcome::Accepted(_))));
        number += 1;
    }
    // The last batch began the next segment.
    let mut seals = Vec::new();
    live.on_durable(Offset(i64::from(number)), &mut seals);
    let mut sealed = PartitionProducers::decode(&seals[0].producers, LIMITS, 0).expect("sound");
    assert_eq!(sealed.end_offset(), seals[0].segment.end_offset());
    let mut judge = |number| {
        let batch = numbered(number);
        let numbered = NumberedBatch::of(batch.header(), routing(number - 1));
        sealed.judge(&numbered.expect("numbered"), 0)
    };
    assert!(matches!(judge(number - 2), Judgement::Duplicate(_)));
    assert_eq!(judge(number - 1), Judgement::Append);
    assert!(matches!(judge(number), Judgement::Refused(_)));
}

proptest! {
    #[test]
    fn state_rebuilt_from_stored_headers_equals_the_live_state(
        offered in prop::collection::vec((0_i64..4, 0_i32..6, 1_i64..3), 0..60),
    ) {
        let mut live = partition(ID, 1 << 30);
        let mut rebuilt = PartitionProducers::new(LIMITS);
        for (id, sequence, count) in offered {
            let accepted = live.append(&batch(Some((id, sequence)), count), Routing::NONE, 1);
            if let Ok(Outcome::Accepted(accepted)) = accepted {
                let bytes = [&*accepted.append.prefix, &*accepted.append.rest].concat();
                let header = RecordBatchHeader::read(&bytes).expect("a header");
                rebuilt.recover(&header, 0);
            }
        }
        prop_assert_eq!(rebuilt.encode(), live.producers.encode());
    }
}
