//! What is committed, fetched, deleted and forgotten, one sentence each; `interleavings` tries them in any order.

mod bugs;
mod interleavings;
mod world;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;

const LIMITS: OffsetLimits = OffsetLimits {
    metadata_bytes_max: 10,
    groups_max: 2,
    offsets_max: 4,
    bytes_max: 1 << 20,
    tombstones_at_once: 3,
};

fn offsets() -> Offsets {
    Offsets::new(LIMITS)
}

fn commit_of(topic: &str, partition: i32, offset: i64) -> Commit {
    Commit {
        topic: topic.into(),
        partition: PartitionIndex(partition),
        committed: CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(3),
            metadata: "m".into(),
            commit_time_ms: 50,
            expire_time_ms: None,
        },
    }
}

/// Remembers records at the end of the log.
fn append(offsets: &mut Offsets, records: &[GroupRecord]) {
    for record in records {
        let end = offsets.end.max(offsets.durable_end);
        offsets.remember(record, end);
    }
}

/// Commits and returns what was refused.
fn commit(offsets: &mut Offsets, group: &str, commits: &[Commit]) -> Vec<Refusal> {
    let decided = offsets.commit(&group.into(), commits);
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    for outcome in decided {
        match outcome {
            Ok(record) => records.push(record),
            Err(refusal) => refused.push(refusal),
        }
    }
    append(offsets, &records);
    refused
}

fn settle(offsets: &mut Offsets) {
    offsets.on_durable(offsets.end);
}

/// Commits durably.
fn committed_durably(offsets: &mut Offsets, group: &str, commits: &[Commit]) {
    assert_eq!(commit(offsets, group, commits), []);
    settle(offsets);
}

fn fetched(offsets: &Offsets, topic: &str, partition: i32) -> i64 {
    let found = offsets.fetch("g", topic, PartitionIndex(partition));
    found.offset.0
}

fn partitions(records: &[GroupRecord]) -> Vec<(String, i32)> {
    let name = |record: &GroupRecord| match record {
        GroupRecord::OffsetCommit(key, None) => (key.topic.to_string(), key.partition.0),
        other => panic!("{other:?} is no tombstone"),
    };
    records.iter().map(name).collect()
}

#[test]
fn what_is_committed_is_fetched_with_all_that_belongs_to_it() {
    let mut offsets = offsets();
    let commit = commit_of("t", 1, 42);
    committed_durably(&mut offsets, "g", std::slice::from_ref(&commit));
    let found = offsets.fetch("g", "t", PartitionIndex(1));
    assert_eq!(found, commit.committed);
}

#[test]
fn an_expiry_is_kept_and_a_leader_epoch_beside_it_is_not() {
    let mut offsets = offsets();
    let mut commit = commit_of("t", 1, 42);
    commit.committed.expire_time_ms = Some(77);
    committed_durably(&mut offsets, "g", std::slice::from_ref(&commit));
    let found = offsets.fetch("g", "t", PartitionIndex(1));
    assert_eq!(found.expire_time_ms, Some(77));
    assert_eq!(found.leader_epoch, LeaderEpoch::NONE);
    let record = record(&"g".into(), &commit);
    let [key, value] = [
        record.key_bytes(),
        record.value_bytes().map(Option::unwrap_or_default),
    ];
    let stored = GroupRecord::decode(&key.expect("short"), value.ok().as_ref());
    assert_eq!(stored, Ok(Some(record)), "what is remembered is read back");
}

#[test]
fn an_unknown_group_topic_or_partition_has_an_offset_of_minus_one() {
    let mut offsets = offsets();
    committed_durably(&mut offsets, "g", &[commit_of("t", 1, 42)]);
    for (group, topic, partition) in [("h", "t", 1), ("g", "u", 1), ("g", "t", 2)] {
        let found = offsets.fetch(group, topic, PartitionIndex(partition));
        assert_eq!(found, CommittedOffset::default());
        assert_eq!(found.offset, Offset(-1));
        assert_eq!(found.leader_epoch, LeaderEpoch(-1));
        assert_eq!(found.metadata, "");
    }
    assert_eq!(offsets.fetch_all("h").count(), 0);
}

