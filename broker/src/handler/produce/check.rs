//! Which batches a topic takes: one sound batch of magic 2, not too large, not of a transaction. Records are not decoded.

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::Sequence;
use keylane_protocol::record_batch::{
    RecordBatch, RecordBatchError, RecordBatchHeader, TimestampType,
};
use keylane_protocol::routed::{NUMBERS_MAX, is_routed};

use crate::partition::routed_state::Routing;
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

/// How a batch came, which says who may have numbered it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// With a Produce of this version, also through a router.
    Plain(i16),
    /// As a part of a batch that a router split.
    Routed(Routing),
}

/// Returns the batch if it is one that this topic takes.
pub(crate) fn check(records: Option<Bytes>, topic: &Topic, way: Way) -> Result<RecordBatch, Fault> {
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
    check_header(batch.header())?;
    match way {
        Way::Plain(version) => check_plain(batch.header(), version)?,
        Way::Routed(routing) => check_routed(batch.header(), routing)?,
    }
    Ok(batch)
}

fn check_header(header: &RecordBatchHeader) -> Result<(), Fault> {
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
    let is_numbered = header.producer_id != ProducerId::NONE;
    if is_numbered && (header.producer_epoch.0 < 0 || header.base_sequence.0 < 0) {
        return invalid("a batch of a numbered producer needs its epoch and sequence");
    }
    Ok(())
}

fn check_plain(header: &RecordBatchHeader, version: i16) -> Result<(), Fault> {
    if header.compression() == Ok(Compression::Zstd) && version < VERSION_ZSTD {
        return Err(Fault::new(
            ErrorCode::UnsupportedCompressionType,
            format!("zstd needs Produce version {VERSION_ZSTD}"),
        ));
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

fn check_routed(header: &RecordBatchHeader, routing: Routing) -> Result<(), Fault> {
    if !is_routed(header.producer_id) {
        return Err(Fault::new(
            ErrorCode::InvalidProducerIdMapping,
            "the producer id is not one that InitRoutedProducer gives",
        ));
    }
    let number = header.base_sequence;
    let Routing { floor, previous } = routing;
    let is_within = floor.0 >= 0 && floor <= number && number.0 - floor.0 < NUMBERS_MAX;
    let is_behind = previous == Sequence::NONE || (floor <= previous && previous < number);
    if is_within && is_behind {
        return Ok(());
    }
    let text = format!(
        "number {number} with floor {floor} and previous number {previous}: the floor is at most the number and less than \
         {NUMBERS_MAX} below it, and the previous one, if there is one, lies between them"
    );
    Err(Fault::new(ErrorCode::InvalidRequest, text))
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
