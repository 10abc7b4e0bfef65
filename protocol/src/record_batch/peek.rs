//! Looks at the key of one record of an uncompressed batch that nobody has checked: a guess for statistics, nothing more.

use super::varint::{read_varint, read_varlong};

/// The bytes hold no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no record of which the key can be seen")]
pub struct NoSuchRecord;

/// Returns the key of a record, of which `before` lie in front of it in the batch; `None` is null. `records` are what
/// follows the batch's header. Of the records before it nothing but their lengths is read.
///
/// # Errors
/// When there is none, or it is damaged up to its key.
pub fn peek_key(records: &[u8], before: usize) -> Result<Option<&[u8]>, NoSuchRecord> {
    let mut rest = records;
    for _ in 0..before {
        take_record(&mut rest).ok_or(NoSuchRecord)?;
    }
    let mut fields = take_record(&mut rest).ok_or(NoSuchRecord)?;
    fields.split_off_first().ok_or(NoSuchRecord)?;
    read_varlong(&mut fields).ok_or(NoSuchRecord)?;
    read_varint(&mut fields).ok_or(NoSuchRecord)?;
    match read_varint(&mut fields) {
        Some(-1) => Ok(None),
        length => {
            let length = length.and_then(|length| usize::try_from(length).ok());
            let key = length.and_then(|length| fields.get(..length));
            key.map(Some).ok_or(NoSuchRecord)
        }
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_varint(rest)?).ok()?;
    rest.split_off(..length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::record_batch::{BatchProducer, HEADER_BYTES, NewRecord, RecordBatchBuilder};

    #[test]
    fn the_key_of_any_record_is_seen_and_of_none_behind_the_last() {
        let keys = [Some(&b"a"[..]), None, Some(b""), Some(&[7; 300])];
        let mut builder = RecordBatchBuilder::with_capacity(1000);
        for (key, timestamp) in keys.into_iter().zip([0, 7, i64::MAX, i64::MIN]) {
            builder.append(&NewRecord {
                timestamp,
                key,
                value: Some(&[1; 100]),
                ..NewRecord::default()
            });
        }
        let batch = builder.finish(Compression::None, BatchProducer::NONE);
        let batch = batch.unwrap();
        for (before, key) in keys.into_iter().enumerate() {
            assert_eq!(peek_key(&batch[HEADER_BYTES..], before), Ok(key));
        }
        assert_eq!(peek_key(&batch[HEADER_BYTES..], 4), Err(NoSuchRecord));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(0_u8.., 0..100), before in 0_usize..5) {
            let _ = peek_key(&bytes, before);
        }
    }
}
