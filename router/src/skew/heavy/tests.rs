//! Heavy hitters: bounds of Space-Saving over skewed keys, fading, merging.

use std::collections::BTreeMap;

use super::*;
use crate::skew::tests::zipf;

/// Returns the hitters after these keys, and how often each came.
fn counted(keys: impl Iterator<Item = u64>) -> (HeavyHitters, BTreeMap<Vec<u8>, u64>) {
    let (mut hitters, mut exact) = (HeavyHitters::default(), BTreeMap::new());
    for key in keys {
        let key = format!("key-{key}").into_bytes();
        hitters.on_key(&key, 3);
        *exact.entry(key).or_default() += 3;
    }
    (hitters, exact)
}

/// Holds hitters against exact counts.
fn check(hitters: &HeavyHitters, exact: &BTreeMap<Vec<u8>, u64>, lists: u64) {
    let total: u64 = exact.values().sum();
    let error_max = total / KEYS_MAX as u64 * lists;
    let hottest = hitters.hottest();
    assert!(hottest.len() <= KEYS_MAX);
    for hot in &hottest {
        let records = exact[&*hot.start];
        assert!(
            hot.records_min() <= records && records <= hot.records_max,
            "{hot:?}, {records}"
        );
        assert!(hot.error <= error_max, "{hot:?}, {error_max}");
    }
    for (key, records) in exact {
        let is_there = hottest.iter().any(|hot| *hot.start == **key);
        assert!(is_there || *records <= error_max, "{records} of {total}");
    }
}

#[test]
fn hot_keys_are_found_among_many_whatever_their_order() {
    let (hitters, exact) = counted(zipf(20_000, 1.1, 5).take(100_000));
    check(&hitters, &exact, 1);
    assert_eq!(&*hitters.hottest()[0].start, b"key-0");
    let mut sorted: Vec<u64> = zipf(20_000, 1.1, 5).take(100_000).collect();
    sorted.sort_unstable();
    let (hitters, exact) = counted(sorted.into_iter());
    check(&hitters, &exact, 1);
}

#[test]
fn few_keys_are_counted_exactly() {
    let (hitters, exact) = counted((0..10_000).map(|index| index % 100));
    let hottest = hitters.hottest();
    assert_eq!(hottest.len(), exact.len());
    assert!(hottest.iter().all(|hot| hot.error == 0));
}

#[test]
fn what_several_have_counted_is_one_list() {
    let keys: Vec<u64> = zipf(5_000, 1.0, 9).take(60_000).collect();
    let (_, exact) = counted(keys.iter().copied());
    let mut merged = HeavyHitters::default();
    for part in keys.chunks(20_000) {
        merged.merge(&counted(part.iter().copied()).0);
    }
    check(&merged, &exact, 3);
}

#[test]
fn a_key_that_was_hot_gives_way_to_one_that_is() {
    let mut hitters = HeavyHitters::default();
    for _ in 0..1000 {
        hitters.on_key(b"then", 64);
    }
    for round in 0..20 {
        hitters.halve();
        for _ in 0..10 {
            hitters.on_key(b"since", 64);
        }
        let error = hitters.hottest().iter().map(|hot| hot.error).max();
        assert_eq!(error, Some(0), "round {round}");
    }
    let hottest = hitters.hottest();
    assert_eq!(hottest.len(), 1, "what has faded is forgotten: {hottest:?}");
    assert_eq!(&*hottest[0].start, b"since");
}

#[test]
fn long_keys_are_told_apart_behind_what_is_kept_of_them() {
    let mut hitters = HeavyHitters::default();
    let long = |last| [vec![b'k'; 1000], vec![last]].concat();
    hitters.on_key(&long(1), 2);
    hitters.on_key(&long(2), 1);
    hitters.on_key(&long(1)[..1000], 1);
    let hottest = hitters.hottest();
    assert_eq!(hottest.len(), 3);
    assert_eq!((hottest[0].length, hottest[0].records_max), (1001, 2));
    assert!(hottest.iter().all(|hot| hot.start.len() == KEY_BYTES_SHOWN));
}
