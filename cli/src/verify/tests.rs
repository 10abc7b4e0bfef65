//! A small file, and topics that differ from it in one way each.

use super::*;

const FILE: [(&str, &str); 6] = [
    ("a", "a1"),
    ("b", "b1"),
    ("a", "a2"),
    ("NA", "n1"),
    ("a", "a3"),
    ("b", "b2"),
];

fn verifier(repeat: u64) -> Verifier {
    let mut verifier = Verifier::new(repeat);
    for (index, (key, value)) in FILE.iter().enumerate() {
        verifier.expect_row(index as u64 + 1, Some(Bytes::from(*key)), value.as_bytes());
    }
    verifier
}

fn verdict_of(repeat: u64, records: &[(&str, &str)]) -> Verdict {
    let mut verifier = verifier(repeat);
    for (offset, (key, value)) in (0..).zip(records) {
        let place = Place {
            partition: 2,
            offset,
        };
        verifier.on_record(
            Some(&Bytes::from((*key).to_owned())),
            Some(value.as_bytes()),
            place,
        );
    }
    verifier.finish()
}

/// `bend` changes the topic; the first fault must read as expected and the counts be (missing, doubled, reordered, foreign).
fn check(
    bend: impl FnOnce(&mut Vec<(&'static str, &'static str)>),
    expected: &str,
    counts: [u64; 4],
) {
    let mut records = FILE.to_vec();
    bend(&mut records);
    let verdict = verdict_of(1, &records);
    let first = verdict.first.as_ref().expect("a fault").to_string();
    assert_eq!(first, expected);
    let found = [
        verdict.missing,
        verdict.doubled,
        verdict.reordered,
        verdict.foreign,
    ];
    assert_eq!(found, counts, "{verdict}");
}

#[test]
fn the_file_itself_is_clean() {
    let verdict = verdict_of(1, &FILE);
    assert!(verdict.first.is_none());
    assert_eq!((verdict.rows, verdict.matched), (6, 6));
}

#[test]
fn a_missing_row_is_named_with_what_came_instead() {
    check(
        |records| {
            records.remove(2);
        },
        "row 3, key \"a\": missing; partition 2 offset 3 is where it should have come before",
        [1, 0, 0, 0],
    );
}

#[test]
fn a_missing_last_row_is_named() {
    check(
        |records| {
            records.pop();
        },
        "row 6, key \"b\": missing; the end of the topic is where it should have come before",
        [1, 0, 0, 0],
    );
}

#[test]
fn an_empty_topic_misses_every_row() {
    check(
        Vec::clear,
        "row 1, key \"a\": missing; the end of the topic is where it should have come before",
        [6, 0, 0, 0],
    );
}

#[test]
fn a_doubled_row_is_named() {
    check(
        |records| records.insert(5, ("a", "a2")),
        "row 3, key \"a\": doubled; partition 2 offset 5 carries it again",
        [0, 1, 0, 0],
    );
}

#[test]
fn swapped_rows_are_named() {
    check(
        |records| records.swap(0, 2),
        "row 1, key \"a\": out of order; partition 2 offset 2 carries it, after row 3",
        [0, 0, 1, 0],
    );
}

#[test]
fn rows_of_different_keys_may_change_places() {
    let mut records = FILE;
    records.swap(0, 1);
    assert!(verdict_of(1, &records).first.is_none());
}

#[test]
fn a_bent_value_is_named_by_the_row_that_was_due() {
    check(
        |records| records[2].1 = "a\u{7f}",
        "row 3, key \"a\": foreign; partition 2 offset 2 carries a value that is no row of this key, where this row was due",
        [1, 0, 0, 1],
    );
}

#[test]
fn a_foreign_key_is_named() {
    check(
        |records| records.push(("c", "a1")),
        "no row, key \"c\": foreign; partition 2 offset 6 carries a key that is not in the file",
        [0, 0, 0, 1],
    );
}

#[test]
fn a_record_without_value_is_foreign() {
    let mut verifier = verifier(1);
    let place = Place {
        partition: 0,
        offset: 9,
    };
    verifier.on_record(Some(&Bytes::from("a")), None, place);
    assert_eq!(verifier.finish().foreign, 1);
}

#[test]
fn a_key_in_two_partitions_has_no_order() {
    let mut verifier = verifier(1);
    for (partition, value) in [(0, "a1"), (1, "a2")] {
        let place = Place {
            partition,
            offset: 0,
        };
        verifier.on_record(Some(&Bytes::from("a")), Some(value.as_bytes()), place);
    }
    let verdict = verifier.finish();
    assert_eq!(verdict.strayed, 1);
    assert!(verdict.first.is_some());
}

#[test]
fn rows_without_key_come_once_in_any_order() {
    let mut verifier = Verifier::new(2);
    for (row, value) in (1..).zip(["x", "y", "x"]) {
        verifier.expect_row(row, None, value.as_bytes());
    }
    let place = |partition| Place {
        partition,
        offset: 0,
    };
    for (partition, value) in (0..).zip(["y", "x", "x", "x", "y", "x"]) {
        verifier.on_record(None, Some(value.as_bytes()), place(partition));
    }
    verifier.on_record(None, Some(b"y"), place(0));
    let verdict = verifier.finish();
    assert_eq!(
        (verdict.matched, verdict.missing, verdict.doubled),
        (6, 0, 1)
    );
}

#[test]
fn a_repeated_file_is_met_pass_by_pass() {
    let twice: Vec<_> = FILE.iter().chain(&FILE).copied().collect();
    assert!(verdict_of(2, &twice).first.is_none());
    let verdict = verdict_of(2, &twice[..11]);
    let first = verdict.first.expect("the last row is missing").to_string();
    assert!(
        first.starts_with("row 6 of pass 2, key \"b\": missing"),
        "{first}"
    );
    let verdict = verdict_of(2, &FILE);
    assert_eq!(verdict.missing, 6);
}

/// Every single removal, doubling, adjacent swap and bend of a file with equal rows must be found.
#[test]
fn no_single_fault_in_a_long_lane_goes_unseen() {
    let values: Vec<String> = (0..60).map(|i| format!("v{}", i % 50)).collect();
    let judge = |records: &[String]| {
        let mut verifier = Verifier::new(1);
        for (row, value) in (1..).zip(&values) {
            verifier.expect_row(row, Some(Bytes::from("k")), value.as_bytes());
        }
        for (offset, value) in (0..).zip(records) {
            let place = Place {
                partition: 0,
                offset,
            };
            verifier.on_record(Some(&Bytes::from("k")), Some(value.as_bytes()), place);
        }
        verifier.finish()
    };
    assert!(judge(&values).first.is_none());
    for at in 0..values.len() {
        let mut removed = values.clone();
        removed.remove(at);
        assert_eq!(judge(&removed).missing, 1, "without {at}");
        let mut doubled = values.clone();
        doubled.insert(at, values[at].clone());
        assert!(judge(&doubled).first.is_some(), "twice {at}");
        let mut bent = values.clone();
        bent[at].push('~');
        assert_eq!(judge(&bent).foreign, 1, "bent {at}");
        if at > 0 {
            let mut swapped = values.clone();
            swapped.swap(at - 1, at);
            assert_eq!(judge(&swapped).reordered, 1, "swapped {at}");
        }
    }
}
