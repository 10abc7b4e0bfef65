//! One test per offence: the verifier must be able to fail, and must say where.

use super::*;
use crate::workload::{KeyDistribution, KeySpace, Placement, RecordToSend};

const COUNT: u64 = 40;

fn workload() -> Workload {
    let keys = KeySpace::new(10, KeyDistribution::Uniform, 1);
    Workload::generated(keys, 64, Placement::ByKey, 2)
}

/// A record as it lies in a log.
#[derive(Clone)]
struct Stored {
    partition: PartitionIndex,
    offset: i64,
    record: RecordToSend,
}

/// Returns what two producers wrote: per partition, in order.
fn log(workload: &Workload) -> Vec<Stored> {
    let mut ends = [0; 2];
    let mut stored = Vec::new();
    for sequence in 0..COUNT {
        for stream in 0..2 {
            let mut record = RecordToSend::default();
            let stamp = Stamp {
                stream,
                sequence,
                due_ns: 1,
            };
            workload.write(stamp, &mut record);
            let partition = workload.partition_of(stream, &record.key);
            let end = &mut ends[usize::from(partition.0 == 1)];
            stored.push(Stored {
                partition,
                offset: *end,
                record,
            });
            *end += 1;
        }
    }
    stored
}

fn sent() -> Vec<Sent> {
    let sent = Sent {
        count: COUNT,
        ..Sent::default()
    };
    vec![sent.clone(), sent]
}

fn verdict(workload: &Workload, log: &[Stored], sent: &[Sent]) -> Verdict {
    let mut verifier = Verifier::new();
    for stored in log {
        let read = RecordRead {
            partition: stored.partition,
            key: Some(&stored.record.key),
            value: Some(&stored.record.value),
            header: None,
        };
        verifier.on_record(workload, Offset(stored.offset), &read);
    }
    verifier.finish(workload, sent)
}

/// Returns the indexes of the first two records of one producer in one partition, from `from` on.
fn neighbours(log: &[Stored], from: usize) -> (usize, usize) {
    let who = |stored: &Stored| (stored.partition, stored.record.value[..4].to_vec());
    let other = (from + 1..log.len()).find(|&at| who(&log[at]) == who(&log[from]));
    (from, other.expect("another one"))
}

#[test]
fn what_was_sent_is_clean() {
    let workload = workload();
    let verdict = verdict(&workload, &log(&workload), &sent());
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.read, 2 * COUNT);
}

#[test]
fn a_lost_record_is_named() {
    let workload = workload();
    let mut log = log(&workload);
    let gone = log.remove(30);
    let verdict = verdict(&workload, &log, &sent());
    assert_eq!((verdict.lost, verdict.is_clean()), (1, false));
    let key = String::from_utf8_lossy(&gone.record.key).into_owned();
    let expected = format!(
        "number 15 of producer 0, key `{key}`, partition {}",
        gone.partition
    );
    assert!(verdict.first[0].contains(&expected), "{:?}", verdict.first);
}

#[test]
fn a_record_that_was_not_acknowledged_may_be_there_or_not() {
    let workload = workload();
    let mut log = log(&workload);
    let mut sent = sent();
    sent[0].unacknowledged.insert(15);
    assert!(verdict(&workload, &log, &sent).is_clean());
    log.remove(30);
    assert!(verdict(&workload, &log, &sent).is_clean());
}

#[test]
fn a_doubled_record_is_named() {
    let workload = workload();
    let mut log = log(&workload);
    let mut again = log[30].clone();
    again.offset = 1_000;
    log.push(again);
    let verdict = verdict(&workload, &log, &sent());
    assert_eq!((verdict.duplicated, verdict.lost), (1, 0));
    assert!(
        verdict.first[0].contains("offset 1000, key"),
        "{:?}",
        verdict.first
    );
}

#[test]
fn swapped_records_are_named() {
    let workload = workload();
    let mut log = log(&workload);
    let (first, second) = neighbours(&log, 30);
    let (left, right) = log.split_at_mut(second);
    std::mem::swap(&mut left[first].record, &mut right[0].record);
    let verdict = verdict(&workload, &log, &sent());
    assert!(verdict.reordered >= 1 && verdict.lost == 0 && verdict.duplicated == 0);
    assert!(verdict.first[0].starts_with("reordered: partition"));
}

#[test]
fn an_offset_that_falls_is_named() {
    let workload = workload();
    let mut log = log(&workload);
    let last = log.len() - 1;
    log[last].offset = 0;
    let verdict = verdict(&workload, &log, &sent());
    assert_eq!(verdict.reordered, 1);
}

#[test]
fn a_bent_record_is_altered_and_the_one_sent_is_lost() {
    let workload = workload();
    let mut log = log(&workload);
    log[30].record.value[40] ^= 0x10;
    let verdict = verdict(&workload, &log, &sent());
    assert_eq!((verdict.altered, verdict.lost), (1, 1));
    assert!(verdict.first[0].contains("its value is not the one sent"));
}

#[test]
fn a_record_in_another_partition_is_misplaced() {
    let workload = workload();
    let mut log = log(&workload);
    let partition = &mut log[79].partition;
    *partition = PartitionIndex(1 - partition.0);
    log[79].offset = 1_000;
    let verdict = verdict(&workload, &log, &sent());
    assert_eq!((verdict.misplaced, verdict.lost), (1, 0));
}

#[test]
fn records_that_were_never_sent_are_altered() {
    let workload = workload();
    let log = log(&workload);
    let mut fewer = sent();
    fewer[1].count = COUNT - 3;
    let verdict = verdict(&workload, &log, &fewer);
    assert_eq!((verdict.altered, verdict.lost), (3, 0));
    assert!(verdict.first[0].contains("3 records of producer 1 were never sent"));
}
