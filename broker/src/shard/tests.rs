//! Behaviour of [`Shard`] without runtime, sockets or disk.

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::{LeaderEpoch, Sequence};
use keylane_protocol::routed::PRODUCER_ID_MIN;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::request::Watch;
use super::*;
use crate::meters::now;
use crate::partition::read::ReadFound;
use crate::partition::tests::{EPOCH, ID, batch, partition};

type Reply = Receiver<Vec<AppendOutcome>>;

fn other() -> TopicPartition {
    TopicPartition {
        partition: PartitionIndex(1),
        ..ID
    }
}

fn shard() -> Shard {
    let mut shard = Shard::new(Uptime::start(), 1 << 20, Arc::new(Meters::new("broker-1")));
    shard.open(partition(ID, 1 << 30));
    shard.open(partition(other(), 1 << 30));
    shard
}

fn append(shard: &mut Shard, parts: Vec<(TopicPartition, RecordBatch)>) -> (Reply, usize) {
    let (reply, replied) = oneshot::channel();
    let mut appends = Vec::new();
    let request = AppendRequest {
        parts,
        frame_bytes: 200,
        sent_at: now(),
        reply,
    };
    shard.on_append(request, &mut appends);
    (replied, appends.len())
}

fn durable(shard: &mut Shard, id: TopicPartition, end: i64) -> usize {
    let (mut seals, mut woken) = (Vec::new(), Vec::new());
    shard.on_durable(id, Offset(end), &mut seals, &mut woken);
    woken.len()
}

fn base_offsets(mut reply: Reply) -> Vec<i64> {
    let outcomes = reply.try_recv().expect("answered");
    outcomes
        .into_iter()
        .map(|outcome| outcome.expect("appended").base_offset.0)
        .collect()
}

#[test]
fn a_request_is_answered_when_all_its_partitions_are_durable() {
    let mut shard = shard();
    let parts = vec![(ID, batch(None, 2)), (other(), batch(None, 1))];
    let (mut reply, appends) = append(&mut shard, parts);
    assert_eq!(appends, 2);
    durable(&mut shard, ID, 2);
    assert_eq!(reply.try_recv().err(), Some(TryRecvError::Empty));
    durable(&mut shard, other(), 1);
    assert_eq!(base_offsets(reply), [0, 0]);
}

#[test]
fn a_duplicate_waits_for_its_original_and_writes_nothing() {
    let mut shard = shard();
    let (original, _) = append(&mut shard, vec![(ID, batch(Some((1, 0)), 1))]);
    let (_next, _) = append(&mut shard, vec![(ID, batch(Some((1, 1)), 1))]);
    let (mut duplicate, appends) = append(&mut shard, vec![(ID, batch(Some((1, 0)), 1))]);
    assert_eq!(appends, 0);
    assert_eq!(duplicate.try_recv().err(), Some(TryRecvError::Empty));
    durable(&mut shard, ID, 1);
    assert_eq!(base_offsets(original), [0]);
    assert_eq!(base_offsets(duplicate), [0]);
    let (late, appends) = append(&mut shard, vec![(ID, batch(Some((1, 0)), 1))]);
    assert_eq!((base_offsets(late), appends), (vec![0], 0));
}

#[test]
fn a_refused_part_does_not_hold_up_the_others() {
    let mut shard = shard();
    let parts = vec![(ID, batch(Some((1, 5)), 1)), (other(), batch(None, 1))];
    let (mut reply, appends) = append(&mut shard, parts);
    assert_eq!(appends, 1);
    durable(&mut shard, other(), 1);
    let outcomes = reply.try_recv().expect("answered");
    assert!(matches!(outcomes[0], Err(AppendError::Producer { .. })));
    assert!(outcomes[1].is_ok());
}

#[test]
fn an_offline_folder_fails_what_waits_and_what_comes() {
    let mut shard = shard();
    let (mut waiting, _) = append(&mut shard, vec![(ID, batch(None, 1))]);
    shard.on_offline();
    let failed = Some(vec![Err(AppendError::Offline)]);
    assert_eq!(waiting.try_recv().ok(), failed);
    let (mut later, appends) = append(&mut shard, vec![(ID, batch(None, 1))]);
    assert_eq!((later.try_recv().ok(), appends), (failed, 0));
}

#[test]
fn a_closed_partition_is_gone_for_who_waits_and_who_comes() {
    let mut shard = shard();
    let (mut waiting, _) = append(&mut shard, vec![(ID, batch(None, 1))]);
    assert!(shard.close(ID).is_some());
    let gone = Some(vec![Err(AppendError::Gone)]);
    assert_eq!(waiting.try_recv().ok(), gone);
    durable(&mut shard, ID, 1);
    let (mut later, _) = append(&mut shard, vec![(ID, batch(None, 1))]);
    assert_eq!(later.try_recv().ok(), gone);
}

/// Appends lone batches, with their receipts' numbers.
fn append_each(
    shard: &mut Shard,
    parts: Vec<(TopicPartition, i32, u64)>,
) -> (Arc<receipts::Outcomes>, usize) {
    let outcomes: Arc<receipts::Outcomes> = Arc::default();
    let parts = parts.into_iter();
    let lone = parts.map(|(partition, leader_epoch, number)| LonePart {
        partition,
        leader_epoch: LeaderEpoch(leader_epoch),
        batch: batch(None, 1),
        routing: Routing::NONE,
        receipt: outcomes.receipt(number),
    });
    let mut appends = Vec::new();
    let request = AppendEach {
        parts: lone.collect(),
        frame_bytes: 200,
        sent_at: now(),
    };
    shard.on_append_each(request, &mut appends);
    (outcomes, appends.len())
}

