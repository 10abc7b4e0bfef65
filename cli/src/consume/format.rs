//! How a consumed record is printed.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::arguments::OutputFormat;

/// What is printed of a record.
pub(super) struct PrintedRecord<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a Bytes>,
    pub(super) value: Option<&'a Bytes>,
    pub(super) headers: Vec<(&'a str, Option<&'a Bytes>)>,
}

/// Appends a record and its line end. An absent key or value prints as nothing, except in JSON.
pub(super) fn append(record: &PrintedRecord<'_>, format: OutputFormat, out: &mut Vec<u8>) {
    let or_empty = |bytes: Option<&Bytes>| bytes.cloned().unwrap_or_default();
    match format {
        OutputFormat::Value => out.extend_from_slice(&or_empty(record.value)),
        OutputFormat::KeyValue => {
            out.extend_from_slice(&or_empty(record.key));
            out.push(b'\t');
            out.extend_from_slice(&or_empty(record.value));
        }
        OutputFormat::Json => out.extend_from_slice(json(record).to_string().as_bytes()),
    }
    out.push(b'\n');
}

fn json(record: &PrintedRecord<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(record.topic));
    object.insert("partition".to_owned(), json!(record.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    object.insert("timestamp".to_owned(), json!(record.timestamp));
    object.insert("key".to_owned(), text(record.key));
    object.insert("value".to_owned(), text(record.value));
    if !record.headers.is_empty() {
        let headers = record.headers.iter();
        let headers = headers.map(|(name, value)| json!([name, text(*value)]));
        object.insert("headers".to_owned(), headers.collect());
    }
    Value::Object(object)
}

fn text(bytes: Option<&Bytes>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: OutputFormat, key: Option<&'static [u8]>, expected: &str) {
        let (key, value) = (key.map(Bytes::from_static), Bytes::from_static(b"a,\"b\""));
        let record = PrintedRecord {
            topic: "t",
            partition: 1,
            offset: 7,
            timestamp: 99,
            key: key.as_ref(),
            value: Some(&value),
            headers: vec![("h", None), ("h", Some(&value))],
        };
        let mut out = Vec::new();
        append(&record, format, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn a_value_is_printed_as_it_is() {
        check(OutputFormat::Value, Some(b"k"), "a,\"b\"\n");
        check(OutputFormat::KeyValue, Some(b"k"), "k\ta,\"b\"\n");
        check(OutputFormat::KeyValue, None, "\ta,\"b\"\n");
    }

    #[test]
    fn json_tells_absent_text_and_bytes_apart() {
        let rest = "\"offset\":7,\"partition\":1,\"timestamp\":99,\"topic\":\"t\",\"value\":\"a,\\\"b\\\"\"}\n";
        let headers = "\"headers\":[[\"h\",null],[\"h\",\"a,\\\"b\\\"\"]]";
        check(
            OutputFormat::Json,
            None,
            &format!("{{{headers},\"key\":null,{rest}"),
        );
        check(
            OutputFormat::Json,
            Some(b"\xff\x00"),
            &format!("{{{headers},\"key\":{{\"hex\":\"ff00\"}},{rest}"),
        );
    }
}
