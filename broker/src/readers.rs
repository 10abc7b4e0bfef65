//! Reads from disk on a few threads of their own, so that a consumer far behind never stalls a shard or the network.
//!
//! Every batch is verified as it is read. A failed read is the reader's error, not the folder's: what was acknowledged
//! stays acknowledged, and other ranges are served.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatches;
use metrics::Histogram;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::folder::layout::Layout;
use crate::limits::{READER_FILES_MAX, READS_WAITING_MAX, SEARCH_DECOMPRESSED_BYTES_MAX};
use crate::log::TopicPartition;
use crate::log::read::{self, read_batches};
use crate::meters::now;
use crate::partition::read::{FoundOffset, ReadError, ReadPlan, SearchPlan};
use crate::partition::tail::ReadLimit;
use crate::threads;
use crate::topics::TopicsImage;

/// How many threads read: one may wait for a slow disk while the other serves what is in the page cache.
const READERS: usize = 2;

enum Job {
    Read {
        plan: ReadPlan,
        reply: oneshot::Sender<Result<Bytes, ReadError>>,
    },
    Search {
        search: SearchPlan,
        reply: oneshot::Sender<Result<Option<FoundOffset>, ReadError>>,
    },
    /// The topic was deleted: close its files, whose room is free only then.
    Forget(TopicId),
}

/// Reaches the reader threads, which end when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Readers {
    jobs: Vec<mpsc::Sender<(Instant, Job)>>,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start(
        disk: &Arc<dyn Disk>,
        layout: &Layout,
        topics: &Arc<ArcSwap<TopicsImage>>,
        wait: &Histogram,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut jobs = Vec::with_capacity(READERS);
        let mut handles = Vec::with_capacity(READERS);
        for index in 0..READERS {
            let (sender, mut waiting) = mpsc::channel::<(Instant, Job)>(READS_WAITING_MAX);
            let wait = wait.clone();
            let mut reader = Reader {
                disk: Arc::clone(disk),
                layout: layout.clone(),
                topics: Arc::clone(topics),
                open: VecDeque::new(),
            };
            handles.push(threads::spawn(&format!("reader-{index}"), move || {
                while let Some((sent_at, job)) = waiting.blocking_recv() {
                    wait.record(now().saturating_duration_since(sent_at));
                    reader.run(job);
                }
            })?);
            jobs.push(sender);
        }
        Ok((Self { jobs }, handles))
    }

    /// Returns how many reads wait.
    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.jobs.iter();
        waiting
            .map(|jobs| jobs.max_capacity() - jobs.capacity())
            .sum()
    }

    /// Reads whole batches of a partition.
    pub(crate) async fn read(
        &self,
        mut plan: ReadPlan,
        limit: ReadLimit,
    ) -> Result<Bytes, ReadError> {
        plan.range.bytes_max = plan.range.bytes_max.min(limit.bytes_max);
        let (reply, read) = oneshot::channel();
        self.ask(plan, Job::Read { plan, reply }).await?;
        let bytes = read.await.map_err(|_| ReadError::Offline)??;
        // The first batch comes whole, which is not always wanted.
        if bytes.len() > limit.bytes_max && !limit.at_least_one {
            return Ok(Bytes::new());
        }
        Ok(bytes)
    }

    /// Finds the first record at or after a time.
    pub(crate) async fn search(
        &self,
        search: SearchPlan,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let (reply, found) = oneshot::channel();
        self.ask(search.plan, Job::Search { search, reply }).await?;
        found.await.map_err(|_| ReadError::Offline)?
    }

    /// Has the files of a deleted topic closed. Blocks while many reads wait, so it must not be called on a runtime.
    pub(crate) fn forget(&self, topic_id: TopicId) {
        for jobs in &self.jobs {
            // A thread that has ended has closed its files.
            let _ = jobs.blocking_send((now(), Job::Forget(topic_id)));
        }
    }

    /// Hands a job to the thread that has the partition's files open.
    async fn ask(&self, plan: ReadPlan, job: Job) -> Result<(), ReadError> {
        let thread = plan.partition.partition.0.unsigned_abs() as usize % self.jobs.len();
        self.jobs[thread]
            .send((now(), job))
            .await
            .map_err(|_| ReadError::Offline)
    }
}

