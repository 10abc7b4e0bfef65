//! Which records a compacted log keeps: of each key the latest, and a tombstone for as long as somebody may need it.
//!
//! Kafka's `LogCleaner` decides alike. The rule knows keys as bytes only: records of kinds that are not known are kept
//! like any others. It never touches what is not durable.

use std::collections::BTreeMap;

use keylane_protocol::offset::Offset;

/// What the rule must know of a record.
#[derive(Clone, Copy, Debug)]
pub struct KeyedRecord<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// Its key; without one it stands for nothing and is never kept.
    pub key: Option<&'a [u8]>,
    /// Whether it has no value.
    pub is_tombstone: bool,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// Returns the offsets of the records to keep, in order. `records` are all of the log, in order, so that nothing that a
/// tombstone removes can lie before them.
///
/// Those at or behind `durable_end` are kept and supersede nothing, since they may yet be lost. A tombstone that is the
/// latest of its key is kept unless it is older than `tombstones_from_ms`: a reader that has seen what it removes must
/// get to see it too (`delete.retention.ms`).
#[must_use]
pub fn kept(
    records: &[KeyedRecord<'_>],
    durable_end: Offset,
    tombstones_from_ms: i64,
) -> Vec<Offset> {
    let durable = records
        .iter()
        .take_while(|record| record.offset < durable_end);
    let latest: BTreeMap<&[u8], Offset> = durable
        .filter_map(|record| Some((record.key?, record.offset)))
        .collect();
    let is_kept = |record: &&KeyedRecord<'_>| {
        if record.offset >= durable_end {
            return true;
        }
        let is_latest = record.key.and_then(|key| latest.get(key)) == Some(&record.offset);
        is_latest && (!record.is_tombstone || record.timestamp_ms >= tombstones_from_ms)
    };
    let kept = records.iter().filter(is_kept);
    kept.map(|record| record.offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, key: &str, is_tombstone: bool) -> KeyedRecord<'_> {
        KeyedRecord {
            offset: Offset(offset),
            key: (!key.is_empty()).then_some(key.as_bytes()),
            is_tombstone,
            timestamp_ms: offset * 10,
        }
    }

    fn kept_of(records: &[KeyedRecord<'_>], durable_end: i64, tombstones_from_ms: i64) -> Vec<i64> {
        let kept = kept(records, Offset(durable_end), tombstones_from_ms);
        kept.into_iter().map(|offset| offset.0).collect()
    }

    #[test]
    fn of_each_key_the_latest_record_is_kept() {
        let records = [
            record(0, "a", false),
            record(1, "b", false),
            record(2, "a", false),
            record(5, "c", false),
        ];
        assert_eq!(kept_of(&records, 6, 0), [1, 2, 5]);
    }

    #[test]
    fn a_tombstone_removes_what_is_before_it_and_is_kept_until_it_is_old() {
        let records = [
            record(0, "a", false),
            record(1, "a", true),
            record(2, "b", false),
        ];
        assert_eq!(kept_of(&records, 3, 10), [1, 2]);
        assert_eq!(kept_of(&records, 3, 11), [2]);
    }

    #[test]
    fn a_tombstone_that_is_superseded_is_not_kept() {
        let records = [record(0, "a", true), record(1, "a", false)];
        assert_eq!(kept_of(&records, 2, 0), [1]);
    }

    #[test]
    fn what_is_not_durable_is_kept_and_supersedes_nothing() {
        let records = [
            record(0, "a", false),
            record(1, "a", true),
            record(2, "a", false),
        ];
        assert_eq!(kept_of(&records, 1, 1000), [0, 1, 2]);
        assert_eq!(kept_of(&records, 0, 1000), [0, 1, 2]);
    }

    #[test]
    fn a_record_without_key_is_not_kept_once_it_is_durable() {
        let records = [record(0, "", false), record(1, "a", false)];
        assert_eq!(kept_of(&records, 2, 0), [1]);
        assert_eq!(kept_of(&records, 0, 0), [0, 1]);
    }
}