#[test]
fn all_offsets_of_a_group_are_fetched_by_topic_and_partition() {
    let mut offsets = offsets();
    let commits = [
        commit_of("u", 0, 1),
        commit_of("t", 2, 2),
        commit_of("t", 0, 3),
    ];
    committed_durably(&mut offsets, "g", &commits);
    commit(&mut offsets, "g", &[commit_of("v", 0, 9)]);
    let all = offsets.fetch_all("g");
    let all: Vec<_> = all
        .map(|(topic, partition, found)| (topic.to_string(), partition.0, found.offset.0))
        .collect();
    let expected = [("t", 0, 3), ("t", 2, 2), ("u", 0, 1)];
    assert_eq!(
        all,
        expected.map(|(topic, at, offset)| (topic.to_owned(), at, offset))
    );
}

#[test]
fn what_is_not_durable_is_not_fetched() {
    let mut offsets = offsets();
    commit(&mut offsets, "g", &[commit_of("t", 0, 5)]);
    assert_eq!(fetched(&offsets, "t", 0), -1);
    assert_eq!(offsets.fetch_all("g").count(), 0);
    offsets.on_durable(Offset(0));
    assert_eq!(fetched(&offsets, "t", 0), -1);
    offsets.on_durable(Offset(1));
    assert_eq!(fetched(&offsets, "t", 0), 5);
}

#[test]
fn what_becomes_durable_becomes_visible_in_the_order_of_the_log() {
    let mut offsets = offsets();
    for offset in 1..=3 {
        commit(&mut offsets, "g", &[commit_of("t", 0, offset)]);
    }
    for end in 1..=3 {
        offsets.on_durable(Offset(end));
        assert_eq!(fetched(&offsets, "t", 0), end);
    }
}

#[test]
fn a_later_commit_of_a_lower_offset_holds() {
    let mut offsets = offsets();
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 9)]);
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 2)]);
    assert_eq!(fetched(&offsets, "t", 0), 2);
}

#[test]
fn of_a_partition_named_twice_in_a_request_the_last_holds() {
    let mut offsets = offsets();
    committed_durably(
        &mut offsets,
        "g",
        &[commit_of("t", 0, 9), commit_of("t", 0, 4)],
    );
    assert_eq!(fetched(&offsets, "t", 0), 4);
}

#[test]
fn what_failed_is_dropped_and_leaves_what_was_committed() {
    let mut offsets = offsets();
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 1)]);
    commit(
        &mut offsets,
        "g",
        &[commit_of("t", 0, 2), commit_of("t", 1, 2)],
    );
    commit(&mut offsets, "g", &[commit_of("t", 0, 3)]);
    offsets.on_failed(Offset(1));
    settle(&mut offsets);
    assert_eq!(fetched(&offsets, "t", 0), 1);
    assert_eq!(fetched(&offsets, "t", 1), -1);
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 4)]);
    assert_eq!(fetched(&offsets, "t", 0), 4);
}

#[test]
fn what_lies_before_a_failure_is_not_dropped_by_it() {
    let mut offsets = offsets();
    commit(&mut offsets, "g", &[commit_of("t", 0, 1)]);
    commit(&mut offsets, "g", &[commit_of("t", 0, 2)]);
    offsets.on_failed(Offset(1));
    settle(&mut offsets);
    assert_eq!(fetched(&offsets, "t", 0), 1);
}

#[test]
#[should_panic(expected = "what is durable does not fail")]
fn what_is_durable_cannot_fail() {
    let mut offsets = offsets();
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 1)]);
    offsets.on_failed(Offset(0));
}

#[test]
#[should_panic(expected = "records are remembered in order")]
fn records_cannot_be_remembered_out_of_order() {
    let mut offsets = offsets();
    let records = offsets.commit(&"g".into(), &[commit_of("t", 0, 1)]);
    let record = records[0].as_ref().expect("not refused");
    offsets.remember(record, Offset(5));
    offsets.remember(record, Offset(5));
}

