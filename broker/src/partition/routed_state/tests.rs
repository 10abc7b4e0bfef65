//! Behaviour of [`RoutedProducers`], by example, and against a reference that keeps everything.

use bytes::BufMut;
use keylane_protocol::routed::PRODUCER_ID_MIN;
use proptest::prelude::*;

use super::*;

const EXPIRY_MS: u64 = 1_000_000;

const LIMITS: RoutedLimits = RoutedLimits {
    producers_max: 4,
    expiry_ms: EXPIRY_MS,
};

const NONE: i32 = -1;

/// Returns a batch of two records of the first producer's epoch 0, whose content follows from its number.
fn batch(number: i32, previous: i32, floor: i32) -> RoutedBatch {
    RoutedBatch {
        producer_id: PRODUCER_ID_MIN,
        epoch: ProducerEpoch(0),
        number: Sequence(number),
        floor: Sequence(floor),
        previous: Sequence(previous),
        record_count: 2,
        crc: number.unsigned_abs().wrapping_mul(0x9e37_79b9),
    }
}

fn of(id: i64, batch: RoutedBatch) -> RoutedBatch {
    RoutedBatch {
        producer_id: ProducerId(PRODUCER_ID_MIN.0 + id),
        ..batch
    }
}

fn in_epoch(epoch: i16, batch: RoutedBatch) -> RoutedBatch {
    RoutedBatch {
        epoch: ProducerEpoch(epoch),
        ..batch
    }
}

/// A partition that only has numbers.
struct World {
    producers: RoutedProducers,
    end: Offset,
    now_ms: u64,
    log: Vec<(RoutedBatch, Offset)>,
}

impl World {
    fn new() -> Self {
        Self {
            producers: RoutedProducers::new(LIMITS),
            end: Offset(100),
            now_ms: 0,
            log: Vec::new(),
        }
    }

    fn judge(&mut self, batch: RoutedBatch) -> Judgement {
        self.producers.judge(&batch, self.now_ms)
    }

    /// Judges as a partition does, appending what may be appended.
    fn offer(&mut self, batch: RoutedBatch) -> Judgement {
        let judgement = self.judge(batch);
        if judgement == Judgement::Append {
            self.producers.remember(&batch, self.end, self.now_ms);
            self.log.push((batch, self.end));
            self.end = self.end.plus(i64::from(batch.record_count));
        }
        judgement
    }

    fn append(&mut self, batch: RoutedBatch) {
        assert_eq!(self.offer(batch), Judgement::Append, "{batch:?}");
    }

    fn durable(&mut self) {
        self.producers.on_durable(self.end);
    }

    /// Loses what lies above an offset, and recovers.
    fn crash(&mut self, durable_end: Offset) {
        self.log
            .retain(|(_, base_offset)| *base_offset < durable_end);
        self.end = durable_end;
        self.producers = RoutedProducers::new(LIMITS);
        for (batch, base_offset) in &self.log {
            self.producers.recover(batch, *base_offset, self.now_ms);
        }
    }

    fn restore(&mut self) {
        let bytes = self.producers.encode();
        self.producers = RoutedProducers::decode(&bytes, LIMITS, self.now_ms).expect("sound");
    }
}

impl RoutedProducers {
    /// Takes in a batch as recovery does, from its header alone.
    fn recover(&mut self, batch: &RoutedBatch, base_offset: Offset, now_ms: u64) {
        let header_only = RoutedBatch {
            floor: Sequence::NONE,
            previous: Sequence::NONE,
            ..*batch
        };
        self.remember(&header_only, base_offset, now_ms);
        self.on_durable(base_offset.plus(i64::from(batch.record_count)));
    }
}

fn duplicate_at(base_offset: i64) -> Judgement {
    Judgement::Duplicate(Original {
        base_offset: Offset(base_offset),
        end_offset: Offset(base_offset + 2),
    })
}

