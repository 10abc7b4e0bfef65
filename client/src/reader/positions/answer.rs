//! Takes what brokers say about partitions: records, errors that pass, errors that do not.

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatchHeader;
use std::time::Instant;

use super::super::ReadError;
use super::super::config::OutOfRange;
use super::{Arrived, PartitionAnswer, Positions, State, Wanted};
use crate::backoff::pause;

/// After so many answers in a row a topic that no broker knows counts as deleted: about 20 seconds.
const UNKNOWN_TOPIC_ANSWERS_MAX: u32 = 25;

/// After so many failures in a row the log says that a partition stands still.
const FAILURES_BEFORE_WARNING: u32 = 5;

impl Positions {
    /// Says that a request was answered, or never will be; its partitions are reported one by one.
    pub(crate) fn on_fetch_done(&mut self, broker: BrokerId) {
        self.under_way.remove(&broker);
    }

    /// Takes what a broker says about a partition; `None` if there is no answer.
    pub(crate) fn on_answer(
        &mut self,
        wanted: &Wanted,
        answer: Option<PartitionAnswer>,
        now: Instant,
    ) {
        let position = &mut self.all[wanted.index];
        if position.seeks != wanted.seeks || position.state != State::Fetching {
            return;
        }
        position.state = State::Idle;
        let code = answer.as_ref().map(|answer| answer.code);
        position.unknown_answers = match code {
            Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => {
                position.unknown_answers.saturating_add(1)
            }
            _ => 0,
        };
        let Some(answer) = answer else {
            self.is_metadata_stale = true;
            self.try_again(wanted.index, now);
            return;
        };
        match answer.code {
            ErrorCode::None => self.arrive(wanted.index, &answer, now),
            ErrorCode::OffsetOutOfRange => self.out_of_range(wanted.index, &answer),
            // Retriable for a producer. What lies damaged on a broker's disk stays so.
            ErrorCode::CorruptMessage => {
                let reason = "the broker says so of what it holds".to_owned();
                self.corrupt(wanted.index, reason);
            }
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId
                if position.unknown_answers > UNKNOWN_TOPIC_ANSWERS_MAX =>
            {
                let error = ReadError::UnknownTopic {
                    topic: position.topic.to_string(),
                    partition: position.partition,
                };
                self.fail(wanted.index, error);
            }
            code if code.is_retriable() || code == ErrorCode::UnknownServerError => {
                self.is_metadata_stale = true;
                self.try_again(wanted.index, now);
            }
            code => {
                let error = ReadError::Refused {
                    topic: position.topic.to_string(),
                    partition: position.partition,
                    code,
                };
                self.fail(wanted.index, error);
            }
        }
    }

    fn arrive(&mut self, index: usize, answer: &PartitionAnswer, now: Instant) {
        let position = &mut self.all[index];
        position.failures = 0;
        position.not_before = None;
        position.high_watermark = Some(answer.high_watermark);
        let (whole, end, fault) = whole_batches(&answer.records);
        if let Some(end) = end.filter(|&end| end > position.fetch_offset) {
            position.fetch_offset = end;
            self.buffered_bytes += whole;
            let batches = Arrived::Batches {
                index,
                seeks: position.seeks,
                high_watermark: answer.high_watermark,
                bytes: answer.records.slice(..whole),
            };
            self.push(batches);
        } else if let Some(reason) = fault {
            self.corrupt(index, reason);
        } else if whole > 0 {
            // Only records before the offset: asking again at once would bring the same.
            self.try_again(index, now);
        }
    }

    fn corrupt(&mut self, index: usize, reason: String) {
        let position = &self.all[index];
        let error = ReadError::Corrupt {
            topic: position.topic.to_string(),
            partition: position.partition,
            offset: position.fetch_offset,
            reason,
        };
        self.fail(index, error);
    }

    fn out_of_range(&mut self, index: usize, answer: &PartitionAnswer) {
        let position = &mut self.all[index];
        if self.config.out_of_range != OutOfRange::Fail {
            position.state = State::Resetting;
            return;
        }
        let error = ReadError::OffsetOutOfRange {
            topic: position.topic.to_string(),
            partition: position.partition,
            offset: position.fetch_offset,
            first: answer.log_start_offset,
            end: answer.high_watermark,
        };
        self.fail(index, error);
    }

    pub(super) fn try_again(&mut self, index: usize, now: Instant) {
        let position = &mut self.all[index];
        position.not_before = Some(now + pause(position.failures, &mut self.generator));
        position.failures = position.failures.saturating_add(1);
        if position.failures == FAILURES_BEFORE_WARNING {
            tracing::warn!(
                topic = &*position.topic,
                partition = %position.partition,
                offset = %position.fetch_offset,
                "partition cannot be read at the moment; the reader goes on trying"
            );
        }
    }
}

/// Returns how many bytes hold whole batches, the offset after the last of them, and what is wrong with the next.
fn whole_batches(records: &Bytes) -> (usize, Option<Offset>, Option<String>) {
    let mut whole = 0;
    let mut end = None;
    while whole < records.len() {
        let rest = &records[whole..];
        let header = match RecordBatchHeader::read(rest) {
            Ok(header) => header,
            // A broker may cut the last batch short; only if it is the first, nothing can ever be read.
            Err(error) => return (whole, end, Some(error.to_string())),
        };
        if header.size_bytes() > rest.len() {
            let reason = format!(
                "a batch of {} bytes was sent cut to {}",
                header.size_bytes(),
                rest.len()
            );
            return (whole, end, Some(reason));
        }
        whole += header.size_bytes();
        end = end.max(Some(header.end_offset()));
    }
    (whole, end, None)
}