fn numbers(outcomes: &receipts::Outcomes) -> Vec<(u64, Option<i64>)> {
    let told = outcomes.take().into_iter();
    told.map(|(number, outcome)| (number, outcome.ok().map(|at| at.base_offset.0)))
        .collect()
}

#[test]
fn each_lone_batch_is_told_of_when_it_is_durable_itself() {
    let mut shard = shard();
    let parts = vec![(ID, -1, 1), (other(), -1, 2), (ID, EPOCH.0, 3)];
    let (outcomes, appends) = append_each(&mut shard, parts);
    assert_eq!((appends, numbers(&outcomes)), (3, vec![]));
    durable(&mut shard, ID, 1);
    assert_eq!(numbers(&outcomes), [(1, Some(0))]);
    durable(&mut shard, other(), 1);
    durable(&mut shard, ID, 2);
    assert_eq!(numbers(&outcomes), [(2, Some(0)), (3, Some(1))]);
}

#[test]
fn a_repeated_routed_batch_is_not_answered_before_its_original_is_durable() {
    let mut shard = shard();
    let outcomes: Arc<receipts::Outcomes> = Arc::default();
    let part = |number| LonePart {
        partition: ID,
        leader_epoch: EPOCH,
        batch: batch(Some((PRODUCER_ID_MIN.0, 0)), 1),
        routing: Routing {
            floor: Sequence(0),
            previous: Sequence::NONE,
        },
        receipt: outcomes.receipt(number),
    };
    let mut appends = Vec::new();
    let request = AppendEach {
        parts: vec![part(1), part(2)],
        frame_bytes: 200,
        sent_at: now(),
    };
    shard.on_append_each(request, &mut appends);
    assert_eq!((appends.len(), numbers(&outcomes)), (1, vec![]));
    durable(&mut shard, ID, 1);
    assert_eq!(numbers(&outcomes), [(1, Some(0)), (2, Some(0))]);
}

#[test]
fn a_lone_batch_for_another_epoch_is_refused_and_changes_nothing() {
    let mut shard = shard();
    let parts = vec![(ID, EPOCH.0 - 1, 1), (ID, EPOCH.0 + 1, 2)];
    let (outcomes, appends) = append_each(&mut shard, parts);
    let refused = Err(AppendError::NotLeader);
    assert_eq!(appends, 0);
    assert_eq!(outcomes.take(), [(1, refused), (2, refused)]);
}

#[test]
fn every_lone_batch_is_told_of_exactly_once_when_the_folder_or_the_shard_goes() {
    let mut shard = shard();
    let (outcomes, _) = append_each(&mut shard, vec![(ID, -1, 1)]);
    shard.on_offline();
    drop(shard);
    let offline = Err(AppendError::Offline);
    assert_eq!(outcomes.take(), [(1, offline)]);
    let mut next = self::shard();
    let (outcomes, _) = append_each(&mut next, vec![(ID, -1, 2)]);
    drop(next);
    assert_eq!(outcomes.take(), [(2, offline)]);
}

fn read(shard: &mut Shard, bytes_min: usize) -> Vec<request::ReadOutcome> {
    let (reply, mut replied) = oneshot::channel();
    let part = |partition| ReadPart {
        partition,
        offset: Offset(0),
        bytes_max: 1 << 20,
        leader_epoch: LeaderEpoch::NONE,
    };
    shard.on_read(ReadRequest {
        connection: ConnectionId(1),
        parts: vec![part(ID), part(other())],
        bytes_max: 1 << 20,
        watch: Some(Watch {
            bytes_min,
            is_divided: false,
            wake: Arc::default(),
        }),
        sent_at: now(),
        reply,
    });
    replied.try_recv().expect("answered at once")
}

#[test]
fn a_reader_is_woken_once_when_its_bytes_are_visible() {
    let mut shard = shard();
    let found = read(&mut shard, 1);
    assert!(
        found
            .iter()
            .all(|outcome| matches!(outcome, Ok(read) if matches!(read.found, ReadFound::Nothing)))
    );
    append(&mut shard, vec![(ID, batch(None, 1))]);
    append(&mut shard, vec![(ID, batch(None, 1))]);
    assert_eq!(durable(&mut shard, ID, 1), 1);
    assert_eq!(durable(&mut shard, ID, 2), 0, "the watch is gone");
    let found = read(&mut shard, 1);
    assert!(found[0].as_ref().is_ok_and(|read| read.found.bytes() > 0));
    assert_eq!(shard.watches.count(), 0, "there was enough");
}

#[test]
fn a_small_batch_does_not_keep_a_large_frame_alive() {
    let mut shard = shard();
    let (reply, _replied) = oneshot::channel();
    let request = AppendRequest {
        parts: vec![(ID, batch(None, 1))],
        frame_bytes: 10 << 20,
        sent_at: now(),
        reply,
    };
    shard.on_append(request, &mut Vec::new());
    assert!(shard.tail.bytes() < 1_000, "it was copied");
}
