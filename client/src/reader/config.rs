//! The reader's settings: real types, defaults, validated together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;

use super::positions::{Position, Positions};
use super::{BuildReaderError, Reader};
use crate::client::{Client, Inner};
use crate::offsets::{OffsetSpec, list_offsets};

/// Where to start reading a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record that is still there.
    Earliest,
    /// After the last record there is.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first record at or after a time in milliseconds since 1970; at the end if there is none.
    Timestamp(i64),
}

/// What to do when the offset to read next is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// Yield an error and stop reading the partition until a `seek`.
    #[default]
    Fail,
    /// Go on at the first record that is still there.
    Earliest,
    /// Go on after the last record.
    Latest,
}

/// The reader's settings, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderConfig {
    pub(crate) min_bytes: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_bytes_per_partition: usize,
    pub(crate) max_wait: Duration,
    pub(crate) prefetch_bytes: usize,
    pub(crate) decompressed_bytes_max: usize,
    pub(crate) out_of_range: OutOfRange,
}

/// Settings of a reader; every one has a default except what to read.
#[derive(Clone, Debug)]
#[must_use]
pub struct ReaderBuilder {
    client: Client,
    config: ReaderConfig,
    topics: Vec<(String, StartAt)>,
    partitions: Vec<(String, PartitionIndex, StartAt)>,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Client) -> Self {
        let config = ReaderConfig {
            min_bytes: 1,
            max_bytes: 8 * 1024 * 1024,
            max_bytes_per_partition: 2 * 1024 * 1024,
            max_wait: Duration::from_millis(500),
            prefetch_bytes: 32 * 1024 * 1024,
            decompressed_bytes_max: keylane_protocol::compression::DECOMPRESSED_BYTES_MAX,
            out_of_range: OutOfRange::Fail,
        };
        Self {
            client,
            config,
            topics: Vec::new(),
            partitions: Vec::new(),
        }
    }

    /// Adds a partition.
    pub fn partition(mut self, topic: impl Into<String>, partition: i32, start: StartAt) -> Self {
        let partition = PartitionIndex(partition);
        self.partitions.push((topic.into(), partition, start));
        self
    }

    /// Adds every partition that a topic has when the reader is built.
    pub fn topic(mut self, topic: impl Into<String>, start: StartAt) -> Self {
        self.topics.push((topic.into(), start));
        self
    }

    /// Sets how many bytes a broker waits for before it answers, unless `max_wait` is over. Default 1.
    pub fn min_bytes(mut self, bytes: usize) -> Self {
        self.config.min_bytes = bytes;
        self
    }

    /// Sets how many bytes one answer brings at most, unless a single batch is larger. Default 8 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.config.max_bytes = bytes;
        self
    }

    /// Sets the same for one partition of an answer. Default 2 MiB.
    pub fn max_bytes_per_partition(mut self, bytes: usize) -> Self {
        self.config.max_bytes_per_partition = bytes;
        self
    }

    /// Sets how long a broker waits for new records before it answers without any. Default 500 ms.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.config.max_wait = wait;
        self
    }

    /// Sets how many bytes are fetched ahead of what is taken. Default 32 MiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.config.prefetch_bytes = bytes;
        self
    }

    /// Sets how many bytes one compressed batch may unpack to. Default 100 MiB.
    pub fn decompressed_bytes_max(mut self, bytes: usize) -> Self {
        self.config.decompressed_bytes_max = bytes;
        self
    }

    /// Sets what to do when the offset to read next is not there. Default an error.
    pub fn out_of_range(mut self, policy: OutOfRange) -> Self {
        self.config.out_of_range = policy;
        self
    }

    /// Returns the reader, once it is known where to start.
    ///
    /// # Errors
    /// When settings make no sense, a topic or partition is unknown, or its leader cannot be asked.
    pub async fn build(self) -> Result<Reader, BuildReaderError> {
        let faults = self.faults();
        if !faults.is_empty() {
            return Err(BuildReaderError::Settings { faults });
        }
        let inner = &self.client.inner;
        let mut starts: BTreeMap<String, BTreeMap<PartitionIndex, StartAt>> = BTreeMap::new();
        for (topic, start) in self.topics {
            let view = inner.metadata.topic(&topic, false).await?;
            let indexes = (0..).map(PartitionIndex).take(view.partitions.len());
            let all = indexes.map(|partition| (partition, start));
            starts.entry(topic).or_default().extend(all);
        }
        for (topic, partition, start) in self.partitions {
            starts.entry(topic).or_default().insert(partition, start);
        }
        let mut positions = Vec::new();
        for (topic, starts) in starts {
            let view = inner.metadata.topic(&topic, false).await?;
            for (partition, offset) in resolve(inner, &topic, &starts).await? {
                let name = Arc::clone(&view.name);
                positions.push(Position::new(name, view.id, partition, offset));
            }
        }
        let seed = inner.next_seed();
        let positions = Positions::new(self.config, positions, seed);
        Ok(Reader::start(self.client, positions))
    }

    fn faults(&self) -> Vec<String> {
        let config = &self.config;
        let bytes_max = 64 * 1024 * 1024;
        let mut faults = Vec::new();
        let mut check = |is_right: bool, fault: &str| {
            if !is_right {
                faults.push(fault.to_owned());
            }
        };
        check(
            !self.topics.is_empty() || !self.partitions.is_empty(),
            "name at least one topic or partition to read",
        );
        check(
            config.min_bytes <= bytes_max,
            "min_bytes must be at most 64 MiB",
        );
        check(
            (1..=bytes_max).contains(&config.max_bytes),
            "max_bytes must be between 1 and 64 MiB",
        );
        check(
            (1..=bytes_max).contains(&config.max_bytes_per_partition),
            "max_bytes_per_partition must be between 1 and 64 MiB",
        );
        check(
            config.prefetch_bytes > 0,
            "prefetch_bytes must be at least 1",
        );
        check(
            config.max_wait <= Duration::from_secs(3600),
            "max_wait must be at most an hour",
        );
        faults
    }
}

/// Returns the offsets at which to start with some partitions of a topic.
pub(super) async fn resolve(
    client: &Inner,
    topic: &str,
    starts: &BTreeMap<PartitionIndex, StartAt>,
) -> Result<BTreeMap<PartitionIndex, Offset>, BuildReaderError> {
    let spec = |start: StartAt| match start {
        StartAt::Earliest => OffsetSpec::Earliest,
        // An offset needs no answer; asking for something makes sure that the partition exists.
        StartAt::Latest | StartAt::Offset(_) => OffsetSpec::Latest,
        StartAt::Timestamp(time) => OffsetSpec::Timestamp(time),
    };
    let wanted = starts.iter();
    let wanted = wanted.map(|(&partition, &start)| (partition, spec(start)));
    let found = list_offsets(client, topic, &wanted.collect()).await?;
    let mut offsets = BTreeMap::new();
    let mut at_end = BTreeMap::new();
    for (&partition, &start) in starts {
        let listed = found.get(&partition).and_then(|listed| listed.offset);
        match (start, listed) {
            (StartAt::Offset(offset), _) | (_, Some(offset)) => {
                offsets.insert(partition, offset);
            }
            (_, None) => {
                at_end.insert(partition, OffsetSpec::Latest);
            }
        }
    }
    if !at_end.is_empty() {
        for (partition, listed) in list_offsets(client, topic, &at_end).await? {
            offsets.insert(partition, listed.offset.unwrap_or(Offset(0)));
        }
    }
    Ok(offsets)
}
