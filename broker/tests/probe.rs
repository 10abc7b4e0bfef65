//! What a broker tells of itself: whether it serves, and what it counts of its partitions.

mod kit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keylane_broker::Broker;
use keylane_broker::disk::Disk;
use keylane_broker::disk::simulated::{Fault, SimulatedDisk};
use keylane_broker::topic_settings::Durability;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::delete_topics::DeleteTopicsRequest;
use kit::{Client, batch, config};

fn start(disk: &SimulatedDisk) -> Broker {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Broker::start_on(config(Path::new("/data")), &disk).expect("the broker starts")
}

fn create_topic(broker: &Broker, name: &str, partitions: i32) {
    let created = Client::connect(broker.address()).create_topic(name, partitions);
    assert_eq!(created.error_code, ErrorCode::None);
}

#[test]
fn a_broker_is_not_ready_once_its_folder_is_offline_and_says_why() {
    let disk = SimulatedDisk::new(1);
    let broker = start(&disk);
    let probe = broker.probe();
    assert_eq!(probe.node(), "broker-1");
    assert_eq!(probe.readiness(), Ok(()));
    create_topic(&broker, "t", 1);
    let now = disk.operations();
    for operation in now..now + 20 {
        disk.plan(Fault::FailedSync { operation });
    }
    Client::connect(broker.address()).produce("t", 0, batch(&["unknown"]));
    let _ = broker.wait_for_failure().expect("it failed");
    let reason = probe.readiness().expect_err("it does not serve");
    assert!(reason.contains("the data folder is offline"), "{reason}");
    drop(broker);
}

#[test]
fn a_broker_that_has_stopped_keeps_no_probe_waiting() {
    let disk = SimulatedDisk::new(1);
    let broker = start(&disk);
    let probe = broker.probe();
    broker.stop().expect("a clean stop");
    assert_eq!(probe.readiness(), Err("it has stopped".to_owned()));
    probe.refresh();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let answered = runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(5), probe.answers()).await });
    assert_eq!(answered, Ok(()));
}

#[test]
fn each_partition_counts_its_own_records_until_its_topic_goes() {
    let disk = SimulatedDisk::new(1);
    let broker = start(&disk);
    create_topic(&broker, "t", 2);
    create_topic(&broker, "other", 1);
    let mut client = Client::connect(broker.address());
    let batches = [batch(&["a", "b", "c"]), batch(&["d"])];
    let bytes: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
    for batch in batches {
        assert_eq!(client.produce("t", 1, batch).error_code, ErrorCode::None);
    }
    let fetched = client.fetch("t", 1, 0, 0);
    assert_eq!(kit::values(&fetched).len(), 4);
    let probe = broker.probe();
    let partitions = probe.partitions();
    let rows = partitions.iter();
    let rows: Vec<_> = rows
        .map(|row| {
            (
                row.topic.as_str(),
                row.partition.0,
                row.numbers.appended_records,
            )
        })
        .collect();
    assert_eq!(rows.len(), 3);
    for row in [("t", 0, 0), ("t", 1, 4), ("other", 0, 0)] {
        assert!(rows.contains(&row), "{rows:?}");
    }
    let row = partitions
        .iter()
        .find(|row| row.numbers.appended_records == 4);
    let row = row.expect("just seen");
    let numbers = row.numbers;
    assert_eq!(row.durability, Some(Durability::Fsync));
    assert_eq!((numbers.appended_bytes, numbers.log_bytes), (bytes, bytes));
    assert_eq!((numbers.fetched_bytes, numbers.fetched_records), (bytes, 4));
    let offsets = [
        numbers.log_start_offset,
        numbers.high_watermark,
        numbers.log_end_offset,
    ];
    assert_eq!(offsets, [0, 4, 4]);
    assert!(numbers.leader_epoch >= 0, "{numbers:?}");
    let request = DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        ..DeleteTopicsRequest::default()
    };
    client.ask(&request, 5);
    let left = probe.partitions();
    assert!(
        left.len() == 1 && left[0].topic.as_str() == "other",
        "{left:?}"
    );
    broker.stop().expect("a clean stop");
}
