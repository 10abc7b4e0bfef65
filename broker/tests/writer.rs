//! The writer on its own threads: order, reports, and what happens when the disk fails or is full.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keylane_broker::disk::real::RealDisk;
use keylane_broker::disk::simulated::{Fault, SimulatedDisk};
use keylane_broker::disk::{Disk, DiskError, OpenMode};
use keylane_broker::folder::layout::Layout;
use keylane_broker::log::TopicPartition;
use keylane_broker::log::space::SpaceBudget;
use keylane_broker::log::writer::{
    Append, Durability, DurableEnd, DurableSink, Writer, WriterHandle, WriterMeters, WriterStopped,
};
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::offset::Offset;

const TOPIC: TopicId = TopicId([3; 16]);
const PARTITIONS: i32 = 40;

fn partition(index: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TOPIC,
        partition: PartitionIndex(index),
    }
}

enum Heard {
    Durable(usize, Vec<DurableEnd>),
    Offline(DiskError),
}

struct Tell(SyncSender<Heard>);

impl DurableSink for Tell {
    fn durable(&mut self, shard: usize, ends: Vec<DurableEnd>) {
        self.0.send(Heard::Durable(shard, ends)).expect("heard");
    }

    fn offline(&mut self, error: &DiskError) {
        self.0.send(Heard::Offline(error.clone())).expect("heard");
    }
}

/// A writer, and the log ends that it is given and reports.
struct Running {
    disk: Arc<dyn Disk>,
    layout: Layout,
    writer: Writer,
    handle: WriterHandle,
    space: Arc<SpaceBudget>,
    heard: Receiver<Heard>,
    positions: BTreeMap<i32, u64>,
    durable: BTreeMap<TopicPartition, Offset>,
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

impl Running {
    fn start(disk: Arc<dyn Disk>, root: &Path) -> Self {
        let layout = Layout::new(root);
        disk.create_folder(&layout.logs()).expect("created");
        disk.create_folder(&layout.topic(TOPIC)).expect("created");
        for index in 0..PARTITIONS {
            let folder = layout.partition(partition(index));
            disk.create_folder(&folder).expect("created");
        }
        let space = Arc::new(SpaceBudget::new(0, disk.space(root).expect("measured")));
        let (tell, heard) = sync_channel(10_000);
        let (writer, handle) = Writer::start(
            Arc::clone(&disk),
            layout.clone(),
            Arc::clone(&space),
            Tell(tell),
            WriterMeters::new("broker-1"),
        )
        .expect("started");
        Self {
            disk,
            layout,
            writer,
            handle,
            space,
            heard,
            positions: BTreeMap::new(),
            durable: BTreeMap::new(),
        }
    }

    /// Appends one batch of so many bytes, one offset for each hundred, to each partition of the range.
    fn append(&mut self, indexes: std::ops::Range<i32>, bytes: usize) -> Result<(), WriterStopped> {
        let appends = indexes.map(|index| {
            let position = self.positions.entry(index).or_default();
            let at = *position;
            *position += bytes as u64;
            self.space.take(bytes as u64).expect("room");
            let marker = u8::try_from(index).expect("small");
            Append {
                partition: partition(index),
                generation: 5,
                shard: usize::try_from(index % 3).expect("small"),
                durability: Durability::Fsync,
                segment: Offset(0),
                position: at,
                closed: None,
                end_offset: Offset(i64::try_from(*position / 100).expect("small")),
                prefix: Bytes::from(vec![marker; 16]),
                rest: Bytes::from(vec![marker; bytes - 16]),
            }
        });
        let appends = appends.collect();
        block_on(self.handle.append(appends))
    }

