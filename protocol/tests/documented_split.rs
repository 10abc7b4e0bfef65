//! The worked example of `docs/protocol.md`, to the byte: what is written there for other languages is what this code does.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{ProducerId, TopicId};
use keylane_protocol::message::Message;
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::primitive::{Decoder, Encoder};
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder};
use keylane_protocol::routed::split;

/// Returns the hexadecimal blocks of the document by their first line, `name:`. In them `|` and what follows it explains.
fn documented() -> BTreeMap<String, Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let document = std::fs::read_to_string(file).expect("the document");
    let blocks = document.split("```hex\n").skip(1);
    let decoded = blocks.map(|block| {
        let block = block.split("```").next().expect("the block");
        let (name, lines) = block.split_once(":\n").expect("a name");
        let digits = lines.lines().flat_map(|line| {
            let bytes = line.split('|').next().expect("the bytes");
            bytes.split_whitespace()
        });
        let bytes = digits.map(|byte| u8::from_str_radix(byte, 16).expect("two digits"));
        (name.to_owned(), bytes.collect())
    });
    decoded.collect()
}

fn request() -> RoutedProduceRequest {
    let mut builder = RecordBatchBuilder::with_capacity(256);
    let headers: [(&str, Option<&[u8]>); 1] = [("h", Some(b"1"))];
    for (timestamp, key, value, header_count) in [
        (1_700_000_000_000, Some("a"), "A", 0),
        (1_700_000_000_005, Some("c"), "C", 0),
        (1_700_000_000_002, None, "-", 0),
        (1_700_000_000_004, Some("b"), "B", 1),
    ] {
        builder.append(&NewRecord {
            timestamp,
            key: key.map(str::as_bytes),
            value: Some(value.as_bytes()),
            headers: &headers[..header_count],
        });
    }
    let producer = BatchProducer {
        id: ProducerId((1 << 62) + 5),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(7),
    };
    let records = builder.finish(Compression::None, producer);
    RoutedProduceRequest {
        topic_id: TopicId([0x11; 16]),
        partition_count: 4,
        floor: Sequence(6),
        is_first: false,
        timeout_ms: 30_000,
        records: Some(records.expect("memory suffices")),
    }
}

/// Prints bytes as they stand in the document, without what explains them.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_worked_example_is_what_this_code_does() {
    let documented = documented();
    let mut encoder = Encoder::new();
    request().encode(0, &mut encoder).expect("version 0");
    let body = encoder.into_segments().concat();
    println!("request:\n{}", hex(&body));
    let mut found = BTreeMap::from([("request".to_owned(), body.clone())]);
    let decoded = RoutedProduceRequest::decode(&mut Decoder::new(Bytes::from(body)), 0);
    let decoded = decoded.expect("what was encoded");
    let batch = RecordBatch::check(decoded.records.expect("records")).expect("sound");
    for part in split(&batch, decoded.partition_count).expect("sound") {
        println!("partition {}:\n{}", part.partition, hex(&part.batch));
        found.insert(format!("partition {}", part.partition), part.batch.to_vec());
    }
    for (name, bytes) in &found {
        let documented = documented.get(name).map(|bytes| hex(bytes));
        assert_eq!(documented.unwrap_or_default(), hex(bytes), "{name}");
    }
    assert_eq!(documented.len(), found.len());
}
