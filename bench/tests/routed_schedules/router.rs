//! Routers: the real sessions and the real split, with parts that are refused, held, lost, late and repeated.

use std::collections::BTreeMap;

use bytes::Bytes;
use keylane_broker::partition::routed_state::Routing;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::routed_produce::{
    RoutedProducePartition, RoutedProduceRequest, RoutedProduceResponse,
};
use keylane_protocol::offset::{Offset, Sequence};
use keylane_protocol::record_batch::RecordBatch;
use keylane_protocol::routed::{SplitBatch, split};
use keylane_router::producing::Producing;
use keylane_router::routed::sessions::{Numbered, SessionKey, Sessions};

use super::faults::Bug;
use super::whole_router::new_producing;
use super::world::{Event, LIFETIME_MS, Place, World};

const PARTS_TIMEOUT_MS: u64 = 2_000;

/// A request on its way to a router.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) serial: u64,
    pub(crate) sent_ms: u64,
    pub(crate) request: RoutedProduceRequest,
    /// The router lets its session begin above the floor, which is a bug.
    pub(crate) skips_check: bool,
}

/// A client's connection as its router has it.
pub(crate) struct Connection {
    producer: usize,
    pub(crate) router: usize,
    sessions: Sessions,
    /// What the real router has of it, in schedules that go through that.
    pub(crate) producing: Producing,
    /// When the last request of it is read.
    last_read_ms: u64,
    /// The client hears what is answered on it.
    pub(crate) is_heard: bool,
    /// Nothing more is read from it.
    is_dead: bool,
}

/// A request whose parts are on their way.
#[derive(Debug)]
pub(crate) struct Pending {
    connection: u64,
    partition_count: i32,
    parts: BTreeMap<PartitionIndex, Option<Result<i64, ErrorCode>>>,
}

/// What became of one part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) partition: PartitionIndex,
    pub(crate) outcome: Result<i64, ErrorCode>,
}

impl Part {
    pub(crate) fn written(partition: PartitionIndex, base_offset: i64) -> Self {
        Self {
            partition,
            outcome: Ok(base_offset),
        }
    }

    pub(crate) fn failed(partition: PartitionIndex, error: ErrorCode) -> Self {
        Self {
            partition,
            outcome: Err(error),
        }
    }
}

/// A part on its way to its leader.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) place: Place,
    pub(crate) request: u64,
    pub(crate) floor: Sequence,
    pub(crate) previous: Sequence,
    pub(crate) batch: Bytes,
    pub(crate) made_ms: u64,
}

impl Frame {
    pub(crate) fn routing(&self) -> Routing {
        Routing {
            floor: self.floor,
            previous: self.previous,
        }
    }
}

/// What a router does with one part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sent,
    /// It is refused for now, or held too long.
    Unsent,
    /// It is refused for good.
    Refused,
}

impl Connection {
    pub(crate) fn new(producer: usize, router: usize) -> Self {
        Self {
            producer,
            router,
            sessions: Sessions::default(),
            producing: new_producing(),
            last_read_ms: 0,
            is_heard: true,
            is_dead: false,
        }
    }
}

impl World {
    /// Lets a request travel to its router, behind those before it.
    pub(crate) fn travel(&mut self, connection: u64, request: Request) {
        let mut delay = self.chance.between(1, 10);
        if self.chance.happens(self.faults.stalls) {
            delay += self.chance.one_of(&[100, 4_000, LIFETIME_MS]);
        }
        let Some(on) = self.connections.get_mut(&connection) else {
            return;
        };
        on.last_read_ms = (self.now_ms + delay).max(on.last_read_ms);
        let delay = on.last_read_ms - self.now_ms;
        let request = Box::new(request);
        self.after(
            delay,
            Event::RequestArrives {
                connection,
                request,
            },
        );
    }

    /// Reads a request, splits it and sends its parts.
    pub(crate) fn read(&mut self, connection: u64, sent: &Request) {
        let Some(mut on) = self.connections.remove(&connection) else {
            return;
        };
        on.is_dead |= self.now_ms > sent.sent_ms + LIFETIME_MS;
        on.is_dead |= !on.is_heard && self.chance.happens(400);
        if !on.is_dead {
            self.tally.read_late += u64::from(!on.is_heard);
            if self.has_whole_routers {
                self.begin(&mut on, connection, sent);
                self.connections.insert(connection, on);
                return;
            }
            match self.split(&mut on, sent) {
                Ok(parts) => self.send_parts(&on, connection, sent, parts),
                Err(error) => self.refuse(&on, sent.serial, error),
            }
        }
        self.connections.insert(connection, on);
    }

