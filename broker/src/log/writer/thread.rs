//! The writer's thread: takes what waits, runs it as one group, reports, and begins again. Syncs run side by side on a few
//! threads more ([`sync_pool`]).

mod meters;
mod sync_pool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

pub use self::meters::WriterMeters;
use self::meters::now;
use self::sync_pool::SyncPool;
use super::{Append, DurableEnd, LogWriter, StepRunner, run_group};
use crate::disk::{Disk, DiskError};
use crate::folder::layout::Layout;
use crate::log::TopicPartition;
use crate::log::space::SpaceBudget;

/// Commands that may wait for the writer; each holds the batches of one request at most.
const COMMANDS_MAX: usize = 1024;

/// A group is begun when so many bytes wait, even if more could be taken.
const GROUP_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A group is begun when so many segments are to be written, all of which are open at once.
const GROUP_SEGMENTS_MAX: usize = 1024;

/// Hears what the writer has done. Called on the writer's thread: it must neither block nor wait for a shard.
pub trait DurableSink: Send + 'static {
    /// Records of a shard's partitions are durable.
    fn durable(&mut self, shard: usize, ends: Vec<DurableEnd>);

    /// The data folder is offline for good; nothing that was not reported will be.
    fn offline(&mut self, error: &DiskError);
}

enum Command {
    Append(Instant, Vec<Append>),
    Forget {
        partitions: Vec<TopicPartition>,
        done: oneshot::Sender<()>,
    },
    MeasureSpace,
}

/// The writer has ended: the folder is offline, or the process is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data folder is offline")]
pub struct WriterStopped;

/// Reaches the writer; clones reach the same one, which ends when the last is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    commands: mpsc::Sender<Command>,
}

impl WriterHandle {
    /// Hands over appends, in order; waits while too many wait already.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn append(&self, appends: Vec<Append>) -> Result<(), WriterStopped> {
        self.commands
            .send(Command::Append(now(), appends))
            .await
            .map_err(|_| WriterStopped)
    }

    /// Waits until nothing of the partitions is under way and their files are closed, so that they can be deleted.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn forget(&self, partitions: Vec<TopicPartition>) -> Result<(), WriterStopped> {
        let (done, forgotten) = oneshot::channel();
        self.commands
            .send(Command::Forget { partitions, done })
            .await
            .map_err(|_| WriterStopped)?;
        // What is sent as the writer ends may lie in the channel for as long as this handle is there.
        tokio::select! {
            biased;
            forgotten = forgotten => forgotten.map_err(|_| WriterStopped),
            () = self.commands.closed() => Err(WriterStopped),
        }
    }

    /// Returns what tells how many commands wait; it keeps the writer no longer than its handles do.
    #[must_use]
    pub fn queue_length(&self) -> Box<dyn Fn() -> usize + Send + Sync> {
        let commands = self.commands.downgrade();
        Box::new(move || {
            let commands = commands.upgrade();
            commands.map_or(0, |commands| commands.max_capacity() - commands.capacity())
        })
    }

    /// Asks for a measurement of the free space; the writer also measures after each group.
    pub fn measure_space(&self) {
        // A full queue means that groups are under way, each of which measures.
        let _ = self.commands.try_send(Command::MeasureSpace);
    }
}

/// The running writer.
pub struct Writer {
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the writer of a data folder.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        disk: Arc<dyn Disk>,
        layout: Layout,
        space: Arc<SpaceBudget>,
        sink: impl DurableSink,
        meters: WriterMeters,
    ) -> std::io::Result<(Self, WriterHandle)> {
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let runner = StepRunner::new(Arc::clone(&disk), layout.clone());
        let work = Work {
            writer: LogWriter::default(),
            runner,
            syncs: SyncPool::start(Arc::clone(&disk), &meters.sync)?,
            disk,
            layout,
            space,
            sink,
            meters,
            taken: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("keylane-writer".to_owned())
            .spawn(move || work.run(waiting))?;
        Ok((Self { thread }, WriterHandle { commands }))
    }

    /// Waits until all handles are dropped and what they handed over is done.
    pub fn join(self) {
        // A panic has ended the process already.
        let _ = self.thread.join();
    }
}

struct Work<S> {
    writer: LogWriter,
    runner: StepRunner,
    syncs: SyncPool,
    disk: Arc<dyn Disk>,
    layout: Layout,
    space: Arc<SpaceBudget>,
    sink: S,
    meters: WriterMeters,
    /// When each of the appends was sent that wait for the next group.
    taken: Vec<Instant>,
}

impl<S: DurableSink> Work<S> {
    fn run(mut self, mut waiting: mpsc::Receiver<Command>) {
        while let Some(command) = waiting.blocking_recv() {
            let mut forgotten = Vec::new();
            self.take(command, &mut forgotten);
            while self.writer.waiting_bytes() < GROUP_BYTES_MAX
                && self.writer.waiting_segments() < GROUP_SEGMENTS_MAX
            {
                let Ok(command) = waiting.try_recv() else {
                    break;
                };
                self.take(command, &mut forgotten);
            }
            if let Err(error) = self.finish_group() {
                self.sink.offline(&error);
                return;
            }
            for (partitions, done) in forgotten {
                for partition in partitions {
                    self.writer.on_deleted(partition);
                    self.runner.forget(partition);
                }
                // Nobody waits any more if the request was given up.
                let _ = done.send(());
            }
        }
    }

    fn take(
        &mut self,
        command: Command,
        forgotten: &mut Vec<(Vec<TopicPartition>, oneshot::Sender<()>)>,
    ) {
        match command {
            Command::Append(sent_at, appends) => {
                self.taken.push(sent_at);
                for append in appends {
                    self.writer.on_append(append);
                }
            }
            Command::Forget { partitions, done } => forgotten.push((partitions, done)),
            Command::MeasureSpace => {}
        }
    }

    fn finish_group(&mut self) -> Result<(), DiskError> {
        let bytes = self.writer.waiting_bytes();
        let batches = self.writer.waiting_batches();
        let begun_at = now();
        for sent_at in self.taken.drain(..) {
            let waited = begun_at.saturating_duration_since(sent_at);
            self.meters.wait.record(waited);
        }
        let ahead_bytes = self.space.take_ahead();
        let syncs = &self.syncs;
        run_group(&mut self.writer, &mut self.runner, ahead_bytes, |work| {
            syncs.sync(work)
        })?;
        if batches > 0 {
            let took = now().saturating_duration_since(begun_at);
            self.meters.group.record(took);
            self.meters.batches.increment(batches);
        }
        let mut ends = BTreeMap::new();
        self.writer.end_group(&mut ends);
        for (shard, ends) in ends {
            self.sink.durable(shard, ends);
        }
        self.space.measured(self.disk.space(self.layout.root())?);
        // Only now: the measurement knows of what was written and reserved.
        self.space.settled(bytes, batches);
        self.space.settle(ahead_bytes);
        Ok(())
    }
}
