//! The power goes while a whole broker lives: data folder, metadata quorum, hosting and log together, behind its sockets.
//!
//! At every operation of a small life the disk as a power cut would leave it is kept, and as the end of the process with
//! that operation failed; afterwards a broker is started on each. Whatever a client had been told by then must be there:
//! topics that were created, none that was deleted, every acknowledged record at its offset. A disk that lies about
//! syncs is the control. `POWER_CUT_SEEDS` says how often each operation is torn, once by default.

mod kit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use keylane_broker::disk::Disk;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_broker::{Broker, StartError};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use keylane_protocol::message::metadata::MetadataRequest;
use kit::{Client, batch, config, values};

/// What a client knows of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Topic {
    /// Something was asked and not answered: it may exist or not.
    Unknown,
    /// It exists, with these records.
    Exists(Vec<String>),
    /// It was deleted.
    Deleted,
}

type Promises = BTreeMap<String, Topic>;

#[derive(Clone, Default)]
struct Known(Arc<Mutex<Promises>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().expect("nobody panics with it")
    }

    fn set(&self, name: &str, topic: Topic) {
        self.lock().insert(name.to_owned(), topic);
    }
}

fn start(disk: &SimulatedDisk) -> Result<Broker, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Broker::start_on(config(Path::new("/data")), &disk)
}

fn create(client: &mut Client, known: &Known, name: &str) {
    known.set(name, Topic::Unknown);
    let created = client.create_topic(name, 1);
    assert_eq!(created.error_code, ErrorCode::None);
    known.set(name, Topic::Exists(Vec::new()));
}

fn delete(client: &mut Client, known: &Known, name: &str) {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(name.into()),
            ..DeleteTopicState::default()
        }],
        ..DeleteTopicsRequest::default()
    };
    known.set(name, Topic::Unknown);
    let answer = client.ask(&request, 6);
    assert_eq!(answer.responses[0].error_code, ErrorCode::None);
    known.set(name, Topic::Deleted);
}

fn produce(client: &mut Client, known: &Known, name: &str, value: &str) {
    let answer = client.produce(name, 0, batch(&[value]));
    assert_eq!(answer.error_code, ErrorCode::None);
    match known.lock().get_mut(name) {
        Some(Topic::Exists(records)) => {
            assert_eq!(
                answer.base_offset.0,
                i64::try_from(records.len()).expect("few")
            );
            records.push(value.to_owned());
        }
        other => panic!("{other:?}"),
    }
}

/// Three lives: one ends cleanly, one as a crash would end it, one is cut off.
fn live(disk: &SimulatedDisk, known: &Known) {
    let broker = start(disk).expect("the broker starts");
    let mut client = Client::connect(broker.address());
    create(&mut client, known, "a");
    produce(&mut client, known, "a", "one");
    create(&mut client, known, "b");
    produce(&mut client, known, "b", "two");
    broker.stop().expect("a clean stop");
    let broker = start(disk).expect("the broker starts");
    let mut client = Client::connect(broker.address());
    produce(&mut client, known, "a", "three");
    delete(&mut client, known, "b");
    create(&mut client, known, "c");
    produce(&mut client, known, "c", "four");
    drop(broker);
    let broker = start(disk).expect("the broker starts");
    let mut client = Client::connect(broker.address());
    produce(&mut client, known, "a", "five");
    create(&mut client, known, "b");
    produce(&mut client, known, "c", "six");
    broker.stop().expect("a clean stop");
}

/// Returns what of the promises a broker on the disk does not keep.
fn broken(disk: &SimulatedDisk, promises: &Promises) -> Vec<String> {
    let broker = match start(disk) {
        Ok(broker) => broker,
        Err(refused) => return vec![format!("no start: {refused}")],
    };
    let mut client = Client::connect(broker.address());
    let all = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let metadata = client.ask(&all, 12);
    let exists = |name: &str| {
        let mut topics = metadata.topics.iter();
        topics.any(|topic| topic.name.as_deref() == Some(name))
    };
    let mut broken = Vec::new();
    for (name, topic) in promises {
        match topic {
            Topic::Exists(records) if exists(name) => {
                let found = values(&client.fetch(name, 0, 0, 0));
                let found = found.into_iter().map(|(_, value)| value);
                let kept: Vec<String> = found.take(records.len()).collect();
                if kept != *records {
                    broken.push(format!("{name} has {kept:?}, not {records:?}"));
                }
                let more = client.produce(name, 0, batch(&["more"]));
                if !more.error_code.is_none() {
                    broken.push(format!("{name} takes no records: {:?}", more.error_code));
                }
            }
            Topic::Exists(_) => broken.push(format!("{name} is gone")),
            Topic::Deleted if exists(name) => broken.push(format!("{name} is there again")),
            Topic::Deleted | Topic::Unknown => {}
        }
    }
    broker.stop().expect("a clean stop");
    broken
}

/// A disk as something left it, and what had been promised by then.
struct Left {
    how: String,
    disk: SimulatedDisk,
    promises: Promises,
}

/// Lives a life and returns what each of its operations could have left.
fn lefts(disk: &SimulatedDisk, seeds: u64) -> Vec<Left> {
    let known = Known::default();
    let lefts: Arc<Mutex<Vec<Left>>> = Arc::default();
    let (visited, promised) = (Arc::clone(&lefts), known.clone());
    disk.visit(move |moment| {
        let operation = moment.operation();
        let promises = promised.lock().clone();
        let mut visited = visited.lock().expect("nobody panics with it");
        for seed in 0..seeds {
            let disk = moment.power_cut(operation * 31 + seed);
            disk.restart();
            visited.push(Left {
                how: format!("the power cut at operation {operation}, torn by {seed}"),
                disk,
                promises: promises.clone(),
            });
        }
        visited.push(Left {
            how: format!("operation {operation} failed"),
            disk: moment.failed(),
            promises,
        });
    });
    live(disk, &known);
    let mut lefts = lefts.lock().expect("nobody panics with it");
    std::mem::take(&mut *lefts)
}

#[test]
fn a_power_cut_or_failure_at_any_operation_breaks_no_promise() {
    let seeds = std::env::var("POWER_CUT_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    let lefts = lefts(&SimulatedDisk::new(1), seeds);
    for left in &lefts {
        let broken = broken(&left.disk, &left.promises);
        assert!(broken.is_empty(), "{}: {broken:?}", left.how);
    }
    println!("{} ways to end tried, no promise broken", lefts.len());
    assert!(lefts.len() > 200);
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let disk = SimulatedDisk::new(1);
    disk.ignore_syncs();
    let lefts = lefts(&disk, 1);
    let mut cuts = lefts.iter().filter(|left| left.how.contains("power"));
    let found = cuts.find(|left| !broken(&left.disk, &left.promises).is_empty());
    assert!(found.is_some(), "the test would not notice a missing sync");
}