    /// Splits a request. Returns each part, with the number that touched its partition before and what becomes of it.
    fn split(
        &mut self,
        on: &mut Connection,
        sent: &Request,
    ) -> Result<Vec<(SplitBatch, Sequence, Fate)>, ErrorCode> {
        let request = &sent.request;
        let batch = RecordBatch::check(request.records.clone().expect("there are some"));
        let batch = batch.expect("a producer makes sound batches");
        let header = *batch.header();
        let key = SessionKey {
            producer_id: header.producer_id,
            topic_id: request.topic_id,
        };
        let numbers = [
            header.base_sequence.0,
            request.floor.0,
            header.producer_epoch.0.into(),
        ];
        self.trace
            .note(self.now_ms, "a router reads", numbers.map(i64::from));
        self.trace
            .detail(&(on.producer, on.router, request.is_first, sent.serial));
        if self.chance.happens(self.faults.refusals) {
            on.sessions.end(key);
            return Err(self
                .chance
                .one_of(&[ErrorCode::InvalidRecord, ErrorCode::UnknownServerError]));
        }
        self.tally.epochs = self
            .tally
            .epochs
            .max(u64::from(header.producer_epoch.0.unsigned_abs()));
        let known = self.known_count(on.router, request);
        let count = match self.bug {
            Some(Bug::RouterSplitsByItsOwnCount) => known,
            _ => request.partition_count,
        };
        let mut parts = split(&batch, count).expect("a producer's batch can be split");
        if self.bug == Some(Bug::KeylessAtRandom) && is_keyless(&batch) {
            parts[0].partition =
                PartitionIndex(self.chance.below(count.unsigned_abs().into()) as i32);
        }
        let fates: Vec<Fate> = parts
            .iter()
            .map(|part| self.fate(part.partition, known))
            .collect();
        let mut counted: Vec<PartitionIndex> = parts.iter().map(|part| part.partition).collect();
        if self.bug == Some(Bug::TouchedOnlyWhenSent) {
            let mut fates = fates.iter();
            counted.retain(|_| fates.next() == Some(&Fate::Sent));
        }
        let numbered = Numbered {
            key,
            epoch: header.producer_epoch,
            number: header.base_sequence,
            floor: if sent.skips_check {
                header.base_sequence
            } else {
                request.floor
            },
            is_first: request.is_first,
        };
        let touched = on.sessions.on_split(&numbered, counted.iter().copied());
        self.tally.sessions_refused += u64::from(touched.is_err());
        let touched = touched.map_err(|_| ErrorCode::InvalidRequest)?;
        if self.chance.happens(self.faults.refusals) {
            return Err(self
                .chance
                .one_of(&[ErrorCode::MessageTooLarge, ErrorCode::NotLeaderOrFollower]));
        }
        let previous = |partition: PartitionIndex| {
            let place = counted.iter().position(|counted| *counted == partition);
            place.map_or(Sequence::NONE, |place| touched.previous[place])
        };
        let with_previous = parts.into_iter().zip(fates).map(|(part, fate)| {
            let previous = previous(part.partition);
            (part, previous, fate)
        });
        Ok(with_previous.collect())
    }

    fn known_count(&mut self, router: usize, request: &RoutedProduceRequest) -> i32 {
        let topic = self
            .topics
            .iter_mut()
            .find(|topic| topic.id == request.topic_id);
        let topic = topic.expect("topics stay");
        // Whoever asks teaches a router that it is behind; another time.
        let known = topic.known[router];
        self.tally.split_as_before += u64::from(request.partition_count < topic.partition_count);
        topic.known[router] = topic.partition_count;
        known
    }

    fn fate(&mut self, partition: PartitionIndex, known: i32) -> Fate {
        if partition.0 >= known {
            return Fate::Unsent;
        }
        match self.chance.happens(self.faults.unsent) {
            true if self.chance.happens(100) => Fate::Refused,
            true => Fate::Unsent,
            false => Fate::Sent,
        }
    }