#[test]
fn recovery_makes_the_state_of_the_records_it_replays() {
    let mut offsets = offsets();
    let commits = [commit_of("t", 0, 1), commit_of("t", 1, 2)];
    let records = offsets.commit(&"g".into(), &commits);
    let mut log: Vec<_> = records
        .into_iter()
        .map(|record| record.expect("room"))
        .collect();
    log.push(tombstone(&"g".into(), &"t".into(), PartitionIndex(0)));
    for (record, offset) in log.iter().zip(7..) {
        offsets.replay(record, Offset(offset));
    }
    assert_eq!(fetched(&offsets, "t", 0), -1);
    assert_eq!(fetched(&offsets, "t", 1), 2);
}

#[test]
fn records_about_other_things_than_offsets_change_nothing() {
    let mut offsets = offsets();
    let key = keylane_protocol::group_record::GroupKey { group: "g".into() };
    let record = GroupRecord::GroupMetadata(key, None);
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 1)]);
    append(&mut offsets, &[record]);
    settle(&mut offsets);
    assert_eq!(fetched(&offsets, "t", 0), 1);
}

#[test]
fn metadata_longer_than_the_bound_is_refused_for_its_partition_alone() {
    let mut offsets = offsets();
    let mut long = commit_of("t", 0, 1);
    long.committed.metadata = "elevenbytes".into();
    let refused = commit(&mut offsets, "g", &[long, commit_of("t", 1, 2)]);
    assert_eq!(
        refused,
        [Refusal::MetadataTooLarge {
            found: 11,
            limit: 10
        }]
    );
    settle(&mut offsets);
    assert_eq!(fetched(&offsets, "t", 0), -1);
    assert_eq!(fetched(&offsets, "t", 1), 2);
}

#[test]
fn names_longer_than_any_group_or_topic_are_refused() {
    let offsets = offsets();
    let one = [commit_of("t", 0, 1)];
    let found = GROUP_ID_BYTES_MAX + 1;
    assert!(offsets.commit(&"g".repeat(found - 1).into(), &one)[0].is_ok());
    assert_eq!(
        offsets.commit(&"g".repeat(found).into(), &one)[0],
        Err(Refusal::GroupIdTooLong {
            found,
            limit: found - 1
        })
    );
    let topic = commit_of(&"t".repeat(250), 0, 1);
    assert_eq!(
        offsets.commit(&"g".into(), &[topic])[0],
        Err(Refusal::TopicTooLong { found: 250 })
    );
}

#[test]
fn at_the_bound_of_groups_new_ones_are_refused_and_old_ones_go_on() {
    let mut offsets = offsets();
    commit(&mut offsets, "g", &[commit_of("t", 0, 1)]);
    commit(&mut offsets, "h", &[commit_of("t", 0, 1)]);
    let refused = commit(&mut offsets, "i", &[commit_of("t", 0, 1)]);
    assert_eq!(refused, [Refusal::TooManyGroups { limit: 2 }]);
    assert_eq!(commit(&mut offsets, "g", &[commit_of("t", 1, 1)]), []);
}

#[test]
fn at_the_bound_of_offsets_new_ones_are_refused_and_old_ones_go_on() {
    let mut offsets = offsets();
    let commits: Vec<_> = (0..6)
        .map(|partition| commit_of("t", partition, 1))
        .collect();
    let refused = commit(&mut offsets, "g", &commits);
    assert_eq!(refused, vec![Refusal::TooManyOffsets { limit: 4 }; 2]);
    assert_eq!(commit(&mut offsets, "g", &commits[..4]), []);
    assert_eq!(offsets.offset_count(), 4);
}

#[test]
fn at_the_bound_of_memory_commits_are_refused_until_there_is_room() {
    let mut offsets = Offsets::new(OffsetLimits {
        bytes_max: 2000,
        offsets_max: 1000,
        ..LIMITS
    });
    let mut refused = Vec::new();
    for offset in 0..20 {
        refused.extend(commit(&mut offsets, "g", &[commit_of("t", 0, offset)]));
        assert!(offsets.bytes() <= 2000);
    }
    assert_eq!(refused[0], Refusal::TooManyBytes { limit: 2000 });
    settle(&mut offsets);
    assert_eq!(commit(&mut offsets, "g", &[commit_of("t", 0, 1)]), []);
}