#[track_caller]
fn assert_out_of_order(judgement: Judgement) {
    let is_out_of_order = matches!(judgement, Judgement::Refused(Refusal::OutOfOrder { .. }));
    assert!(is_out_of_order, "{judgement:?}");
}

#[test]
fn of_an_unknown_producer_any_number_is_taken_if_none_came_before_it_here() {
    let mut world = World::new();
    assert_out_of_order(world.judge(batch(7, 6, 5)));
    assert_eq!(world.judge(batch(7, NONE, 5)), Judgement::Append);
    assert_eq!(world.judge(batch(0, NONE, 0)), Judgement::Append);
}

#[test]
fn a_number_follows_the_last_if_its_session_names_it() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    assert_out_of_order(world.judge(batch(5, 3, 0)));
    assert_out_of_order(world.judge(batch(5, NONE, 0)));
    world.append(batch(5, 0, 0));
    assert_out_of_order(world.judge(batch(6, 0, 0)));
    world.append(batch(6, 5, 0));
}

#[test]
fn a_number_without_a_previous_one_follows_if_the_last_lies_below_its_floor() {
    let mut world = World::new();
    world.append(batch(3, NONE, 0));
    assert_out_of_order(world.judge(batch(4, NONE, 3)));
    assert_out_of_order(world.judge(batch(9, 5, 5)));
    world.append(batch(9, NONE, 4));
}

#[test]
fn a_hole_is_refused_until_what_is_missing_came() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    assert_eq!(
        world.judge(batch(2, 1, 0)),
        Judgement::Refused(Refusal::OutOfOrder {
            found: Sequence(2),
            previous: Sequence(1),
            floor: Sequence(0),
            last: Sequence(0),
        })
    );
    world.append(batch(1, 0, 0));
    world.append(batch(2, 1, 0));
}

#[test]
fn a_remembered_number_is_a_duplicate_whatever_comes_before_it() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    world.append(batch(4, 0, 0));
    for (previous, floor) in [(NONE, 0), (0, 0), (3, 2), (NONE, 4)] {
        assert_eq!(world.judge(batch(4, previous, floor)), duplicate_at(102));
    }
}

#[test]
fn a_number_with_other_records_is_refused_wherever_it_is_known() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    let refused = Judgement::Refused(Refusal::OtherContent {
        number: Sequence(0),
    });
    let other_crc = RoutedBatch {
        crc: 1,
        ..batch(0, NONE, 0)
    };
    let other_count = RoutedBatch {
        record_count: 3,
        ..batch(0, NONE, 0)
    };
    assert_eq!(world.judge(other_crc), refused);
    assert_eq!(world.judge(other_count), refused);
    world.crash(Offset(102));
    assert_eq!(world.judge(other_crc), refused);
    world.restore();
    assert_eq!(world.judge(other_count), refused);
}

#[test]
fn a_number_below_the_last_that_is_not_remembered_is_never_taken_nor_acknowledged() {
    let mut world = World::new();
    world.append(batch(5, NONE, 5));
    // Neither the number of a session that did not touch the partition with it, nor one from long ago.
    for (previous, floor) in [(NONE, 4), (NONE, 0), (3, 0), (5, 4)] {
        assert_out_of_order(world.judge(batch(4, previous, floor)));
    }
}

#[test]
fn a_lower_epoch_is_fenced_and_of_a_higher_one_nothing_is_known() {
    let mut world = World::new();
    world.append(in_epoch(3, batch(8, NONE, 8)));
    assert_eq!(
        world.judge(in_epoch(2, batch(9, 8, 8))),
        Judgement::Refused(Refusal::Fenced {
            found: ProducerEpoch(2),
            current: ProducerEpoch(3),
        })
    );
    assert_out_of_order(world.judge(in_epoch(4, batch(9, 8, 8))));
    assert_eq!(
        world.judge(in_epoch(3, batch(8, NONE, 8))),
        duplicate_at(100)
    );
    // The same number of the new epoch is another one.
    world.append(in_epoch(4, batch(8, NONE, 0)));
    let fenced = world.judge(in_epoch(3, batch(8, NONE, 8)));
    assert!(matches!(fenced, Judgement::Refused(Refusal::Fenced { .. })));
}

