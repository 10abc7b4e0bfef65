//! What is sent: records that follow from stream and sequence alone, so that every record read can be compared with
//! what was sent, and every record missing can be named.
//!
//! A stream is what one producer sends. No I/O except reading the input once.

mod keys;
mod rows;
mod stamp;

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::partitioner::partition_for_key;

pub(crate) use self::keys::mix;
pub use self::keys::{KeyDistribution, KeySpace, ZIPF_KEYS_MAX};
pub use self::rows::{INPUT_BYTES_MAX, InputError, Rows};
pub use self::stamp::{STAMP_BYTES, STAMP_HEADER, Stamp};

/// How many different fillers generated values have.
const FILLERS: usize = 4096;

/// The records of a run.
#[derive(Clone, Debug)]
pub struct Workload {
    source: Source,
    placement: Placement,
    partitions: i32,
}

#[derive(Clone, Debug)]
enum Source {
    Generated {
        keys: KeySpace,
        value_bytes: usize,
        filler: Vec<u8>,
    },
    Rows {
        rows: Rows,
        repeat: u32,
    },
}

/// What decides a record's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Its key.
    ByKey,
    /// Its producer: each has one partition, and shares it if there are fewer partitions than producers.
    ByProducer,
}

/// A record to send, in buffers that the next one reuses.
#[derive(Clone, Debug, Default)]
pub struct RecordToSend {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// What goes into the header [`STAMP_HEADER`], if anything.
    pub header: Option<[u8; STAMP_BYTES]>,
    /// The partition, if the key does not decide it.
    pub partition: Option<i32>,
}

/// What is looked at of a record that was read.
#[derive(Clone, Copy, Debug)]
pub struct RecordRead<'a> {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// The value of its header [`STAMP_HEADER`], if it has that.
    pub header: Option<&'a [u8]>,
}

/// What is wrong with a record that was read, apart from when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// It carries no stamp of any stream of this run.
    #[error("it was not sent by this run")]
    Foreign,
    /// Its key is not the one sent.
    #[error("its key is not the one sent")]
    Key,
    /// Its value is not the one sent.
    #[error("its value is not the one sent")]
    Value,
    /// It lies in a partition that its key or producer does not lead to.
    #[error("its partition is not the one its key leads to")]
    Partition,
}

impl Workload {
    /// Returns a workload of generated records with values of `value_bytes` bytes.
    ///
    /// # Panics
    /// When a stamp does not fit the value, or there is no partition.
    #[must_use]
    pub fn generated(
        keys: KeySpace,
        value_bytes: usize,
        placement: Placement,
        partitions: i32,
    ) -> Self {
        assert!(value_bytes >= STAMP_BYTES, "a value must hold its stamp");
        assert!(partitions > 0, "a topic has partitions");
        let words = (value_bytes + FILLERS).div_ceil(8) as u64;
        let filler = (0..words).flat_map(|word| mix(word).to_le_bytes());
        let source = Source::Generated {
            keys,
            value_bytes,
            filler: filler.collect(),
        };
        Self {
            source,
            placement,
            partitions,
        }
    }

    /// Returns a workload of the rows of a file, sent `repeat` times.
    ///
    /// # Panics
    /// When there is no partition.
    #[must_use]
    pub fn rows(rows: Rows, repeat: u32, partitions: i32) -> Self {
        assert!(partitions > 0, "a topic has partitions");
        Self {
            source: Source::Rows { rows, repeat },
            placement: Placement::ByKey,
            partitions,
        }
    }

    /// Returns the number of partitions that the topic has.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Returns how many records a stream has; `None` if it does not end.
    #[must_use]
    pub fn count(&self, stream: u32) -> Option<u64> {
        match &self.source {
            Source::Generated { .. } => None,
            Source::Rows { rows, repeat } => Some(rows.count(stream) * u64::from(*repeat)),
        }
    }

