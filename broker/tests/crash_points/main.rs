//! The power goes at every operation of a small life: topics come and go, records are acknowledged, segments roll.
//!
//! After each cut the folder is recovered twice, lives on, and loses power once more. No acknowledged record may be
//! missing, nor one that a reader could have seen; no open may fail; both recoveries must agree; leader epochs must begin
//! where their records do; the routed producers must know what lies in the log, and nothing else; the folder must know the
//! start that registered last. The same holds when the operation fails and only the process ends. Four ways of leaving out
//! a sync are the control: each must lose records.

mod epochs;
mod life;
mod rot;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use keylane_broker::disk::simulated::{Fault, SimulatedDisk};
use keylane_broker::disk::{Disk, DiskError};
use life::{
    Life, Promises, Sabotage, Sent, SharedPromises, TopicState, epochs_by_values, is_page_cache,
};

const TORN_SEEDS: u64 = 3;

/// Three lives: one that ends by itself, one that is killed, one that stops cleanly.
fn live(
    disk: &SimulatedDisk,
    promises: &SharedPromises,
    sabotage: Sabotage,
) -> Result<(), DiskError> {
    let mut life = Life::begin(disk, promises, sabotage)?;
    life.create("alpha", 2)?;
    life.create("cache", 1)?;
    go_on(&mut life, 6)?;
    life.create("beta", 1)?;
    life.delete("alpha")?;
    go_on(&mut life, 3)?;
    drop(life);
    let mut life = Life::begin(disk, promises, sabotage)?;
    go_on(&mut life, 4)?;
    life.stop()?;
    let mut life = Life::begin(disk, promises, sabotage)?;
    go_on(&mut life, 3)?;
    life.stop()
}

/// Appends to all partitions, in groups of which some end several segments at once.
fn go_on(life: &mut Life, rounds: usize) -> Result<(), DiskError> {
    for round in 0..rounds {
        for partition in life.partitions() {
            for batch in 0..1 + (round * 3) % 7 {
                life.append(partition, 1 + batch % 3);
            }
        }
        life.commit()?;
        if round % 2 == 1 {
            life.seal_closed()?;
        }
    }
    Ok(())
}

/// Opens the folder after a power cut, or after the process ended; returns what is there, which is promised from now on,
/// and how many records are missing.
fn verify(disk: &SimulatedDisk, promises: &Promises, page_cache_lost: bool) -> (Promises, usize) {
    let shared = SharedPromises::new(promises.clone());
    let life = Life::begin(disk, &shared, Sabotage::None).expect("no open fails after a crash");
    let mut found = Promises {
        incarnations: shared.now().incarnations,
        start_known: shared.now().start_known,
        ..Promises::default()
    };
    for partition in life.partitions() {
        let values = life.read_all(partition);
        let epochs = life.log(partition).epochs();
        assert_eq!(epochs.starts(), epochs_by_values(&values));
        let acknowledged = values.len();
        found.topics.insert(partition.topic_id, TopicState::Exists);
        found.partitions.insert(
            partition,
            Sent {
                values,
                acknowledged,
            },
        );
    }
    let mut lost = 0;
    for (topic, state) in &promises.topics {
        let exists = found.topics.contains_key(topic);
        assert!(
            !(exists && *state == TopicState::Deleted),
            "a deleted topic came back"
        );
        lost += usize::from(!exists && *state == TopicState::Exists);
    }
    let nothing = Sent::default();
    for (partition, sent) in &promises.partitions {
        let state = promises.topics[&partition.topic_id];
        let there = found.partitions.get(partition).unwrap_or(&nothing);
        assert!(
            sent.values.starts_with(&there.values),
            "what is there was sent, in order"
        );
        let may_lose = is_page_cache(partition.topic_id) && page_cache_lost;
        if state == TopicState::Exists && !may_lose {
            lost += sent.acknowledged.saturating_sub(there.values.len());
        }
    }
    (found, lost)
}

/// What is promised of a recovered folder does not depend on how its records became durable.
fn same(one: &Promises, other: &Promises) -> bool {
    one.topics == other.topics && one.partitions == other.partitions
}

/// Recovers twice, lives on, loses power again; returns how many records are missing in all.
fn lost_after(
    disk: &SimulatedDisk,
    promises: &Promises,
    page_cache_lost: bool,
    seed: u64,
) -> usize {
    let (first, lost) = verify(disk, promises, page_cache_lost);
    disk.restart();
    let (second, lost_again) = verify(disk, &first, false);
    assert!(
        lost > 0 || same(&first, &second),
        "two recoveries must agree"
    );
    let operation = disk.operations() + 1 + seed % 61;
    disk.plan(Fault::PowerCut { operation });
    let shared = SharedPromises::new(second);
    let later = Life::begin(disk, &shared, Sabotage::None).and_then(|mut life| {
        if life.partitions().is_empty() {
            life.create("later", 1)?;
        }
        go_on(&mut life, 3)
    });
    assert!(
        matches!(later, Ok(()) | Err(DiskError::PoweredOff)),
        "{later:?}"
    );
    disk.restart();
    let (_, lost_later) = verify(disk, &shared.now(), true);
    lost + lost_again + lost_later
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    points: u64,
    lost: usize,
}