#[test]
fn a_refused_epoch_fences_nothing() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    assert_out_of_order(world.judge(in_epoch(1, batch(2, 1, 0))));
    world.append(batch(1, 0, 0));
}

#[test]
fn numbers_from_the_highest_floor_on_are_remembered_and_durable_ones_below_forgotten() {
    let mut world = World::new();
    for number in 0..10 {
        world.append(batch(number, number - 1, 0));
    }
    world.durable();
    assert_eq!(world.judge(batch(0, NONE, 0)), duplicate_at(100));
    world.append(batch(10, 9, 6));
    for number in 6..11 {
        let judgement = world.judge(batch(number, NONE, 0));
        assert_eq!(judgement, duplicate_at(100 + i64::from(number) * 2));
    }
    for number in 0..6 {
        assert_out_of_order(world.judge(batch(number, NONE, 0)));
    }
}

#[test]
fn a_floor_counts_when_it_is_heard_and_never_falls() {
    let mut world = World::new();
    for number in 0..4 {
        world.append(batch(number, number - 1, 0));
    }
    world.durable();
    assert_eq!(world.judge(batch(3, NONE, 3)), duplicate_at(106));
    assert_out_of_order(world.judge(batch(2, 1, 0)));
    world.append(batch(4, 3, 0));
    assert_eq!(world.judge(batch(3, NONE, 0)), duplicate_at(106));
}

#[test]
fn floors_of_another_epoch_are_not_taken_for_this_ones() {
    let mut world = World::new();
    for number in 0..4 {
        world.append(batch(number, number - 1, 0));
    }
    world.durable();
    let later = in_epoch(1, batch(50, 49, 49));
    assert_out_of_order(world.judge(later));
    assert_eq!(world.judge(batch(1, NONE, 0)), duplicate_at(102));
    assert_eq!(world.judge(batch(3, NONE, 3)), duplicate_at(106));
    world.append(in_epoch(1, batch(0, NONE, 0)));
    world.append(in_epoch(1, batch(1, 0, 0)));
    world.durable();
    world.append(in_epoch(1, batch(2, 1, 0)));
    assert_eq!(
        world.judge(in_epoch(1, batch(0, NONE, 0))),
        duplicate_at(108)
    );
}

#[test]
fn what_is_not_durable_is_remembered_below_the_floor_too() {
    let mut world = World::new();
    for number in 0..4 {
        world.append(batch(number, number - 1, 0));
    }
    world.append(batch(9, NONE, 9));
    assert_eq!(world.judge(batch(1, NONE, 0)), duplicate_at(102));
    world.producers.on_durable(Offset(104));
    world.append(batch(10, 9, 9));
    // The last durable one too: the log may yet end there.
    assert_out_of_order(world.judge(batch(0, NONE, 0)));
    assert_eq!(world.judge(batch(1, NONE, 0)), duplicate_at(102));
    assert_eq!(world.judge(batch(2, NONE, 0)), duplicate_at(104));
}

#[test]
fn the_last_durable_number_outlives_its_floor() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    world.durable();
    assert_out_of_order(world.judge(batch(7, 6, 5)));
    assert_eq!(world.judge(batch(0, NONE, 0)), duplicate_at(100));
    assert_out_of_order(world.judge(batch(7, NONE, 0)));
    world.append(batch(7, NONE, 5));
}

#[test]
fn what_the_power_takes_is_not_remembered_and_the_last_goes_back() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    world.append(batch(1, 0, 0));
    world.append(batch(2, 1, 0));
    world.crash(Offset(102));
    assert_eq!(world.judge(batch(0, NONE, 0)), duplicate_at(100));
    assert_out_of_order(world.judge(batch(2, 1, 0)));
    assert_out_of_order(world.judge(batch(2, NONE, 0)));
    world.append(batch(1, 0, 0));
    assert_eq!(world.judge(batch(1, 0, 0)), duplicate_at(102));
}