    /// Fills the buffers with the record that the stamp names.
    ///
    /// # Panics
    /// When the workload has no such record.
    pub fn write(&self, stamp: Stamp, record: &mut RecordToSend) {
        match &self.source {
            Source::Generated {
                keys,
                value_bytes,
                filler,
            } => {
                keys.write_key(keys.index(stamp.stream, stamp.sequence), &mut record.key);
                record.value.clear();
                record.value.extend_from_slice(&stamp.to_bytes());
                let rest = filler_of(filler, stamp, value_bytes - STAMP_BYTES);
                record.value.extend_from_slice(rest);
                record.header = None;
            }
            Source::Rows { rows, .. } => {
                let (key, value) = rows
                    .record(stamp.stream, stamp.sequence)
                    .expect("only records that the workload has are sent");
                record.key.clear();
                record.key.extend_from_slice(key);
                record.value.clear();
                record.value.extend_from_slice(value);
                record.header = Some(stamp.to_bytes());
            }
        }
        record.partition = match self.placement {
            Placement::ByKey => None,
            Placement::ByProducer => Some(self.partition_of(stamp.stream, &record.key).0),
        };
    }

    /// Returns the key of the record that a stream sent as this sequence, as text.
    #[must_use]
    pub fn key_text(&self, stream: u32, sequence: u64) -> String {
        let mut key = Vec::new();
        match &self.source {
            Source::Generated { keys, .. } => {
                keys.write_key(keys.index(stream, sequence), &mut key);
            }
            Source::Rows { rows, .. } => {
                let record = rows.record(stream, sequence);
                key.extend_from_slice(record.map_or(&[][..], |(key, _)| key));
            }
        }
        String::from_utf8_lossy(&key).into_owned()
    }

    /// Returns the partition that a record must lie in.
    #[must_use]
    pub fn partition_of(&self, stream: u32, key: &[u8]) -> PartitionIndex {
        match self.placement {
            Placement::ByKey => partition_for_key(key, self.partitions),
            Placement::ByProducer => {
                let partition = stream % self.partitions.unsigned_abs();
                PartitionIndex(partition.cast_signed())
            }
        }
    }

    /// Returns the stamp of a record that was read, having compared every byte with what was sent.
    ///
    /// # Errors
    /// What is wrong with it, and its stamp if it has one.
    pub fn check(&self, record: &RecordRead<'_>) -> Result<Stamp, (ContentFault, Option<Stamp>)> {
        let value = record.value.ok_or((ContentFault::Value, None))?;
        let stamped = match &self.source {
            Source::Generated { .. } => Some(value),
            Source::Rows { .. } => record.header,
        };
        let stamp = stamped.and_then(Stamp::read);
        let stamp = stamp.ok_or((ContentFault::Foreign, None))?;
        let fault = |fault| Err((fault, Some(stamp)));
        let key = record.key.ok_or((ContentFault::Key, Some(stamp)))?;
        match self.compare(stamp, key, value) {
            Err(found) => fault(found),
            Ok(()) if self.partition_of(stamp.stream, key) != record.partition => {
                fault(ContentFault::Partition)
            }
            Ok(()) => Ok(stamp),
        }
    }

    fn compare(&self, stamp: Stamp, key: &[u8], value: &[u8]) -> Result<(), ContentFault> {
        match &self.source {
            Source::Generated {
                keys,
                value_bytes,
                filler,
            } => {
                let mut expected = Vec::with_capacity(16);
                keys.write_key(keys.index(stamp.stream, stamp.sequence), &mut expected);
                if key != expected {
                    return Err(ContentFault::Key);
                }
                let rest = filler_of(filler, stamp, value_bytes - STAMP_BYTES);
                let is_same = value.len() == *value_bytes && value[STAMP_BYTES..] == *rest;
                is_same.then_some(()).ok_or(ContentFault::Value)
            }
            Source::Rows { rows, .. } => {
                let (expected_key, expected) = rows
                    .record(stamp.stream, stamp.sequence)
                    .ok_or(ContentFault::Foreign)?;
                if key != expected_key {
                    return Err(ContentFault::Key);
                }
                (value == expected).then_some(()).ok_or(ContentFault::Value)
            }
        }
    }
}

/// Returns the filler of a record: neighbours have different ones.
fn filler_of(filler: &[u8], stamp: Stamp, bytes: usize) -> &[u8] {
    let start = mix(stamp.sequence ^ (u64::from(stamp.stream) << 40)) % FILLERS as u64;
    let start = usize::try_from(start).expect("below the number of fillers");
    &filler[start..start + bytes]
}

#[cfg(test)]
mod tests;