/// Lives once, and at every operation follows what becomes of the disk.
fn crash_everywhere(sabotage: Sabotage, seeds: u64) -> Outcome {
    let disk = SimulatedDisk::new(0);
    if sabotage == Sabotage::NoSyncs {
        disk.ignore_syncs();
    }
    let promises = SharedPromises::default();
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let (visited, seen) = (promises.clone(), Arc::clone(&outcome));
    disk.visit(move |moment| {
        let promises = visited.now();
        let mut outcome = seen.lock().expect("no visitor panicked");
        for seed in 0..seeds {
            let seed = seed * 1_000_003 + moment.operation();
            let disk = moment.power_cut(seed);
            disk.restart();
            let lost = AssertUnwindSafe(|| lost_after(&disk, &promises, true, seed));
            outcome.lost += match sabotage {
                Sabotage::None => lost(),
                // A folder that cannot be opened, or holds what nobody sent, is as bad as one that lost something.
                _ => catch_unwind(lost).unwrap_or(1),
            };
            assert!(
                outcome.lost == 0 || sabotage != Sabotage::None,
                "power cut at operation {}, seed {seed}",
                moment.operation()
            );
            outcome.points += 1;
        }
    });
    live(&disk, &promises, sabotage).expect("nothing fails on this disk");
    *outcome.lock().expect("no visitor panicked")
}

#[test]
fn no_power_cut_loses_an_acknowledged_record() {
    let Outcome { points, lost } = crash_everywhere(Sabotage::None, TORN_SEEDS);
    println!(
        "{points} crash points with torn writes, each recovered twice and crashed again: {lost} acknowledged records lost"
    );
    assert!(points > 600, "only {points} points");
}

#[test]
fn every_way_to_leave_out_a_sync_is_found_out() {
    let control = std::thread::current().id();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != control {
            report(panic);
        }
    }));
    let outcomes = [
        Sabotage::NoSyncs,
        Sabotage::NoFolderSyncs,
        Sabotage::OnlyLastSegment,
    ]
    .map(|sabotage| (sabotage, crash_everywhere(sabotage, 1)));
    for (sabotage, Outcome { points, lost }) in outcomes {
        println!("control {sabotage:?}: {points} crash points, {lost} acknowledged records lost");
        assert!(lost > 0, "the test does not notice {sabotage:?}");
    }
}

#[test]
fn no_failed_operation_loses_an_acknowledged_record_or_one_that_was_read() {
    let disk = SimulatedDisk::new(0);
    let promises = SharedPromises::default();
    let (visited, points) = (promises.clone(), Arc::new(Mutex::new((0, 0))));
    let counted = Arc::clone(&points);
    disk.visit(move |moment| {
        // A failed sync loses what it was to write, as a power cut does.
        let (operation, page_cache_lost) = (moment.operation(), moment.is_sync());
        let lost = lost_after(&moment.failed(), &visited.now(), page_cache_lost, operation);
        assert_eq!(lost, 0, "operation {operation} failed");
        let mut counted = counted.lock().expect("no visitor panicked");
        counted.0 += 1;
        counted.1 += usize::from(moment.is_sync());
    });
    live(&disk, &promises, Sabotage::None).expect("nothing fails on this disk");
    let (operations, syncs) = *points.lock().expect("no visitor panicked");
    println!("{operations} failed operations, {syncs} of them syncs: 0 acknowledged records lost");
    assert!(syncs > 50, "only {syncs} syncs");
}

#[test]
fn segments_that_ended_without_index_files_are_walked_for_their_producers_once() {
    let disk = SimulatedDisk::new(7);
    let promises = SharedPromises::default();
    let begin = || Life::begin(&disk, &promises, Sabotage::None).expect("nothing fails");
    let mut life = begin();
    life.create("topic", 1).expect("nothing fails");
    go_on(&mut life, 9).expect("nothing fails");
    drop(life);
    for path in paths_ending_in(&disk, "index") {
        disk.remove(&path).expect("it is there");
    }
    assert!(paths_ending_in(&disk, "log").len() > 3);
    let all = begin().batches_shown;
    let active = begin().batches_shown;
    assert!(all > 20 && active < 10, "{all} batches, then {active}");
}

#[test]
fn all_caches_gone_or_garbled_change_nothing() {
    for garble in [false, true] {
        let disk = SimulatedDisk::new(7);
        let promises = SharedPromises::default();
        live(&disk, &promises, Sabotage::None).expect("nothing fails on this disk");
        let caches = paths_ending_in(&disk, "index");
        assert!(caches.len() > 3);
        for cache in caches {
            if garble {
                disk.flip_bit(&cache, 30, 3);
            } else {
                disk.remove(&cache).expect("it is there");
            }
        }
        let (found, lost) = verify(&disk, &promises.now(), false);
        assert_eq!(lost, 0);
        disk.restart();
        let (again, _) = verify(&disk, &found, true);
        assert!(same(&found, &again));
    }
}

fn paths_ending_in(disk: &SimulatedDisk, extension: &str) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths
}