#[test]
fn an_epoch_that_the_power_takes_leaves_the_older_one() {
    let mut world = World::new();
    world.append(batch(4, NONE, 4));
    world.append(in_epoch(1, batch(0, NONE, 0)));
    world.crash(Offset(102));
    assert_eq!(world.judge(batch(4, NONE, 4)), duplicate_at(100));
    world.append(batch(5, 4, 4));
}

#[test]
fn an_older_epoch_stays_until_the_newer_one_is_durable() {
    let mut world = World::new();
    for number in 0..3 {
        world.append(batch(number, number - 1, 0));
    }
    world.durable();
    world.append(in_epoch(1, batch(0, NONE, 0)));
    assert_eq!(world.written(), [(0, 2), (1, 0)]);
    world.append(in_epoch(1, batch(1, 0, 0)));
    world.producers.on_durable(Offset(108));
    assert_eq!(
        world.judge(in_epoch(1, batch(0, NONE, 0))),
        duplicate_at(106)
    );
    assert_eq!(world.written(), [(1, 0), (1, 1)]);
}

impl World {
    /// Returns epochs and numbers of the first producer.
    fn written(&self) -> Vec<(i16, i32)> {
        let producer = &self.producers.by_id[&PRODUCER_ID_MIN];
        let written = producer.written.iter();
        written.map(|it| (it.epoch.0, it.number.0)).collect()
    }
}

#[test]
fn state_from_the_log_remembers_the_last_1024_numbers_until_it_hears_a_floor() {
    let mut world = World::new();
    for number in 0..2_000 {
        world.append(batch(number, number - 1, number));
    }
    world.crash(world.end);
    let oldest = 2_000 - NUMBERS_MAX;
    let at = |number: i32| duplicate_at(100 + i64::from(number) * 2);
    assert_eq!(world.written().len(), 1_024);
    assert_eq!(world.judge(batch(oldest, NONE, 0)), at(oldest));
    assert_out_of_order(world.judge(batch(oldest - 1, NONE, 0)));
    assert_eq!(world.judge(batch(1_999, NONE, 1_990)), at(1_999));
    assert_eq!(world.written().len(), 10);
}

#[test]
fn numbers_reach_the_largest_and_do_not_wrap() {
    let mut world = World::new();
    world.append(batch(i32::MAX - 1, NONE, i32::MAX - 1));
    world.append(batch(i32::MAX, i32::MAX - 1, i32::MAX - 1));
    world.restore();
    assert_out_of_order(world.judge(batch(0, i32::MAX, 0)));
    assert_eq!(world.judge(batch(i32::MAX, NONE, 0)), duplicate_at(102));
}

#[test]
fn a_producer_is_forgotten_so_long_after_its_last_append_and_not_before() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    world.now_ms = EXPIRY_MS / 2;
    world.append(batch(1, 0, 0));
    // A duplicate is no append.
    world.now_ms = EXPIRY_MS + EXPIRY_MS / 2 - 1;
    assert_eq!(world.judge(batch(1, 0, 0)), duplicate_at(102));
    world.now_ms += 1;
    assert_eq!(world.judge(batch(9, NONE, 0)), Judgement::Append);
    assert_eq!(world.producers.count(), 0);
}

#[test]
fn recovery_starts_the_expiry_anew() {
    for recover in [World::restore, |world: &mut World| world.crash(world.end)] {
        let mut world = World::new();
        world.append(batch(0, NONE, 0));
        world.now_ms = EXPIRY_MS - 1;
        recover(&mut world);
        world.now_ms += EXPIRY_MS - 1;
        assert_eq!(world.judge(batch(0, NONE, 0)), duplicate_at(100));
        world.now_ms += 1;
        assert_eq!(world.judge(batch(0, NONE, 0)), Judgement::Append);
    }
}