#[test]
fn a_log_beyond_the_bounds_is_recovered_whole() {
    let mut offsets = offsets();
    for group in 0..5_i64 {
        let group = ByteString::from(format!("g{group}"));
        let record = record(&group, &commit_of("t", 0, 1));
        offsets.replay(&record, offsets.end);
    }
    assert_eq!(offsets.group_count(), 5);
}

#[test]
fn memory_is_given_back_when_everything_is_deleted() {
    let mut offsets = offsets();
    assert_eq!(offsets.bytes(), 0);
    committed_durably(
        &mut offsets,
        "g",
        &[commit_of("t", 0, 1), commit_of("u", 0, 1)],
    );
    commit(&mut offsets, "h", &[commit_of("t", 0, 1)]);
    assert!(offsets.bytes() > 200);
    offsets.on_failed(Offset(2));
    let tombstones = offsets.delete_group("g");
    append(&mut offsets, &tombstones);
    assert_eq!(fetched(&offsets, "t", 0), 1);
    settle(&mut offsets);
    assert_eq!(offsets.bytes(), 0);
    assert_eq!(offsets.group_count(), 0);
    assert_eq!(offsets.offset_count(), 0);
}

#[test]
fn what_is_kept_does_not_keep_the_batch_it_came_in() {
    let mut offsets = offsets();
    let batch = Bytes::from("g t m".repeat(1000));
    let text = |at: usize| ByteString::try_from(batch.slice(at..=at)).expect("letters");
    let mut commit = commit_of("t", 0, 1);
    commit.topic = text(2);
    commit.committed.metadata = text(4);
    let record = record(&text(0), &commit);
    offsets.replay(&record, Offset(0));
    drop((record, commit));
    assert!(batch.is_unique(), "something still points into it");
}

#[test]
fn deletion_makes_tombstones_for_what_exists_or_is_about_to() {
    let mut offsets = offsets();
    committed_durably(
        &mut offsets,
        "g",
        &[commit_of("t", 0, 1), commit_of("t", 1, 1)],
    );
    commit(&mut offsets, "g", &[commit_of("t", 2, 1)]);
    let one = tombstone(&"g".into(), &"t".into(), PartitionIndex(1));
    append(&mut offsets, &[one]);
    let asked: Vec<_> = (0..4).map(|at| ("t".into(), PartitionIndex(at))).collect();
    let tombstones = offsets.delete(&"g".into(), &asked);
    assert_eq!(
        partitions(&tombstones),
        [("t".to_owned(), 0), ("t".to_owned(), 2)]
    );
    append(&mut offsets, &tombstones);
    settle(&mut offsets);
    assert_eq!(offsets.fetch_all("g").count(), 0);
    assert!(!offsets.has_offsets("g"));
}

#[test]
fn a_group_is_deleted_in_rounds_and_no_other_group_with_it() {
    let mut offsets = Offsets::new(OffsetLimits::default());
    offsets.limits.tombstones_at_once = 3;
    let commits: Vec<_> = (0..7)
        .map(|partition| commit_of("t", partition, 1))
        .collect();
    committed_durably(&mut offsets, "g", &commits);
    committed_durably(&mut offsets, "h", &commits);
    let mut rounds = Vec::new();
    while offsets.has_offsets("g") {
        let tombstones = offsets.delete_group("g");
        rounds.push(tombstones.len());
        append(&mut offsets, &tombstones);
    }
    assert_eq!(rounds, [3, 3, 1]);
    assert!(offsets.delete_group("g").is_empty());
    settle(&mut offsets);
    assert_eq!(offsets.fetch_all("g").count(), 0);
    assert_eq!(offsets.fetch_all("h").count(), 7);
}