    /// Waits until everything appended is reported; returns the error if the folder went offline instead.
    fn wait(&mut self) -> Result<(), DiskError> {
        let is_reported = |running: &Self| {
            running.positions.iter().all(|(index, position)| {
                let end = running.durable.get(&partition(*index));
                end.is_some_and(|end| end.0 * 100 == i64::try_from(*position).expect("small"))
            })
        };
        while !is_reported(self) {
            match self
                .heard
                .recv_timeout(Duration::from_secs(20))
                .expect("it reports")
            {
                Heard::Durable(shard, ends) => {
                    for end in ends {
                        let index = end.partition.partition.0;
                        assert_eq!(
                            (shard, end.generation),
                            (usize::try_from(index % 3).expect("small"), 5)
                        );
                        let before = self.durable.insert(end.partition, end.end_offset);
                        assert!(before.is_none_or(|before| before < end.end_offset));
                    }
                }
                Heard::Offline(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check_contents(&self) {
        for (index, position) in &self.positions {
            let path = self.layout.segment(partition(*index), Offset(0));
            let file = self.disk.open(&path, OpenMode::Read).expect("it is there");
            let length = usize::try_from(*position).expect("small");
            let contents = self.disk.read(&file, 0, length).expect("read");
            assert_eq!(contents.len(), length);
            assert!(contents.iter().all(|byte| i32::from(*byte) == *index));
        }
    }

    fn stop(self) {
        drop(self.handle);
        self.writer.join();
    }
}

#[test]
fn everything_is_written_in_order_reported_to_its_shard_and_durable() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let disks: [(Arc<dyn Disk>, &Path); 2] = [
        (Arc::new(RealDisk), temporary.path()),
        (Arc::new(SimulatedDisk::new(1)), Path::new("/")),
    ];
    for (disk, root) in disks {
        let mut running = Running::start(disk, root);
        for round in 0..30 {
            running.append(round % 7..PARTITIONS, 300).expect("taken");
            if round % 4 == 0 {
                running.wait().expect("durable");
            }
        }
        running.wait().expect("durable");
        running.check_contents();
        block_on(running.handle.forget(vec![partition(1)])).expect("forgotten");
        running.stop();
    }
}

#[test]
fn what_is_reported_survives_the_power() {
    for seed in 0..10 {
        let disk = SimulatedDisk::new(seed);
        let mut running = Running::start(Arc::new(disk.clone()), Path::new("/"));
        for path in ["/", "/logs"] {
            disk.sync_folder(Path::new(path)).expect("synced");
        }
        let topic = running.layout.topic(TOPIC);
        disk.sync_folder(&topic).expect("synced");
        running.append(0..PARTITIONS, 700).expect("taken");
        running.wait().expect("durable");
        running.append(0..PARTITIONS, 700).expect("taken");
        disk.restart();
        let reported: Vec<i32> = running.positions.keys().copied().collect();
        for index in reported {
            running.positions.insert(index, 700);
        }
        running.check_contents();
        running.stop();
    }
}

#[test]
fn after_any_failure_nothing_is_reported_or_taken_any_more() {
    for ahead in 1..120 {
        let disk = SimulatedDisk::new(1);
        let mut running = Running::start(Arc::new(disk.clone()), Path::new("/"));
        running.append(0..PARTITIONS, 300).expect("taken");
        running.wait().expect("durable");
        let operation = disk.operations() + ahead;
        disk.plan(Fault::Failed { operation });
        let mut last = running.append(0..PARTITIONS, 300);
        if running.wait().is_err() {
            while last.is_ok() {
                last = running.append(0..1, 300);
            }
            let late = running.heard.try_recv();
            assert!(
                late.is_err(),
                "nothing follows the report that it is offline"
            );
            let forgotten = block_on(running.handle.forget(vec![partition(0)]));
            assert_eq!(forgotten, Err(WriterStopped));
        } else {
            assert!(
                ahead > 40,
                "operation {ahead} of the second group did not fail"
            );
        }
        running.stop();
    }
}

#[test]
fn a_full_disk_refuses_before_anything_is_written_and_takes_again_when_there_is_room() {
    let disk = SimulatedDisk::new(1);
    disk.plan(Fault::Full { bytes_max: 3 << 20 });
    let mut running = Running::start(Arc::new(disk.clone()), Path::new("/"));
    let mut taken = 0;
    while running.space.take(10_000).is_ok() {
        running.space.settled(10_000, 1);
        running
            .append(taken % PARTITIONS..taken % PARTITIONS + 1, 10_000)
            .expect("taken");
        running
            .wait()
            .expect("a disk that refuses in time never fails");
        taken += 1;
        assert!(taken < 1000, "it is never full");
    }
    assert!(taken > 150, "{taken} batches of 10,000 bytes in 3 MiB");
    assert!(running.space.has_refused());
    disk.plan(Fault::Full { bytes_max: 6 << 20 });
    running.handle.measure_space();
    while running.space.has_refused() {
        std::thread::yield_now();
    }
    running.append(0..1, 10_000).expect("taken");
    running.wait().expect("durable");
    running.stop();
}

#[test]
fn shards_that_append_at_once_do_not_wait_for_one_another() {
    let disk = SimulatedDisk::new(1);
    let running = Running::start(Arc::new(disk), Path::new("/"));
    let sent = Mutex::new(0);
    std::thread::scope(|scope| {
        for index in 0..8 {
            let (handle, sent) = (running.handle.clone(), &sent);
            scope.spawn(move || {
                for number in 0..200 {
                    let append = Append {
                        partition: partition(index),
                        generation: 5,
                        shard: 0,
                        durability: Durability::Fsync,
                        segment: Offset(0),
                        position: number * 100,
                        closed: None,
                        end_offset: Offset(i64::try_from(number).expect("small") + 1),
                        prefix: Bytes::from_static(&[1; 16]),
                        rest: Bytes::from_static(&[1; 84]),
                    };
                    block_on(handle.append(vec![append])).expect("taken");
                    *sent.lock().expect("no panic") += 1;
                }
            });
        }
    });
    assert_eq!(*sent.lock().expect("no panic"), 1600);
    let mut ends = BTreeMap::new();
    while ends.len() < 8 || ends.values().any(|end| *end < Offset(200)) {
        let Heard::Durable(_, heard) = running
            .heard
            .recv_timeout(Duration::from_secs(20))
            .expect("it reports")
        else {
            panic!("the disk does not fail")
        };
        ends.extend(heard.iter().map(|end| (end.partition, end.end_offset)));
    }
    running.stop();
}