#[test]
fn a_full_partition_refuses_new_producers_until_one_expires_and_serves_the_others() {
    let mut world = World::new();
    for id in 0..4 {
        world.now_ms = u64::try_from(id).expect("small");
        world.append(of(id, batch(0, NONE, 0)));
    }
    let fifth = of(4, batch(0, NONE, 0));
    world.now_ms = EXPIRY_MS - 1;
    let refused = Judgement::Refused(Refusal::TooMany { limit: 4 });
    assert_eq!(world.judge(fifth), refused);
    world.append(of(0, batch(1, 0, 0)));
    world.append(of(0, in_epoch(1, batch(0, NONE, 0))));
    world.now_ms = EXPIRY_MS;
    assert_eq!(world.judge(fifth), refused, "the first is not the oldest");
    world.now_ms = EXPIRY_MS + 1;
    world.append(fifth);
    let unknown = of(1, batch(9, NONE, 0));
    assert_eq!(world.judge(unknown), refused, "the second has expired");
    assert_eq!(world.judge(of(2, batch(0, NONE, 0))), duplicate_at(104));
}

#[test]
fn of_more_producers_in_the_log_those_silent_longest_are_forgotten() {
    let mut world = World::new();
    for id in 0..4 {
        world.append(of(id, batch(0, NONE, 0)));
    }
    world.append(of(0, batch(1, 0, 0)));
    world.now_ms = EXPIRY_MS;
    world.append(of(4, batch(0, NONE, 0)));
    world.crash(world.end);
    assert_eq!(world.producers.count(), 4);
    assert_eq!(world.judge(of(0, batch(1, 0, 0))), duplicate_at(108));
    let refused = world.judge(of(1, batch(1, NONE, 0)));
    assert_eq!(refused, Judgement::Refused(Refusal::TooMany { limit: 4 }));
}

#[test]
fn headers_that_cannot_follow_change_nothing() {
    let mut world = World::new();
    world.append(batch(5, NONE, 5));
    world.append(of(1, batch(0, NONE, 0)));
    let before = world.producers.encode();
    let empty = RoutedBatch {
        record_count: 0,
        ..batch(6, NONE, NONE)
    };
    let bent = [
        (batch(5, NONE, NONE), 104),
        (batch(4, NONE, NONE), 104),
        (in_epoch(-1, batch(6, NONE, NONE)), 104),
        (of(2, batch(-5, NONE, NONE)), 104),
        (batch(6, NONE, NONE), 103),
        (batch(6, NONE, NONE), i64::MAX - 1),
        (empty, 104),
    ];
    for (batch, base_offset) in bent {
        world.producers.remember(&batch, Offset(base_offset), 0);
        assert_eq!(world.producers.encode(), before, "{batch:?}");
    }
}

#[test]
fn a_snapshot_gives_back_what_lasts() {
    let mut world = World::new();
    for number in 0..6 {
        world.append(batch(number, number - 1, 0));
    }
    world.durable();
    world.append(in_epoch(1, batch(0, NONE, 0)));
    world.append(in_epoch(1, batch(3, 0, 0)));
    world.append(of(1, batch(7, NONE, 7)));
    let end = world.end;
    world.restore();
    assert_eq!(world.written(), [(1, 0), (1, 3)]);
    assert_eq!(world.producers.count(), 2);
    assert_eq!(world.producers.end_offset(), end);
    let bytes = world.producers.encode();
    world.restore();
    assert_eq!(world.producers.encode(), bytes);
    world.append(in_epoch(1, batch(4, 3, 0)));
}

#[test]
fn a_snapshot_of_too_many_numbers_keeps_the_newest_of_each_producer() {
    let mut world = World::new();
    for number in 0..10 {
        world.append(batch(number, number - 1, 0));
    }
    world.append(of(1, batch(0, NONE, 0)));
    for (numbers_max, kept) in [(8, 4), (2, 1), (0, 1)] {
        let bytes = world.producers.encode_within(numbers_max);
        let producers = RoutedProducers::decode(&bytes, LIMITS, 0).expect("sound");
        let first = &producers.by_id[&PRODUCER_ID_MIN];
        assert_eq!((producers.count(), first.written.len()), (2, kept));
        assert_eq!(first.last().number, Sequence(9));
    }
}

