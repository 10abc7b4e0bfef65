//! One JSON object per line. The key is a field: a string's text, a number or boolean as it is written; `null` means
//! no key. A line that is no JSON object, or lacks the field, is a fault.

use bytes::Bytes;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::RowError;
use super::lines::{KeyAndValue, LineReader, without_byte_order_mark, without_line_end};

/// Returns the names on a dotted path: `user.id` is field `id` of the object in field `user`.
pub(super) fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

/// Returns the next line that is not blank.
pub(super) fn next(
    lines: &mut LineReader,
    path: Option<&[String]>,
) -> Result<Option<KeyAndValue>, RowError> {
    let mut row = Vec::new();
    loop {
        row.clear();
        if !lines.append(&mut row)? {
            return Ok(None);
        }
        if lines.line() == 1 {
            row.drain(..row.len() - without_byte_order_mark(&row).len());
        }
        row.truncate(without_line_end(&row).len());
        if !row.trim_ascii().is_empty() {
            break;
        }
    }
    let key = key_of(&row, path).map_err(|reason| RowError::Malformed {
        line: lines.line(),
        reason,
    })?;
    Ok(Some((key, Bytes::from(row))))
}

type Object<'a> = BTreeMap<String, &'a RawValue>;

fn key_of(row: &[u8], path: Option<&[String]>) -> Result<Option<Bytes>, String> {
    let mut object: Object<'_> =
        serde_json::from_slice(row).map_err(|error| format!("not a JSON object: {error}"))?;
    let Some((last, folders)) = path.and_then(|path| path.split_last()) else {
        return Ok(None);
    };
    for name in folders {
        let inner = field(&object, name)?.get();
        object = serde_json::from_str(inner)
            .map_err(|_| format!("field {name:?} is not an object, the key lies below it"))?;
    }
    let raw = field(&object, last)?.get();
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(raw)
                .map_err(|error| format!("field {last:?} is not valid text: {error}"))?;
            Ok(Some(Bytes::from(text)))
        }
        Some(b'{' | b'[') => Err(format!(
            "field {last:?} is an object or array, which is no key"
        )),
        Some(b'n') => Ok(None),
        _ => Ok(Some(Bytes::copy_from_slice(raw.as_bytes()))),
    }
}

fn field<'a>(object: &Object<'a>, name: &str) -> Result<&'a RawValue, String> {
    let missing = || format!("no field {name:?} for the key");
    object.get(name).copied().ok_or_else(missing)
}