    fn send_parts(
        &mut self,
        on: &Connection,
        connection: u64,
        sent: &Request,
        parts: Vec<(SplitBatch, Sequence, Fate)>,
    ) {
        let topic = self
            .topics
            .iter()
            .find(|topic| topic.id == sent.request.topic_id);
        let partition_count = topic.map_or(-1, |topic| topic.known[on.router]);
        let partitions = parts.iter().map(|(part, _, _)| (part.partition, None));
        let pending = Pending {
            connection,
            partition_count,
            parts: partitions.collect(),
        };
        self.pending.insert(sent.serial, pending);
        self.after(
            PARTS_TIMEOUT_MS,
            Event::RequestDue {
                request: sent.serial,
            },
        );
        for (part, previous, fate) in parts {
            let unsent = match fate {
                Fate::Sent => None,
                Fate::Unsent => Some(ErrorCode::NotLeaderOrFollower),
                Fate::Refused => Some(ErrorCode::MessageTooLarge),
            };
            let partition = part.partition;
            if let Some(error) = unsent {
                let part = Part::failed(partition, error);
                let delay = self.chance.one_of(&[0, 500]);
                self.after(
                    delay,
                    Event::PartAnswered {
                        request: sent.serial,
                        part,
                    },
                );
                continue;
            }
            let frame = Frame {
                place: (sent.request.topic_id, partition),
                request: sent.serial,
                floor: sent.request.floor,
                previous,
                batch: part.batch,
                made_ms: self.now_ms,
            };
            self.send_frame(frame);
        }
    }

    pub(crate) fn send_frame(&mut self, frame: Frame) {
        // Held, on its way for long, or both.
        let held = self.chance.happens(self.faults.unsent);
        let mut delay = self.chance.between(1, if held { 1_500 } else { 20 });
        if self.chance.happens(self.faults.late) {
            delay += self.chance.between(1, LIFETIME_MS);
        }
        if self.chance.happens(self.faults.repeated) {
            let again = self.chance.one_of(&[1, 300, LIFETIME_MS]);
            let delay = delay + self.chance.below(again);
            self.after(
                delay,
                Event::FrameArrives {
                    frame: Box::new(frame.clone()),
                },
            );
        }
        if !self.chance.happens(self.faults.lost) {
            self.after(
                delay,
                Event::FrameArrives {
                    frame: Box::new(frame),
                },
            );
        }
    }

    pub(crate) fn on_part(&mut self, request: u64, part: Part) {
        if self.on_outcome(request, part) {
            return;
        }
        let Some(pending) = self.pending.get_mut(&request) else {
            return;
        };
        if let Some(outcome) = pending.parts.get_mut(&part.partition) {
            outcome.get_or_insert(part.outcome);
        }
        if pending.parts.values().all(Option::is_some) {
            self.answer(request);
        }
    }

    pub(crate) fn on_due(&mut self, request: u64) {
        if self.pending.contains_key(&request) {
            self.answer(request);
        }
    }

    fn answer(&mut self, request: u64) {
        let Some(pending) = self.pending.remove(&request) else {
            return;
        };
        let partitions = pending.parts.into_iter().map(|(partition, outcome)| {
            let outcome = outcome.unwrap_or(Err(ErrorCode::RequestTimedOut));
            RoutedProducePartition {
                partition,
                error_code: outcome.err().unwrap_or(ErrorCode::None),
                base_offset: Offset(outcome.unwrap_or(-1)),
                ..Default::default()
            }
        });
        let answer = RoutedProduceResponse {
            partition_count: pending.partition_count,
            partitions: partitions.collect(),
            ..Default::default()
        };
        if let Some(on) = self.connections.remove(&pending.connection) {
            self.send_answer(&on, request, answer);
            self.connections.insert(pending.connection, on);
        }
    }

    fn refuse(&mut self, on: &Connection, request: u64, error_code: ErrorCode) {
        let answer = RoutedProduceResponse {
            error_code,
            ..Default::default()
        };
        let producer = on.producer;
        if on.is_heard {
            self.after(
                1,
                Event::AnswerArrives {
                    producer,
                    request,
                    answer: Box::new(answer),
                },
            );
        }
    }

    /// Sends an answer, which may overtake others.
    pub(crate) fn send_answer(
        &mut self,
        on: &Connection,
        request: u64,
        answer: RoutedProduceResponse,
    ) {
        let producer = on.producer;
        if !on.is_heard || self.chance.happens(self.faults.unanswered) {
            return;
        }
        let delay = self.chance.one_of(&[1, 5, 100]);
        self.after(
            delay,
            Event::AnswerArrives {
                producer,
                request,
                answer: Box::new(answer),
            },
        );
    }
}

fn is_keyless(batch: &RecordBatch) -> bool {
    let mut records = batch.records(1 << 16).expect("small");
    records.all(|record| record.expect("sound").key.is_none())
}
