//! One thing to be sent: the frame it begins with, and the rest of its body.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::link::append::{Append, SubBatch};
use crate::link::call::{Call, Push, Reply};
use crate::link::lane::{Answer, Continue, Flow, Request};
use crate::link::limits::{APPEND_FRAME_BYTES_MAX, CHUNK_BYTES_MAX, ENTRY_COST_BYTES};
use crate::link::{Body, Correlation, Frame, append};

/// What a body begins with; its own length and bytes are filled in when it is sent.
#[derive(Debug)]
pub(super) enum Head {
    Request(Request),
    SubBatch(SubBatch),
    Answer(Answer),
    Call(Call),
    Reply(Reply),
    Push(Push),
}

impl Head {
    /// Returns the whole body.
    pub(super) fn body(&self) -> &Body {
        match self {
            Self::Request(request) => &request.chunk,
            Self::SubBatch(sub_batch) => &sub_batch.records,
            Self::Answer(answer) => &answer.chunk,
            Self::Call(call) => &call.chunk,
            Self::Reply(reply) => &reply.chunk,
            Self::Push(push) => &push.chunk,
        }
    }

    fn take_body(&mut self) -> Body {
        std::mem::take(match self {
            Self::Request(request) => &mut request.chunk,
            Self::SubBatch(sub_batch) => &mut sub_batch.records,
            Self::Answer(answer) => &mut answer.chunk,
            Self::Call(call) => &mut call.chunk,
            Self::Reply(reply) => &mut reply.chunk,
            Self::Push(push) => &mut push.chunk,
        })
    }

    pub(super) fn flow(&self) -> Flow {
        match self {
            Self::Request(request) => Flow::Lane(request.lane),
            Self::SubBatch(sub_batch) => Flow::Lane(sub_batch.lane),
            Self::Answer(answer) => Flow::Lane(answer.lane),
            Self::Call(call) => Flow::Call(call.correlation),
            Self::Reply(reply) => Flow::Call(reply.correlation),
            Self::Push(push) => Flow::Push(push.stream),
        }
    }

    pub(super) fn correlation(&self) -> Correlation {
        match self {
            Self::Request(request) => request.correlation,
            Self::SubBatch(sub_batch) => sub_batch.correlation,
            Self::Answer(answer) => answer.correlation,
            Self::Call(call) => call.correlation,
            Self::Reply(reply) => reply.correlation,
            Self::Push(_) => Correlation(0),
        }
    }
}

/// Something to be sent, whole or in part.
#[derive(Debug)]
pub(super) struct Entry {
    head: Head,
    pub(super) deadline: Option<Instant>,
    /// What is left of the body.
    first: Bytes,
    others: VecDeque<Bytes>,
    length: usize,
    sent: usize,
    /// Whether the credit for a sub-batch that is sent in chunks was spent.
    pub(super) is_paid: bool,
    /// Whether the receiver has room to put a long body together.
    pub(super) is_admitted: bool,
}

impl Entry {
    /// Returns an entry nothing of which was sent.
    pub(super) fn new(mut head: Head, deadline: Option<Instant>) -> Self {
        let body = head.take_body();
        let length = body.len();
        let (first, others) = body.into_slices();
        Self {
            length,
            first,
            others: others.into(),
            head,
            deadline,
            sent: 0,
            is_paid: false,
            is_admitted: false,
        }
    }

    pub(super) fn flow(&self) -> Flow {
        self.head.flow()
    }

    pub(super) fn correlation(&self) -> Correlation {
        self.head.correlation()
    }

    /// Returns the length of the whole body.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Returns whether a part was sent, and a part was not.
    pub(super) fn is_under_way(&self) -> bool {
        self.sent > 0
    }

    /// Returns whether the body goes in more than one chunk.
    pub(super) fn is_long(&self) -> bool {
        self.length > CHUNK_BYTES_MAX
    }

    /// Returns what the entry takes up of the queue.
    pub(super) fn queued_bytes(&self) -> usize {
        self.length - self.sent + ENTRY_COST_BYTES
    }

    /// Returns the bytes of the next chunk.
    pub(super) fn chunk_length(&self) -> usize {
        (self.length - self.sent).min(CHUNK_BYTES_MAX)
    }

