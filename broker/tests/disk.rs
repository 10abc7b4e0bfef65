//! What clients see when the disk fails, fills up, loses power or rots.

mod kit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keylane_broker::config::BrokerConfig;
use keylane_broker::disk::Disk;
use keylane_broker::disk::simulated::{Fault, SimulatedDisk};
use keylane_broker::{Broker, StopError};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::offset::Offset;
use kit::{Client, batch, config, values};

fn start(disk: &SimulatedDisk, change: impl FnOnce(&mut BrokerConfig)) -> Broker {
    let mut config = config(Path::new("/data"));
    change(&mut config);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Broker::start_on(config, &disk).expect("the broker starts")
}

fn create_topic(broker: &Broker, name: &str) -> ErrorCode {
    let mut client = Client::connect(broker.address());
    client.create_topic(name, 1).error_code
}

#[test]
fn a_failed_sync_takes_the_broker_offline_and_loses_nothing() {
    let disk = SimulatedDisk::new(1);
    let broker = start(&disk, |_| {});
    assert_eq!(create_topic(&broker, "t"), ErrorCode::None);
    let mut client = Client::connect(broker.address());
    assert_eq!(
        client.produce("t", 0, batch(&["safe"])).base_offset,
        Offset(0)
    );
    let now = disk.operations();
    for operation in now..now + 20 {
        disk.plan(Fault::FailedSync { operation });
    }
    let lost = client.produce("t", 0, batch(&["unknown"]));
    assert_eq!(lost.error_code, ErrorCode::KafkaStorageError);
    let failure = broker.wait_for_failure().expect("it failed");
    assert!(failure.to_string().contains("offline"), "{failure}");
    let later = client.produce("t", 0, batch(&["later"]));
    assert_eq!(later.error_code, ErrorCode::KafkaStorageError);
    assert_eq!(
        values(&client.fetch("t", 0, 0, 0)),
        [(0, "safe".to_owned())]
    );
    assert!(matches!(broker.stop(), Err(StopError::Failed { .. })));
    disk.restart();
    let broker = start(&disk, |_| {});
    let fetched = Client::connect(broker.address()).fetch("t", 0, 0, 0);
    assert_eq!(values(&fetched)[0], (0, "safe".to_owned()));
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let broker = start(&disk, |_| {});
        assert_eq!(create_topic(&broker, "t"), ErrorCode::None);
        let operation = disk.operations() + 20 + seed * 3;
        disk.plan(Fault::PowerCut { operation });
        let mut client = Client::connect(broker.address());
        let mut acknowledged = 0;
        while client.produce("t", 0, batch(&["x"])).error_code.is_none() {
            acknowledged += 1;
        }
        drop(broker);
        disk.restart();
        let broker = start(&disk, |_| {});
        let fetched = Client::connect(broker.address()).fetch("t", 0, 0, 0);
        assert_eq!(fetched.error_code, ErrorCode::None, "seed {seed}");
        assert!(values(&fetched).len() >= acknowledged, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_batches_and_topics_until_there_is_room() {
    let disk = SimulatedDisk::new(1);
    disk.plan(Fault::Full {
        bytes_max: 20 << 20,
    });
    let broker = start(&disk, |_| {});
    assert_eq!(create_topic(&broker, "t"), ErrorCode::None);
    let mut client = Client::connect(broker.address());
    let refused = (0..5_000).find_map(|_| {
        let answer = client.produce("t", 0, batch(&["x".repeat(100_000)]));
        (!answer.error_code.is_none()).then_some(answer)
    });
    let refused = refused.expect("the disk is full");
    let text = refused.error_message.unwrap_or_default();
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError, "{text}");
    assert!(text.contains("free space"), "{text}");
    assert_eq!(broker.failure_watch().failure(), None, "it keeps serving");
    let end = client.fetch("t", 0, 0, 0).high_watermark;
    disk.plan(Fault::Full {
        bytes_max: u64::MAX / 4,
    });
    let taken = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let answer = client.produce("t", 0, batch(&["again"]));
        answer.error_code.is_none().then_some(answer)
    });
    assert_eq!(taken.expect("room").base_offset, end);
    broker.stop().expect("a clean stop");
}

#[test]
fn a_damaged_batch_is_an_error_and_the_others_are_served() {
    let disk = SimulatedDisk::new(1);
    let broker = start(&disk, |config| config.limits.tail_bytes_per_shard = 0);
    assert_eq!(create_topic(&broker, "t"), ErrorCode::None);
    let mut client = Client::connect(broker.address());
    for value in ["first", "second", "third"] {
        client.produce("t", 0, batch(&[value]));
    }
    let segment = disk
        .paths()
        .into_iter()
        .find(|path| {
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            is_log && path.iter().any(|folder| folder == "logs")
        })
        .expect("a segment");
    let size = u64::try_from(batch(&["second"]).len()).expect("short");
    let second = u64::try_from(batch(&["first"]).len()).expect("short");
    disk.flip_bit(&segment, second + size - 3, 2);
    assert_eq!(values(&client.fetch("t", 0, 0, 0)).len(), 1);
    assert_eq!(
        client.fetch("t", 0, 1, 0).error_code,
        ErrorCode::CorruptMessage
    );
    assert_eq!(
        values(&client.fetch("t", 0, 2, 0)),
        [(2, "third".to_owned())]
    );
}

#[test]
fn a_missing_segment_file_is_damage_and_not_a_topic_that_is_gone() {
    let disk = SimulatedDisk::new(1);
    let broker = start(&disk, |config| {
        config.limits.tail_bytes_per_shard = 0;
        config.topic_defaults.segment_bytes = 64 << 10;
        config.topic_defaults.message_bytes_max = 64 << 10;
    });
    assert_eq!(create_topic(&broker, "t"), ErrorCode::None);
    let mut client = Client::connect(broker.address());
    for _ in 0..3 {
        client.produce("t", 0, batch(&["x".repeat(40_000)]));
    }
    let is_second = |path: &&std::path::PathBuf| path.ends_with("00000000000000000001.log");
    let paths = disk.paths();
    let second = paths.iter().find(is_second).expect("a segment each");
    disk.remove(second).expect("it rots away");
    assert_eq!(values(&client.fetch("t", 0, 0, 0)).len(), 1);
    let damaged = client.fetch("t", 0, 1, 0);
    assert_eq!(damaged.error_code, ErrorCode::CorruptMessage);
    assert_eq!(values(&client.fetch("t", 0, 2, 0)).len(), 1);
}
