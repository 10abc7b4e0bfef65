//! The map beside a tree that is told the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What is done to a map.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Inserts a key so far above the highest there has been.
    Rise(u32),
    /// Inserts any key.
    Insert(u32),
    /// Removes any key.
    Remove(u32),
    /// Removes the first of those that are left.
    RemoveFirst,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u32..3).prop_map(Step::Rise),
        1 => (0_u32..300).prop_map(Step::Insert),
        2 => (0_u32..300).prop_map(Step::Remove),
        2 => Just(Step::RemoveFirst),
    ];
    proptest::collection::vec(step, 0..400)
}

fn sorted<'a>(found: impl Iterator<Item = (u32, &'a usize)>) -> Vec<(u32, usize)> {
    let mut found: Vec<_> = found.map(|(key, value)| (key, *value)).collect();
    found.sort_unstable();
    found
}

fn owned<'a>(found: impl Iterator<Item = (&'a u32, &'a usize)>) -> Vec<(u32, usize)> {
    found.map(|(key, value)| (*key, *value)).collect()
}

proptest! {
    #[test]
    fn it_holds_what_a_tree_holds(steps in steps()) {
        let mut map = RisingMap::default();
        let mut tree: BTreeMap<u32, usize> = BTreeMap::new();
        let mut highest = 0;
        for (value, step) in steps.into_iter().enumerate() {
            match step {
                Step::Rise(by) => {
                    highest += by;
                    prop_assert_eq!(map.insert(highest, value), tree.insert(highest, value));
                }
                Step::Insert(key) => {
                    highest = highest.max(key);
                    prop_assert_eq!(map.insert(key, value), tree.insert(key, value));
                }
                Step::Remove(key) => {
                    prop_assert_eq!(map.get(key), tree.get(&key));
                    prop_assert_eq!(map.get_mut(key), tree.get_mut(&key));
                    prop_assert_eq!(map.remove(key), tree.remove(&key));
                }
                Step::RemoveFirst => {
                    let first = tree.pop_first();
                    prop_assert_eq!(map.first().map(|(key, value)| (key, *value)), first);
                    if let Some((key, value)) = first {
                        prop_assert_eq!(map.remove(key), Some(value));
                    }
                }
            }
            prop_assert_eq!(map.keys.len(), map.values.len());
            prop_assert_eq!(map.len(), tree.len());
            prop_assert_eq!(map.is_empty(), tree.is_empty());
            prop_assert!(map.empty <= EMPTY_MIN + map.keys.len() / 2);
            let first = tree.first_key_value().map(|(key, value)| (*key, value));
            prop_assert_eq!(map.first(), first);
        }
        prop_assert_eq!(sorted(map.iter()), owned(tree.iter()));
        prop_assert_eq!(sorted(map.range(50..=200)), owned(tree.range(50..=200)));
        map.retain(|key, _| key % 3 == 0);
        tree.retain(|key, _| key % 3 == 0);
        prop_assert_eq!(sorted(map.iter()), owned(tree.iter()));
        prop_assert_eq!(map.len(), tree.len());
    }
}

#[test]
fn a_key_that_stays_does_not_keep_the_places_of_those_that_leave() {
    let mut set: RisingSet<u64> = RisingSet::default();
    set.insert(0, ());
    for key in 1..100_000 {
        set.insert(key, ());
        assert!(set.remove(key).is_some());
        // One behind, so that neither end is empty.
        set.insert(key + 1_000_000, ());
        set.remove(key + 999_999);
    }
    assert!(set.keys.len() < 2 * EMPTY_MIN + 10, "{}", set.keys.len());
}

#[test]
fn a_range_that_is_upside_down_is_empty() {
    let mut set: RisingSet<u64> = RisingSet::default();
    set.insert(3, ());
    set.insert(1, ());
    #[allow(clippy::reversed_empty_ranges, reason = "it is what is tried")]
    let range = 5..=0;
    assert_eq!(set.range(range).count(), 0);
}
