//! A record is known by its bytes: whatever differs from what was sent is found and named.

use super::*;

fn generated(placement: Placement) -> Workload {
    let keys = KeySpace::new(1_000, KeyDistribution::Uniform, 42);
    Workload::generated(keys, 100, placement, 6)
}

fn stamp(stream: u32, sequence: u64) -> Stamp {
    Stamp {
        stream,
        sequence,
        due_ns: 77,
    }
}

fn sent(workload: &Workload, stamp: Stamp) -> RecordToSend {
    let mut record = RecordToSend::default();
    workload.write(stamp, &mut record);
    record
}

fn check(
    workload: &Workload,
    record: &RecordToSend,
    partition: PartitionIndex,
) -> Option<ContentFault> {
    let read = RecordRead {
        partition,
        key: Some(&record.key),
        value: Some(&record.value),
        header: record.header.as_ref().map(|header| &header[..]),
    };
    workload.check(&read).err().map(|(fault, _)| fault)
}

#[test]
fn what_was_sent_is_found_sound() {
    let rows = Workload::rows(Rows::built_in(2), 3, 6);
    for workload in [generated(Placement::ByKey), rows] {
        for sequence in [0, 1, 5_000, 30_000] {
            let record = sent(&workload, stamp(1, sequence));
            let partition = workload.partition_of(1, &record.key);
            assert_eq!(check(&workload, &record, partition), None);
            let text = String::from_utf8_lossy(&record.key).into_owned();
            assert_eq!(workload.key_text(1, sequence), text);
        }
    }
}

#[test]
fn any_bent_byte_is_found() {
    let rows = Workload::rows(Rows::built_in(2), 1, 6);
    for workload in [generated(Placement::ByKey), rows] {
        let sound = sent(&workload, stamp(0, 3));
        let partition = workload.partition_of(0, &sound.key);
        for place in STAMP_BYTES..sound.value.len() {
            let mut bent = sound.clone();
            bent.value[place] ^= 1;
            let fault = check(&workload, &bent, partition);
            assert_eq!(fault, Some(ContentFault::Value), "byte {place}");
        }
        let mut bent = sound.clone();
        bent.key[0] ^= 1;
        assert_eq!(check(&workload, &bent, partition), Some(ContentFault::Key));
        let mut short = sound.clone();
        short.value.pop();
        assert_eq!(
            check(&workload, &short, partition),
            Some(ContentFault::Value)
        );
    }
}

#[test]
fn a_record_in_another_partition_is_found() {
    let workload = generated(Placement::ByKey);
    let record = sent(&workload, stamp(0, 3));
    let partition = workload.partition_of(0, &record.key);
    let other = PartitionIndex((partition.0 + 1) % 6);
    assert_eq!(
        check(&workload, &record, other),
        Some(ContentFault::Partition)
    );
}

#[test]
fn records_of_others_are_foreign() {
    let workload = Workload::rows(Rows::built_in(2), 1, 6);
    let mut record = sent(&workload, stamp(0, 3));
    record.header = None;
    let fault = check(&workload, &record, PartitionIndex(0));
    assert_eq!(fault, Some(ContentFault::Foreign));
    record.header = Some(stamp(9, 3).to_bytes());
    let fault = check(&workload, &record, PartitionIndex(0));
    assert_eq!(fault, Some(ContentFault::Foreign));
}

#[test]
fn producers_with_a_partition_of_their_own_name_it() {
    let workload = generated(Placement::ByProducer);
    for (stream, partition) in [(0, 0), (5, 5), (6, 0), (15, 3)] {
        let record = sent(&workload, stamp(stream, 0));
        assert_eq!(record.partition, Some(partition));
        assert_eq!(check(&workload, &record, PartitionIndex(partition)), None);
    }
}

#[test]
fn rows_end_after_their_repetitions_and_generated_records_never() {
    let workload = Workload::rows(Rows::built_in(2), 3, 6);
    let total = workload.count(0).expect("ends") + workload.count(1).expect("ends");
    assert_eq!(total, 3 * crate::flights::ROW_COUNT as u64);
    assert_eq!(generated(Placement::ByKey).count(0), None);
}
