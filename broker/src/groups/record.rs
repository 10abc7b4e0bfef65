//! Batches of records about groups: built for the log of `__consumer_offsets`, and read back from it.
//!
//! What one request changes is one batch, so that all of it is in the log or nothing. What the records look like is in
//! [`keylane_protocol::group_record`].

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::group_record::{GroupRecord, GroupRecordError};
use keylane_protocol::offset::Offset;
use keylane_protocol::primitive::EncodeError;
use keylane_protocol::record_batch::{
    BatchProducer, InvalidRecords, NewRecord, RecordBatch, RecordBatchBuilder, RecordIterator,
};

use crate::limits::{GROUP_BATCH_BYTES_MAX, GROUP_BATCH_DECOMPRESSED_BYTES_MAX};

/// Why records cannot become a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A text is too long.
    #[error("a record of a group cannot be encoded: {source}")]
    Encode {
        /// Which.
        source: EncodeError,
    },
    /// The batch would be larger than the bound.
    #[error("records of a group take more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

/// Why a stored batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The batch is malformed.
    #[error(transparent)]
    Batch(#[from] InvalidRecords),
    /// A record has no key.
    #[error("the record of a group at offset {offset} has no key")]
    MissingKey {
        /// Which.
        offset: Offset,
    },
    /// Key or value is not what its version says.
    #[error("the record of a group at offset {offset}: {source}")]
    Record {
        /// Which.
        offset: Offset,
        /// What is wrong with it.
        source: GroupRecordError,
    },
}

/// Returns a batch of the records, none of them compressed, with the time as their timestamp.
///
/// # Errors
/// When a text is longer than 32,767 bytes, or the batch larger than [`GROUP_BATCH_BYTES_MAX`].
///
/// # Panics
/// When there are no records.
pub fn batch(records: &[GroupRecord], now_ms: i64) -> Result<Bytes, BatchError> {
    assert!(!records.is_empty(), "a batch holds at least one record");
    let encode = |source| BatchError::Encode { source };
    let mut builder = RecordBatchBuilder::with_capacity(0);
    for record in records {
        let key = record.key_bytes().map_err(encode)?;
        let value = record.value_bytes().map_err(encode)?;
        let record = NewRecord {
            timestamp: now_ms,
            key: Some(&key),
            value: value.as_deref(),
            headers: &[],
        };
        if builder.size_with(&record) > GROUP_BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge {
                limit: GROUP_BATCH_BYTES_MAX,
            });
        }
        builder.append(&record);
    }
    let batch = builder.finish(Compression::None, BatchProducer::NONE);
    Ok(batch.expect("nothing is compressed"))
}

/// Returns the records of a stored batch.
///
/// # Errors
/// When they cannot be decompressed. Each record is checked as it is reached.
pub fn read(batch: &RecordBatch) -> Result<StoredRecords, ReadError> {
    let records = match batch.header().is_control() {
        true => None,
        false => Some(batch.records(GROUP_BATCH_DECOMPRESSED_BYTES_MAX)?),
    };
    Ok(StoredRecords { records })
}

/// Yields records with their offsets, in order; passes over those of unknown kinds and markers; ends after the first error.
#[derive(Debug)]
pub struct StoredRecords {
    records: Option<RecordIterator>,
}

impl Iterator for StoredRecords {
    type Item = Result<(Offset, GroupRecord), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.read();
        if matches!(found, Some(Err(_))) {
            self.records = None;
        }
        found
    }
}