#[test]
fn a_damaged_snapshot_is_refused_wherever_the_damage_is() {
    let mut world = World::new();
    world.append(batch(0, NONE, 0));
    world.append(of(1, batch(0, NONE, 0)));
    let bytes = world.producers.encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(
            RoutedProducers::decode(&damaged, LIMITS, 0).is_err(),
            "byte {at}"
        );
        assert!(RoutedProducers::decode(&bytes[..at], LIMITS, 0).is_err());
    }
}

/// A number, its base offset and its count of records.
type Entry = (i32, i64, i32);

/// Returns a snapshot of one producer with a sound checksum.
fn snapshot_of(id: i64, epoch: i16, written: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    put_producer(&mut body, id, epoch, written);
    sealed(1, &body)
}

fn put_producer(out: &mut Vec<u8>, id: i64, epoch: i16, written: &[Entry]) {
    out.put_i64(id);
    out.put_i16(epoch);
    out.put_u16(u16::try_from(written.len()).expect("few"));
    for (number, base_offset, record_count) in written {
        out.put_i32(*number);
        out.put_i64(*base_offset);
        out.put_i32(*record_count);
        out.put_u32(0);
    }
}

/// Returns a snapshot of what is said to be so many producers.
fn sealed(count: u32, producers: &[u8]) -> Vec<u8> {
    let mut out = b"KLRP\x00\x01\x00\x00".to_vec();
    out.put_u32(count);
    out.put_slice(producers);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &out);
    out.put_u32(u32::try_from(crc).expect("32 bits"));
    out
}

#[test]
fn a_snapshot_that_says_what_cannot_be_is_refused() {
    let id = PRODUCER_ID_MIN.0;
    let decode = |bytes: Vec<u8>| RoutedProducers::decode(&bytes, LIMITS, 0);
    assert!(decode(snapshot_of(id, 0, &[(3, 0, 2), (4, 2, 1)])).is_ok());
    let impossible: [(i64, i16, &[Entry]); 9] = [
        (id - 1, 0, &[(3, 0, 2)]),
        (id, -1, &[(3, 0, 2)]),
        (id, 0, &[]),
        (id, 0, &[(-1, 0, 2)]),
        (id, 0, &[(3, -1, 2)]),
        (id, 0, &[(3, 0, 0)]),
        (id, 0, &[(3, i64::MAX, 1)]),
        (id, 0, &[(3, 0, 2), (3, 2, 1)]),
        (id, 0, &[(3, 0, 2), (4, 1, 1)]),
    ];
    for (id, epoch, written) in impossible {
        assert!(
            decode(snapshot_of(id, epoch, written)).is_err(),
            "{id} {epoch} {written:?}"
        );
    }
}

/// Remembers everything, of one producer.
#[derive(Default)]
struct Reference {
    written: Vec<Written>,
    /// The highest floor heard in the newest epoch, if that is known.
    floor: i32,
    durable_end: Offset,
}

impl Reference {
    fn judge(&self, batch: &RoutedBatch) -> Judgement {
        let newest = self.written.iter().map(|written| written.epoch).max();
        let of_newest = || self.written.iter().filter(|it| Some(it.epoch) == newest);
        let out_of_order = |last| Judgement::Refused(batch.out_of_order(last));
        match newest {
            Some(current) if batch.epoch < current => {
                return Judgement::Refused(Refusal::Fenced {
                    found: batch.epoch,
                    current,
                });
            }
            Some(current) if batch.epoch == current => {}
            _ if batch.previous == Sequence::NONE => return Judgement::Append,
            _ => return out_of_order(Sequence::NONE),
        }
        if let Some(same) = of_newest().find(|it| it.number == batch.number) {
            return match (same.record_count, same.crc) == (batch.record_count, batch.crc) {
                true => Judgement::Duplicate(Original {
                    base_offset: same.base_offset,
                    end_offset: same.end_offset(),
                }),
                false => Judgement::Refused(Refusal::OtherContent {
                    number: batch.number,
                }),
            };
        }
        let last = of_newest().map(|it| it.number).max().expect("not empty");
        let is_told = batch.previous != Sequence::NONE;
        let follows_last = is_told && batch.previous == last;
        let is_beyond = !is_told && last < batch.floor;
        match batch.number > last && (follows_last || is_beyond) {
            true => Judgement::Append,
            false => out_of_order(last),
        }
    }