    /// Returns what a sub-batch costs of the credit; `None` if it is paid, or something else.
    pub(super) fn unpaid_cost(&self) -> Option<usize> {
        let is_sub_batch = matches!(self.head, Head::SubBatch(_));
        (is_sub_batch && !self.is_paid).then(|| append::cost(self.length))
    }

    /// Returns what was spent on a sub-batch nothing of which was sent.
    pub(super) fn paid_in_vain(&self) -> Option<usize> {
        (self.is_paid && !self.is_under_way()).then(|| append::cost(self.length))
    }

    /// Returns whether a sub-batch must be sent in chunks.
    pub(super) fn exceeds_append_frame(&self) -> bool {
        append::cost(self.length) > APPEND_FRAME_BYTES_MAX
    }

    /// Returns whether the client counts on it though it has gone.
    pub(super) fn outlives_lane(&self) -> bool {
        matches!(&self.head, Head::SubBatch(sub_batch) if sub_batch.acks == 0)
    }

    /// Returns the frame with the next chunk.
    pub(super) fn next_chunk(&mut self, now: Instant) -> Frame {
        let at = self.sent;
        let chunk = self.cut(self.chunk_length());
        if at > 0 {
            let flow = self.flow();
            let at = wire_length(at);
            return Continue { flow, at, chunk }.into();
        }
        let time_left_ms = time_left_ms(self.deadline, now);
        self.first_chunk(chunk, time_left_ms)
    }

    /// Returns the frame of an answer short enough for one, which carries no time left.
    pub(super) fn into_answer(mut self) -> Frame {
        let chunk = self.cut(self.length);
        self.first_chunk(chunk, 0)
    }

    fn first_chunk(&self, chunk: Body, time_left_ms: u32) -> Frame {
        let body_length = wire_length(self.length);
        match &self.head {
            Head::Request(request) => Frame::Request(Request {
                body_length,
                chunk,
                time_left_ms,
                ..request.clone()
            }),
            Head::SubBatch(sub_batch) => Frame::Append(Append {
                sub_batches: vec![SubBatch {
                    records_length: body_length,
                    records: chunk,
                    time_left_ms,
                    ..sub_batch.clone()
                }],
            }),
            Head::Answer(answer) => Frame::Answer(Answer {
                body_length,
                chunk,
                ..answer.clone()
            }),
            Head::Call(call) => Frame::Call(Call {
                body_length,
                chunk,
                time_left_ms,
                ..call.clone()
            }),
            Head::Reply(reply) => Frame::Reply(Reply {
                body_length,
                chunk,
                ..reply.clone()
            }),
            Head::Push(push) => Frame::Push(Push {
                body_length,
                chunk,
                ..push.clone()
            }),
        }
    }

    /// Returns the whole sub-batch, for an append frame with others.
    ///
    /// # Panics
    /// When it is none, or was begun.
    pub(super) fn into_sub_batch(mut self, now: Instant) -> SubBatch {
        assert_eq!(self.sent, 0, "a sub-batch is sent whole or in chunks");
        let records = self.cut(self.length);
        let Head::SubBatch(sub_batch) = self.head else {
            unreachable!("only sub-batches are in an append frame");
        };
        SubBatch {
            records_length: wire_length(self.length),
            records,
            time_left_ms: time_left_ms(self.deadline, now),
            ..sub_batch
        }
    }

    fn cut(&mut self, count: usize) -> Body {
        let mut missing = count;
        let mut cut = Body::default();
        while missing > 0 {
            if self.first.len() > missing {
                cut.push(self.first.split_to(missing));
                break;
            }
            missing -= self.first.len();
            let next = self.others.pop_front().unwrap_or_default();
            assert!(
                missing == 0 || !next.is_empty(),
                "the slices are as long as the body"
            );
            cut.push(std::mem::replace(&mut self.first, next));
        }
        self.sent += count;
        cut
    }
}

fn wire_length(length: usize) -> u32 {
    u32::try_from(length).expect("bodies are bounded before they are queued")
}

fn time_left_ms(deadline: Option<Instant>, now: Instant) -> u32 {
    let left = deadline.map_or(0, |deadline| {
        deadline.saturating_duration_since(now).as_millis().max(1)
    });
    u32::try_from(left).unwrap_or(u32::MAX)
}