/// One thread's state.
struct Reader {
    disk: Arc<dyn Disk>,
    layout: Layout,
    topics: Arc<ArcSwap<TopicsImage>>,
    /// The most recently opened last.
    open: VecDeque<((TopicPartition, Offset), File)>,
}

impl Reader {
    fn run(&mut self, job: Job) {
        // Whoever asked may have gone.
        match job {
            Job::Read { plan, reply } => {
                let _ = reply.send(self.read(&plan));
            }
            Job::Search { search, reply } => {
                let _ = reply.send(self.search(&search));
            }
            Job::Forget(topic_id) => self.open.retain(|((of, _), _)| of.topic_id != topic_id),
        }
    }

    fn read(&mut self, plan: &ReadPlan) -> Result<Bytes, ReadError> {
        let file = self.file(plan);
        let file = file.map_err(|error| self.disk_error(plan, &error))?;
        read_batches(&*self.disk, &file, &plan.range).map_err(|error| match error {
            read::ReadError::Disk(error) => self.disk_error(plan, &error),
            damage => {
                warn!(partition = ?plan.partition, segment = plan.segment.0, %damage, "damaged records");
                ReadError::Damaged
            }
        })
    }

    fn search(&mut self, search: &SearchPlan) -> Result<Option<FoundOffset>, ReadError> {
        let mut plan = search.plan;
        loop {
            let bytes = self.read(&plan)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            plan.range.start.position += u64::try_from(bytes.len()).expect("a size fits 64 bits");
            if let Some(found) = first_at_or_after(bytes, search.timestamp, &mut plan)? {
                return Ok(Some(found));
            }
        }
    }

    fn file(&mut self, plan: &ReadPlan) -> Result<File, DiskError> {
        let key = (plan.partition, plan.segment);
        if let Some((_, file)) = self.open.iter().rev().find(|(other, _)| *other == key) {
            return Ok(file.clone());
        }
        let path = self.layout.segment(plan.partition, plan.segment);
        let file = self.disk.open(&path, OpenMode::Read)?;
        if self.open.len() == READER_FILES_MAX {
            self.open.pop_front();
        }
        self.open.push_back((key, file.clone()));
        Ok(file)
    }

    fn disk_error(&self, plan: &ReadPlan, error: &DiskError) -> ReadError {
        match error {
            DiskError::NotFound if self.exists(plan.partition) => {
                warn!(partition = ?plan.partition, segment = plan.segment.0, "a segment's file is missing");
                ReadError::Damaged
            }
            DiskError::NotFound => ReadError::Gone,
            error => {
                error!(partition = ?plan.partition, segment = plan.segment.0, %error, "cannot read");
                ReadError::Offline
            }
        }
    }

    /// Tells whether the partition's topic was not deleted while a job waited; its files go only afterwards.
    fn exists(&self, partition: TopicPartition) -> bool {
        self.topics.load().with_id(partition.topic_id).is_some()
    }
}

/// Looks through batches; moves the plan's offset behind them.
fn first_at_or_after(
    bytes: Bytes,
    timestamp: i64,
    plan: &mut ReadPlan,
) -> Result<Option<FoundOffset>, ReadError> {
    for batch in RecordBatches::new(bytes) {
        let batch = batch.map_err(|_| ReadError::Damaged)?;
        let header = batch.header();
        plan.range.offset = header.end_offset();
        plan.range.start.base_offset = header.end_offset();
        if header.max_timestamp < timestamp {
            continue;
        }
        let records = batch
            .records(SEARCH_DECOMPRESSED_BYTES_MAX)
            .map_err(|_| ReadError::Damaged)?;
        for record in records {
            let record = record.map_err(|_| ReadError::Damaged)?;
            if record.timestamp >= timestamp {
                return Ok(Some(FoundOffset {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    leader_epoch: header.leader_epoch,
                }));
            }
        }
    }
    Ok(None)
}
