//! Produce in the one version the null broker offers (9), read in place and answered without allocating.
//!
//! ```text
//! request   header, tags · transactional id · acks i16 · timeout i32 · topics [name · partitions [index i32 ·
//!           records · tags] · tags] · tags            lengths are compact: unsigned varint, plus one, 0 is null
//! response  length · correlation id · tags · topics [name · partitions [index · error i16 · base offset i64 · append
//!           time i64 · log start i64 · record errors [] · message null · tags] · tags] · throttle i32 · tags
//! ```

use std::ops::Range;

/// The version of Produce that is read here.
pub(super) const PRODUCE_VERSION: i16 = 9;

/// Bytes that are not what they should be. The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads a frame from front to back.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A batch in a request: where it goes, and where it lies in the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProducedBatch {
    pub(super) topic: Range<usize>,
    pub(super) partition: i32,
    pub(super) records: Range<usize>,
}

/// What is read before the topics.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProduceHead {
    pub(super) correlation_id: [u8; 4],
    pub(super) acks: i16,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.at..).ok_or(Malformed)?;
        let found = rest.first_chunk().ok_or(Malformed)?;
        self.at += N;
        Ok(*found)
    }

    fn varint(&mut self) -> Result<usize, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn skip(&mut self, bytes: usize) -> Result<Range<usize>, Malformed> {
        let end = self.at.checked_add(bytes).ok_or(Malformed)?;
        if end > self.bytes.len() {
            return Err(Malformed);
        }
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    /// Passes a compact string or bytes; null is empty.
    fn compact(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.varint()?;
        self.skip(length.saturating_sub(1))
    }

    fn tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Ok(())
    }

    /// Reads header and start of the body, after API key and version.
    pub(super) fn head(&mut self) -> Result<ProduceHead, Malformed> {
        let correlation_id = self.array()?;
        let client_id = i16::from_be_bytes(self.array()?);
        self.skip(usize::try_from(client_id).unwrap_or(0))?;
        self.tags()?;
        self.compact()?;
        let acks = i16::from_be_bytes(self.array()?);
        self.skip(4)?;
        Ok(ProduceHead {
            correlation_id,
            acks,
        })
    }

    /// Calls `on_batch` with each batch and writes what it returns into the answer.
    pub(super) fn topics(
        &mut self,
        answer: &mut Answer<'_>,
        mut on_batch: impl FnMut(ProducedBatch) -> Placed,
    ) -> Result<(), Malformed> {
        let topics = self.varint()?;
        answer.varint(topics);
        for _ in 1..topics {
            let topic = self.compact()?;
            answer.compact(&self.bytes[topic.clone()]);
            let partitions = self.varint()?;
            answer.varint(partitions);
            for _ in 1..partitions {
                let partition = i32::from_be_bytes(self.array()?);
                let records = self.compact()?;
                self.tags()?;
                let placed = on_batch(ProducedBatch {
                    topic: topic.clone(),
                    partition,
                    records,
                });
                answer.partition(partition, placed);
            }
            self.tags()?;
            answer.varint(0);
        }
        self.tags()
    }
}

/// What is told of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) error_code: i16,
    pub(super) base_offset: i64,
}

/// An answer that is being written behind others.
pub(super) struct Answer<'a> {
    output: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Answer<'a> {
    pub(super) fn begin(output: &'a mut Vec<u8>, correlation_id: [u8; 4]) -> Self {
        let start = output.len();
        output.extend_from_slice(&[0; 4]);
        output.extend_from_slice(&correlation_id);
        output.push(0);
        Self { output, start }
    }

    fn varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.output.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.output.push(value.to_le_bytes()[0]);
    }

    fn compact(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() + 1);
        self.output.extend_from_slice(bytes);
    }

    fn partition(&mut self, index: i32, placed: Placed) {
        self.output.extend_from_slice(&index.to_be_bytes());
        self.output
            .extend_from_slice(&placed.error_code.to_be_bytes());
        self.output
            .extend_from_slice(&placed.base_offset.to_be_bytes());
        self.output.extend_from_slice(&(-1_i64).to_be_bytes());
        self.output.extend_from_slice(&0_i64.to_be_bytes());
        self.output.extend_from_slice(&[1, 0, 0]);
    }

    /// Ends the answer.
    pub(super) fn end(self) -> Result<(), Malformed> {
        self.output.extend_from_slice(&[0; 5]);
        let length = self.output.len() - self.start - 4;
        let length = i32::try_from(length).map_err(|_| Malformed)?;
        self.output[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Takes back what was written.
    pub(super) fn discard(self) {
        self.output.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use bytestring::ByteString;
    use keylane_protocol::error_code::ErrorCode;
    use keylane_protocol::frame::{decode_response, request_frame};
    use keylane_protocol::identifiers::PartitionIndex;
    use keylane_protocol::message::produce::{
        ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic,
    };
    use keylane_protocol::offset::Offset;

    use super::*;

    fn request() -> Vec<u8> {
        let partition = |index, records: &'static [u8]| ProducePartition {
            index: PartitionIndex(index),
            records: Some(Bytes::from_static(records)),
        };
        let topic = |name: &str, partition_data| ProduceTopic {
            name: ByteString::from(name),
            partition_data,
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![
                topic("orders", vec![partition(3, b"abc"), partition(4, b"")]),
                topic("bills", vec![partition(0, b"defg")]),
            ],
        };
        let segments = request_frame(&request, PRODUCE_VERSION, 77, Some("client"));
        segments.expect("version 9 carries it").concat()
    }

    #[test]
    fn requests_of_the_codec_are_read_and_answers_are_read_by_it() {
        let request = request();
        let mut output = b"before".to_vec();
        let frame = &request[8..];
        let mut cursor = Cursor::new(frame);
        let head = cursor.head().expect("sound");
        assert_eq!((head.correlation_id, head.acks), ([0, 0, 0, 77], -1));
        let mut answer = Answer::begin(&mut output, head.correlation_id);
        let mut found = Vec::new();
        let read = cursor.topics(&mut answer, |batch| {
            found.push((&frame[batch.topic], batch.partition, &frame[batch.records]));
            Placed {
                error_code: if batch.partition == 4 { 2 } else { 0 },
                base_offset: 10 + i64::from(batch.partition),
            }
        });
        assert_eq!(read, Ok(()));
        answer.end().expect("short");
        assert_eq!(
            found,
            [
                (&b"orders"[..], 3, &b"abc"[..]),
                (b"orders", 4, b""),
                (b"bills", 0, b"defg")
            ]
        );
        let frame = Bytes::copy_from_slice(&output[10..]);
        let (header, response): (_, ProduceResponse) =
            decode_response(frame, PRODUCE_VERSION).expect("sound");
        assert_eq!(header.correlation_id, 77);
        let orders = &response.responses[0];
        assert_eq!(&*orders.name, "orders");
        assert_eq!(orders.partition_responses[0].base_offset, Offset(13));
        assert_eq!(
            orders.partition_responses[1].error_code,
            ErrorCode::CorruptMessage
        );
        assert_eq!(response.responses[1].partition_responses.len(), 1);
    }

    #[test]
    fn a_request_cut_short_anywhere_is_malformed() {
        let request = request();
        for end in 8..request.len() {
            let mut output = Vec::new();
            let mut cursor = Cursor::new(&request[8..end]);
            let read = cursor.head().and_then(|head| {
                let mut answer = Answer::begin(&mut output, head.correlation_id);
                cursor.topics(&mut answer, |_| Placed {
                    error_code: 0,
                    base_offset: 0,
                })
            });
            assert_eq!(read, Err(Malformed), "{end}");
        }
    }
}