#[test]
fn the_offsets_of_a_deleted_topic_are_deleted_in_all_groups() {
    let mut offsets = offsets();
    committed_durably(
        &mut offsets,
        "g",
        &[commit_of("t", 0, 1), commit_of("u", 0, 1)],
    );
    committed_durably(&mut offsets, "h", &[commit_of("t", 1, 1)]);
    let tombstones = offsets.delete_topic("t");
    assert_eq!(
        partitions(&tombstones),
        [("t".to_owned(), 0), ("t".to_owned(), 1)]
    );
    append(&mut offsets, &tombstones);
    assert!(offsets.delete_topic("t").is_empty());
    settle(&mut offsets);
    assert_eq!(fetched(&offsets, "u", 0), 1);
    assert_eq!(offsets.group_count(), 1);
}

#[test]
fn expired_offsets_are_deleted_and_the_group_with_the_last_of_them() {
    let mut offsets = offsets();
    let mut late = commit_of("t", 1, 1);
    late.committed.commit_time_ms = 60;
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 1), late]);
    let some = offsets.expire("g", Standing::Simple, 150, 100);
    assert_eq!(partitions(&some.tombstones), [("t".to_owned(), 0)]);
    assert!(!some.is_all);
    let all = offsets.expire("g", Standing::Simple, 160, 100);
    assert_eq!(all.tombstones.len(), 2);
    assert!(all.is_all);
    append(&mut offsets, &some.tombstones);
    let rest = offsets.expire("g", Standing::Simple, 160, 100);
    assert_eq!(partitions(&rest.tombstones), [("t".to_owned(), 1)]);
    assert!(rest.is_all);
}

#[test]
fn a_group_without_offsets_has_nothing_that_keeps_it() {
    let expired = offsets().expire("g", Standing::Simple, 0, 100);
    assert!(expired.tombstones.is_empty());
    assert!(expired.is_all);
}

#[test]
fn an_offset_for_which_a_commit_is_on_its_way_does_not_expire() {
    let mut offsets = offsets();
    committed_durably(&mut offsets, "g", &[commit_of("t", 0, 1)]);
    commit(&mut offsets, "g", &[commit_of("t", 0, 2)]);
    let expired = offsets.expire("g", Standing::Simple, 1_000_000, 100);
    assert!(expired.tombstones.is_empty());
    assert!(!expired.is_all);
}

#[test]
fn offsets_of_topics_that_members_read_keep_the_group() {
    let mut offsets = offsets();
    committed_durably(
        &mut offsets,
        "g",
        &[commit_of("t", 0, 1), commit_of("u", 0, 1)],
    );
    let topics = BTreeSet::from(["t".into()]);
    let standing = Standing::Subscribed { topics: &topics };
    let expired = offsets.expire("g", standing, 1_000_000, 100);
    assert_eq!(partitions(&expired.tombstones), [("u".to_owned(), 0)]);
    assert!(!expired.is_all);
}

#[test]
fn expiry_comes_in_rounds_too() {
    let mut offsets = offsets();
    let commits: Vec<_> = (0..4)
        .map(|partition| commit_of("t", partition, 1))
        .collect();
    committed_durably(&mut offsets, "g", &commits);
    let first = offsets.expire("g", Standing::Simple, 1_000_000, 100);
    assert_eq!((first.tombstones.len(), first.is_all), (3, false));
    append(&mut offsets, &first.tombstones);
    let second = offsets.expire("g", Standing::Simple, 1_000_000, 100);
    assert_eq!((second.tombstones.len(), second.is_all), (1, true));
}

#[test]
fn groups_are_walked_in_order_though_some_are_deleted_meanwhile() {
    let mut offsets = Offsets::new(OffsetLimits::default());
    for group in ["a", "b", "c"] {
        committed_durably(&mut offsets, group, &[commit_of("t", 0, 1)]);
    }
    assert_eq!(offsets.group_behind(None), Some(&"a".into()));
    let tombstones = offsets.delete_group("a");
    append(&mut offsets, &tombstones);
    settle(&mut offsets);
    assert_eq!(offsets.group_behind(Some("a")), Some(&"b".into()));
    assert_eq!(offsets.group_behind(Some("c")), None);
}