impl StoredRecords {
    fn read(&mut self) -> Option<Result<(Offset, GroupRecord), ReadError>> {
        for record in self.records.as_mut()? {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(Err(error.into())),
            };
            let offset = record.offset;
            let Some(key) = record.key else {
                return Some(Err(ReadError::MissingKey { offset }));
            };
            match GroupRecord::decode(&key, record.value.as_ref()) {
                Ok(Some(record)) => return Some(Ok((offset, record))),
                Ok(None) => {}
                Err(source) => return Some(Err(ReadError::Record { offset, source })),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::group_record::{
        GroupKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
    };
    use keylane_protocol::identifiers::PartitionIndex;
    use keylane_protocol::offset::LeaderEpoch;
    use keylane_protocol::record_batch::stamp;

    use super::*;

    fn committed(partition: i32, metadata: &str) -> GroupRecord {
        let key = OffsetCommitKey {
            group: "shop".into(),
            topic: "orders".into(),
            partition: PartitionIndex(partition),
        };
        let value = OffsetCommitValue {
            offset: Offset(5),
            metadata: metadata.into(),
            ..OffsetCommitValue::default()
        };
        GroupRecord::OffsetCommit(key, Some(value))
    }

    fn group() -> GroupKey {
        GroupKey {
            group: "shop".into(),
        }
    }

    fn stored(batch: &Bytes, base_offset: i64) -> RecordBatch {
        let mut bytes = batch.to_vec();
        stamp(&mut bytes, Offset(base_offset), LeaderEpoch(1));
        RecordBatch::check_stored(bytes.into()).expect("sound")
    }

    type RawRecord<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    /// Returns a batch of keys and values.
    fn raw(records: &[RawRecord<'_>]) -> Bytes {
        let mut builder = RecordBatchBuilder::with_capacity(0);
        for &(key, value) in records {
            builder.append(&NewRecord {
                key,
                value,
                ..NewRecord::default()
            });
        }
        let batch = builder.finish(Compression::None, BatchProducer::NONE);
        batch.expect("nothing is compressed")
    }

    #[test]
    fn the_records_of_a_request_are_one_batch_that_is_read_back_with_their_offsets() {
        let records = [
            committed(0, "a"),
            GroupRecord::GroupMetadata(group(), Some(GroupMetadataValue::default())),
            GroupRecord::GroupMetadata(group(), None),
        ];
        let batch = batch(&records, 1234).expect("short texts");
        let batch = stored(&batch, 70);
        assert_eq!(batch.header().record_count, 3);
        assert_eq!(batch.header().max_timestamp, 1234);
        let found = read(&batch).expect("not compressed");
        let found: Vec<_> = found.map(|record| record.expect("sound")).collect();
        let offsets = [Offset(70), Offset(71), Offset(72)];
        assert_eq!(found, Vec::from_iter(offsets.into_iter().zip(records)));
    }

    #[test]
    fn records_of_unknown_kinds_are_passed_over() {
        let known = committed(0, "").key_bytes().expect("short");
        let batch = raw(&[
            (Some(&[0, 16, 9]), Some(&[1])),
            (Some(&known), None),
            (Some(&[0x7f, 0xff]), None),
        ]);
        let found = read(&stored(&batch, 4)).expect("not compressed");
        let found: Vec<_> = found
            .map(|record| record.expect("sound"))
            .map(|(offset, record)| (offset, record.is_tombstone()))
            .collect();
        assert_eq!(found, [(Offset(5), true)]);
    }

    #[test]
    fn reading_ends_at_the_first_record_that_is_not_sound() {
        let key = committed(0, "").key_bytes().expect("short");
        for (bad_key, bad_value) in [
            (None, None),
            (Some(&[0_u8][..]), None),
            (Some(&key[..]), Some(&[0, 99][..])),
        ] {
            let batch = raw(&[(Some(&key), None), (bad_key, bad_value), (Some(&key), None)]);
            let mut found = read(&stored(&batch, 0)).expect("not compressed");
            assert!(matches!(found.next(), Some(Ok(_))));
            assert!(matches!(found.next(), Some(Err(_))), "{bad_key:?}");
            assert!(found.next().is_none());
        }
    }

    #[test]
    fn a_batch_larger_than_the_bound_is_refused() {
        let metadata = "x".repeat(30_000);
        let count = GROUP_BATCH_BYTES_MAX / 30_000 + 1;
        let records = vec![committed(0, &metadata); count];
        let limit = GROUP_BATCH_BYTES_MAX;
        assert_eq!(batch(&records, 0), Err(BatchError::TooLarge { limit }));
        assert!(batch(&records[..count / 2], 0).is_ok());
    }

    #[test]
    fn a_text_that_cannot_be_written_is_refused() {
        let record = committed(0, &"x".repeat(32_768));
        assert!(matches!(
            batch(&[record], 0),
            Err(BatchError::Encode { .. })
        ));
    }
}