    /// Tells whether a number of the newest epoch that lies in the log must be remembered.
    fn must_remember(&self, written: &Written) -> bool {
        let last = self.written.last().expect("it holds that one");
        let last_durable = self
            .written
            .iter()
            .rfind(|it| it.end_offset() <= self.durable_end);
        let is_open = written.number.0 >= self.floor && written.number.0 > last.number.0 - 1_024;
        let is_durable = written.end_offset() <= self.durable_end;
        is_open || !is_durable || last_durable == Some(written)
    }

    /// Checks a judgement: what may be forgotten may be refused instead.
    fn check(&self, batch: &RoutedBatch, found: Judgement) {
        let expected = self.judge(batch);
        let forgotten = |written: &&Written| {
            written.place() == (batch.epoch, batch.number) && !self.must_remember(written)
        };
        let may_differ = self.written.iter().any(|written| forgotten(&written));
        let is_refused = matches!(found, Judgement::Refused(Refusal::OutOfOrder { .. }));
        assert!(
            found == expected || (may_differ && is_refused),
            "{batch:?}: {found:?}, not {expected:?}, floor {}",
            self.floor
        );
    }

    fn hear(&mut self, batch: &RoutedBatch) {
        if self
            .written
            .last()
            .is_some_and(|it| it.epoch == batch.epoch)
        {
            self.floor = self.floor.max(batch.floor.0);
        }
    }

    fn write(&mut self, batch: &RoutedBatch, base_offset: Offset) {
        if self.written.last().is_some_and(|it| it.epoch < batch.epoch) {
            self.floor = 0;
        }
        self.written.push(Written {
            epoch: batch.epoch,
            number: batch.number,
            base_offset,
            record_count: batch.record_count,
            crc: batch.crc,
        });
        self.hear(batch);
    }
}

