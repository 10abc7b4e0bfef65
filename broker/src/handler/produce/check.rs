//! Which batches a topic takes: one sound batch of magic 2, not too large, not of a transaction. Records are not decoded.

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::record_batch::{
    RecordBatch, RecordBatchError, RecordBatchHeader, TimestampType,
};
use keylane_protocol::routed::is_routed;

use crate::topics::Topic;

/// The first version that carries zstd (KIP-110).
const VERSION_ZSTD: i16 = 7;

/// A refusal of one partition's records.
pub(crate) struct Fault {
    pub code: ErrorCode,
    pub text: String,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// Returns the batch if it is one that this topic takes.
pub(crate) fn check(
    records: Option<Bytes>,
    topic: &Topic,
    version: i16,
) -> Result<RecordBatch, Fault> {
    let records = records
        .filter(|records| !records.is_empty())
        .ok_or_else(|| Fault::new(ErrorCode::InvalidRecord, "a record batch is missing"))?;
    let max = topic.settings.message_bytes_max;
    if u32::try_from(records.len()).map_or(true, |bytes| bytes > max) {
        return Err(Fault::new(
            ErrorCode::MessageTooLarge,
            format!(
                "the batch has {} bytes, and max.message.bytes of {} is {max}",
                records.len(),
                topic.name
            ),
        ));
    }
    let batch = RecordBatch::check(records).map_err(|error| batch_fault(&error))?;
    check_header(batch.header(), version)?;
    Ok(batch)
}

fn check_header(header: &RecordBatchHeader, version: i16) -> Result<(), Fault> {
    let invalid = |text: &str| Err(Fault::new(ErrorCode::InvalidRecord, text));
    if header.is_control() || header.is_transactional() {
        return invalid("transactions do not exist here yet: the batch is of one");
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Fault::new(
            ErrorCode::InvalidTimestamp,
            "only a broker may say that timestamps are those of the append",
        ));
    }
    if header.compression() == Ok(Compression::Zstd) && version < VERSION_ZSTD {
        return Err(Fault::new(
            ErrorCode::UnsupportedCompressionType,
            format!("zstd needs Produce version {VERSION_ZSTD}"),
        ));
    }
    let is_numbered = header.producer_id != ProducerId::NONE;
    if is_numbered && (header.producer_epoch.0 < 0 || header.base_sequence.0 < 0) {
        return invalid("a batch of a numbered producer needs its epoch and sequence");
    }
    // Routed producers number their batches by other rules, which a plain Produce does not know.
    if header.producer_id < ProducerId::NONE || is_routed(header.producer_id) {
        return Err(Fault::new(
            ErrorCode::InvalidProducerIdMapping,
            "the producer id is not one that InitProducerId gives",
        ));
    }
    Ok(())
}

fn batch_fault(error: &RecordBatchError) -> Fault {
    let code = match error {
        RecordBatchError::CorruptChecksum { .. } => ErrorCode::CorruptMessage,
        RecordBatchError::UnsupportedMagic { .. } => ErrorCode::UnsupportedForMessageFormat,
        RecordBatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
        _ => ErrorCode::InvalidRecord,
    };
    Fault::new(code, error.to_string())
}