/// What happens to a partition.
#[derive(Clone, Debug)]
enum Step {
    Offer(RoutedBatch),
    /// So many of the batches that are not durable become so.
    Durable(usize),
    /// The power goes: what is not durable is lost. The state comes from a snapshot after so many batches, if there are
    /// as many, and the rest of the log.
    Crash(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    // Anything at all, and what follows often enough for the log to grow.
    let number = prop_oneof![8 => 0_i32..12, 1 => any::<i32>()];
    let previous = prop_oneof![4 => Just(NONE), 4 => 0_i32..12, 1 => any::<i32>()];
    let floor = prop_oneof![8 => 0_i32..12, 1 => any::<i32>()];
    let epoch = prop_oneof![20 => Just(0_i16), 3 => Just(1), 1 => Just(2), 1 => any::<i16>()];
    let content = prop_oneof![9 => Just(0_u32), 1 => 1_u32..3];
    let offer = (number, previous, floor, epoch, content).prop_map(
        |(number, previous, floor, epoch, content)| {
            let sound = batch(number, previous, floor);
            Step::Offer(RoutedBatch {
                epoch: ProducerEpoch(epoch),
                crc: sound.crc.wrapping_add(content),
                ..sound
            })
        },
    );
    prop_oneof![
        20 => offer,
        3 => (0_usize..4).prop_map(Step::Durable),
        1 => (0_usize..10).prop_map(Step::Crash),
    ]
}

fn check_steps(steps: Vec<Step>) -> usize {
    let mut world = World::new();
    let mut reference = Reference::default();
    let mut appended = 0;
    for step in steps {
        match step {
            Step::Offer(batch) => {
                // Links let no others through.
                if batch.number.0 < 0 || batch.epoch.0 < 0 {
                    continue;
                }
                let at = world.end;
                let found = world.offer(batch);
                reference.check(&batch, found);
                reference.hear(&batch);
                if found == Judgement::Append {
                    let last = reference.written.last().map(Written::place);
                    assert!(last < Some((batch.epoch, batch.number)), "only upwards");
                    reference.write(&batch, at);
                    appended += 1;
                }
            }
            Step::Durable(count) => {
                let durable_end = reference.durable_end;
                let open = reference.written.iter().map(Written::end_offset);
                let open = open.filter(|end| *end > durable_end);
                if let Some(end) = open.take(count).last() {
                    reference.durable_end = end;
                    world.producers.on_durable(end);
                }
            }
            Step::Crash(snapshot_after) => {
                let durable_end = reference.durable_end;
                reference
                    .written
                    .retain(|it| it.end_offset() <= durable_end);
                reference.floor = 0;
                crash(&mut world, durable_end, snapshot_after);
            }
        }
    }
    appended
}

/// Recovers from a snapshot taken after so many batches of the log that survives, and the rest of the log.
fn crash(world: &mut World, durable_end: Offset, snapshot_after: usize) {
    world.crash(durable_end.max(Offset(100)));
    let log = world.log.clone();
    if snapshot_after <= log.len() {
        let (before, behind) = log.split_at(snapshot_after);
        world.producers = RoutedProducers::new(LIMITS);
        for (batch, base_offset) in before {
            world.producers.recover(batch, *base_offset, 0);
        }
        world.restore();
        for (batch, base_offset) in behind {
            world.producers.recover(batch, *base_offset, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_judgement_is_that_of_a_reference_which_keeps_everything(
        steps in prop::collection::vec(any_step(), 0..120),
    ) {
        check_steps(steps);
    }

    #[test]
    fn any_bytes_decode_to_a_state_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RoutedProducers::decode(&bytes, LIMITS, 0);
    }

    #[test]
    fn what_passes_the_checksum_decodes_to_a_state_that_is_kept_or_an_error(
        ids in prop::collection::vec((-2_i64..4, -1_i16..3), 0..6),
        entries in prop::collection::vec((-1_i32..9, -1_i64..40, 0_i32..4), 0..12),
        cut in 0_usize..4,
        bent in any::<(prop::sample::Index, u8)>(),
    ) {
        let mut body = Vec::new();
        let mut entries = entries.chunks(2);
        for (id, epoch) in &ids {
            let entries = entries.next().unwrap_or_default();
            put_producer(&mut body, PRODUCER_ID_MIN.0.wrapping_add(*id), *epoch, entries);
        }
        body.truncate(body.len() - cut.min(body.len()));
        if !body.is_empty() && bent.1 < 32 {
            let at = bent.0.index(body.len());
            body[at] ^= bent.1;
        }
        let count = u32::try_from(ids.len()).expect("few");
        if let Ok(producers) = RoutedProducers::decode(&sealed(count, &body), LIMITS, 0) {
            let bytes = producers.encode();
            let again = RoutedProducers::decode(&bytes, LIMITS, 0).expect("just encoded");
            prop_assert_eq!(again.encode(), bytes);
        }
    }
}

#[test]
fn what_is_kept_of_appends_follows_the_producers_and_not_the_appends() {
    let mut producers = RoutedProducers::new(LIMITS);
    for number in 0..10_000 {
        let batch = RoutedBatch {
            producer_id: PRODUCER_ID_MIN,
            epoch: ProducerEpoch(0),
            number: Sequence(number),
            floor: Sequence(number),
            previous: Sequence::NONE,
            record_count: 1,
            crc: 7,
        };
        assert_eq!(producers.judge(&batch, 0), Judgement::Append);
        producers.remember(&batch, Offset(number.into()), 0);
    }
    assert_eq!(producers.count(), 1);
    assert!(producers.appends.len() <= APPENDS_MIN + APPENDS_PER_PRODUCER);
}
