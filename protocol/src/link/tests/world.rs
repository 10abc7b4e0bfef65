//! Two ends, two wires, and what a model expects of them; events are drawn from a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::frame::LENGTH_PREFIX_BYTES;
use crate::link::append::{Outcome, SubBatch};
use crate::link::call::{Call, Push, Reply};
use crate::link::lane::{Answer, Flow, LaneOpen, Request};
use crate::link::limits::{LINK_FRAME_BYTES_MAX, QUEUE_BYTES_FOR_CALLS};
use crate::link::{Body, Correlation, Frame, Inbox, Lane, NoRoom, Outbox, Withdrawn};

const STEPS: usize = 400;
const PATTERN_BYTES: usize = 7 << 20;
/// Stands in the model for the lane of what the node itself asks.
const NODE: Lane = Lane(0);
const CREDIT: usize = 3 << 20;
const QUEUE: usize = 4 << 20;

/// What goes wrong, so that it can be seen to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// A frame from the dialer does not arrive.
    Lost,
    /// A frame from the dialer arrives twice.
    Doubled,
    /// Two frames from the dialer change places.
    Swapped,
    /// An answer does not arrive.
    AnswerLost,
    /// Credit for a sub-batch is given back twice.
    CreditDoubled,
    /// Credit for a sub-batch is not given back.
    CreditLost,
    /// Something that was sent is said to have never been sent.
    FalselyNeverSent,
    /// A byte of a body is changed.
    Damaged,
}

impl Fault {
    pub(super) const ALL: &[Self] = &[
        Self::Lost,
        Self::Doubled,
        Self::Swapped,
        Self::AnswerLost,
        Self::CreditDoubled,
        Self::CreditLost,
        Self::FalselyNeverSent,
        Self::Damaged,
    ];
}

/// How often interesting things have happened.
#[derive(Debug, Default)]
pub(super) struct Seen {
    requests: usize,
    sub_batches: usize,
    in_chunks: usize,
    never_sent: usize,
    expired: usize,
    full: usize,
    woken: usize,
    closed_with_unsent: usize,
    outlived: usize,
    answers: usize,
    long_answers: usize,
    cancelled: usize,
    calls: usize,
    pushes: usize,
}

impl Seen {
    pub(super) fn add(&mut self, more: &Self) {
        for (mine, theirs) in self.counts().into_iter().zip(more.values()) {
            *mine += theirs;
        }
    }

    pub(super) fn is_everything(&self) -> bool {
        self.values().iter().all(|count| *count > 20)
    }

    fn counts(&mut self) -> [&mut usize; 14] {
        [
            &mut self.requests,
            &mut self.sub_batches,
            &mut self.in_chunks,
            &mut self.never_sent,
            &mut self.expired,
            &mut self.full,
            &mut self.woken,
            &mut self.closed_with_unsent,
            &mut self.outlived,
            &mut self.answers,
            &mut self.long_answers,
            &mut self.cancelled,
            &mut self.calls,
            &mut self.pushes,
        ]
    }

    fn values(&self) -> [usize; 14] {
        [
            self.requests,
            self.sub_batches,
            self.in_chunks,
            self.never_sent,
            self.expired,
            self.full,
            self.woken,
            self.closed_with_unsent,
            self.outlived,
            self.answers,
            self.long_answers,
            self.cancelled,
            self.calls,
            self.pushes,
        ]
    }
}

#[derive(Debug)]
struct Item {
    lane: Lane,
    length: usize,
    /// Whether it outlives its lane.
    is_unanswered: bool,
    has_arrived: bool,
    never_sent: bool,
    has_answer: bool,
}

/// Something that waits at the broker.
struct Work {
    lane: Lane,
    correlation: Correlation,
    records: Option<usize>,
}

/// A link and its model.
pub(super) struct World {
    random: u64,
    fault: Fault,
    is_faulty: bool,
    now: Instant,
    dialer: Outbox,
    dialer_in: Inbox,
    listener: Outbox,
    listener_in: Inbox,
    up: VecDeque<Frame>,
    down: VecDeque<Frame>,
    last: u64,
    items: BTreeMap<Correlation, Item>,
    last_arrived: BTreeMap<Lane, Correlation>,
    open: BTreeSet<Lane>,
    open_at_broker: BTreeSet<Lane>,
    answered: BTreeMap<Correlation, (Lane, usize)>,
    cancelled: BTreeSet<Correlation>,
    work: Vec<Work>,
    last_push: u16,
    last_push_arrived: [u16; 3],
    pattern: Bytes,
    seen: Seen,
}

type Checked = Result<(), String>;

impl World {
    pub(super) fn new(seed: u64, fault: Fault) -> Self {
        Self {
            pattern: PATTERN.get_or_init(pattern).clone(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            fault,
            is_faulty: false,
            now: start(),
            dialer: Outbox::with_queue_bytes_max(CREDIT, QUEUE),
            dialer_in: Inbox::dialer(),
            listener: Outbox::new(0),
            listener_in: Inbox::listener(CREDIT),
            up: VecDeque::new(),
            down: VecDeque::new(),
            last: 0,
            items: BTreeMap::new(),
            last_arrived: BTreeMap::new(),
            open: BTreeSet::new(),
            open_at_broker: BTreeSet::new(),
            answered: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            work: Vec::new(),
            last_push: 2,
            last_push_arrived: [0, 1, 2],
            seen: Seen::default(),
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        (next(&mut self.random) >> 11) % end
    }

    fn body(&self, correlation: Correlation, length: usize) -> Bytes {
        let at = (correlation.0 as usize * 7919) % (self.pattern.len() - length);
        self.pattern.slice(at..at + length)
    }

    pub(super) fn run(mut self) -> Result<Seen, String> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.drain()?;
        Ok(self.seen)
    }

    fn step(&mut self) -> Checked {
        match self.below(20) {
            0 if self.open.len() < 6 => self.open_lane(),
            1 => self.close_lane(),
            2..=6 => self.offer(),
            19 => self.push(),
            7 => self.withdraw(),
            8 => {
                let passed = self.below(400);
                self.now += Duration::from_millis(passed);
            }
            9..=12 => self.work_off()?,
            13..=16 => {
                let count = self.below(8);
                self.send_up(count);
                self.receive_up(count)?;
            }
            _ => {
                let count = self.below(8);
                self.send_down(count);
                self.receive_down(count)?;
            }
        }
        self.note_expired()?;
        self.note_woken();
        Ok(())
    }

    fn open_lane(&mut self) {
        let lane = self.dialer.open_lane(LaneOpen::default());
        self.dialer_in.open_lane(lane);
        self.open.insert(lane);
    }

    fn some_lane(&mut self) -> Option<Lane> {
        let place = self.below(self.open.len().max(1) as u64) as usize;
        self.open.iter().nth(place).copied()
    }

    fn close_lane(&mut self) {
        if self.below(3) > 0 {
            return;
        }
        let Some(lane) = self.some_lane() else {
            return;
        };
        self.open.remove(&lane);
        let never_sent = self.dialer.close_lane(lane);
        self.dialer_in.close_lane(lane);
        self.seen.closed_with_unsent += usize::from(!never_sent.is_empty());
        for correlation in never_sent {
            self.note_never_sent(correlation);
        }
    }

    fn note_never_sent(&mut self, correlation: Correlation) {
        self.seen.never_sent += 1;
        let item = self.items.get_mut(&correlation).expect("it was offered");
        assert!(!item.never_sent, "said twice");
        item.never_sent = true;
    }

    fn length(&mut self) -> usize {
        let most = [100, 5000, 70_000, 200_000, 1_000_000, 4 << 20];
        let kind = self.below(64).min(63) as usize;
        let most = most[[0, 1, 1, 2, 2, 3, 3, 4][kind / 8].max(usize::from(kind == 63) * 5)];
        self.below(most) as usize
    }

    fn offer(&mut self) {
        let Some(lane) = self.some_lane() else {
            return;
        };
        self.last += 1;
        let correlation = Correlation(self.last);
        let length = self.length();
        let deadline = self.now + Duration::from_millis(300 + self.below(5000));
        let body = Body::from_iter([
            self.body(correlation, length).slice(..length / 3),
            self.body(correlation, length).slice(length / 3..),
        ]);
        let kind = self.below(9);
        let refused = if kind == 8 {
            let call = Call {
                correlation,
                chunk: body,
                ..Call::default()
            };
            let queued = self.dialer.call(call, deadline);
            queued.err().map(|refused| refused.reason)
        } else if kind < 3 {
            let request = Request {
                lane,
                correlation,
                chunk: body,
                ..Request::default()
            };
            let queued = self.dialer.request(request, deadline);
            queued.err().map(|refused| refused.reason)
        } else {
            let sub_batch = SubBatch {
                lane,
                correlation,
                acks: if kind == 3 { 0 } else { -1 },
                records: body,
                ..SubBatch::default()
            };
            let queued = self.dialer.append(sub_batch, deadline);
            queued.err().map(|refused| refused.reason)
        };
        match refused {
            None => {
                let item = Item {
                    lane: if kind == 8 { NODE } else { lane },
                    length,
                    is_unanswered: kind == 3,
                    has_arrived: false,
                    never_sent: false,
                    has_answer: false,
                };
                self.items.insert(correlation, item);
            }
            Some(reason) => {
                assert_eq!(reason, NoRoom::Full);
                self.seen.full += 1;
            }
        }
    }

    fn withdraw(&mut self) {
        let place = self.below(self.items.len().max(1) as u64) as usize;
        let Some((&correlation, item)) = self.items.iter().nth(place) else {
            return;
        };
        let lane = item.lane;
        if item.never_sent || !(lane == NODE || self.open.contains(&lane)) {
            return;
        }
        let withdrawn = match self.below(2) {
            choice if choice == 0 || lane == NODE => {
                self.cancelled.insert(correlation);
                self.dialer.cancel(flow(lane, correlation), correlation)
            }
            _ => self.dialer.finish(lane, correlation),
        };
        if withdrawn == Withdrawn::NeverSent {
            self.seen.cancelled += 1;
            self.note_never_sent(correlation);
        }
    }

    fn note_expired(&mut self) -> Checked {
        for correlation in self.dialer.take_never_sent(self.now) {
            self.seen.expired += 1;
            self.note_never_sent(correlation);
        }
        let queued = self.dialer.queued_bytes();
        // Besides what is refused there are calls, and a few frames about lanes and cancels.
        if queued > QUEUE + QUEUE_BYTES_FOR_CALLS + (64 << 10) {
            return Err(format!("{queued} bytes are queued"));
        }
        Ok(())
    }

    fn note_woken(&mut self) {
        for lane in self.dialer.take_woken() {
            self.seen.woken += 1;
            self.dialer.forgo(lane);
        }
    }

    fn send_up(&mut self, count: u64) {
        for _ in 0..count {
            let Some(frame) = self.dialer.next_frame(self.now) else {
                break;
            };
            self.seen.in_chunks += usize::from(matches!(frame, Frame::Continue(_)));
            let is_time = !self.is_faulty && self.last > 10;
            match self.fault {
                Fault::Lost if is_time && carries(&frame) => self.is_faulty = true,
                Fault::Doubled if is_time && carries(&frame) => {
                    self.is_faulty = true;
                    self.up.extend([frame.clone(), frame]);
                }
                Fault::Damaged if is_time && carries(&frame) => {
                    let damaged = self.damage(frame);
                    self.up.push_back(damaged);
                }
                _ => self.up.push_back(frame),
            }
            let length = self.up.len();
            if self.fault == Fault::Swapped && length > 1 && is_time {
                let (last, other) = (&self.up[length - 1], &self.up[length - 2]);
                self.is_faulty = carries(last) && carries(other);
                if self.is_faulty {
                    self.up.swap(length - 1, length - 2);
                }
            }
            if self.fault == Fault::FalselyNeverSent && is_time {
                let sent = self.items.values_mut();
                let mut unsaid = sent.filter(|item| !item.never_sent && item.has_arrived);
                if let Some(item) = unsaid.next() {
                    item.never_sent = true;
                    self.is_faulty = true;
                }
            }
        }
    }

    fn damage(&mut self, mut frame: Frame) -> Frame {
        if let Frame::Continue(next) = &mut frame {
            let mut bytes = std::mem::take(&mut next.chunk).into_bytes().to_vec();
            bytes[0] ^= 1;
            next.chunk = Bytes::from(bytes).into();
            self.is_faulty = true;
        }
        frame
    }

    fn receive_up(&mut self, count: u64) -> Checked {
        for _ in 0..count {
            let Some(frame) = self.up.pop_front() else {
                break;
            };
            let frame = self.over_the_wire(&frame)?;
            let whole = self.listener_in.on_frame(frame);
            match whole.map_err(|violation| violation.to_string())? {
                Some(frame) => self.at_broker(frame)?,
                None => self.grant(),
            }
        }
        Ok(())
    }

    /// Encodes and decodes a frame, and holds its length against the bound.
    fn over_the_wire(&self, frame: &Frame) -> Result<Frame, String> {
        let segments = frame.encode().map_err(|error| error.to_string())?;
        let bytes = Bytes::from(segments.concat()).slice(LENGTH_PREFIX_BYTES..);
        if bytes.len() > LINK_FRAME_BYTES_MAX {
            return Err(format!("a {} of {} bytes", frame.name(), bytes.len()));
        }
        Frame::decode(bytes).map_err(|error| error.to_string())
    }

    fn at_broker(&mut self, frame: Frame) -> Checked {
        match frame {
            Frame::LaneOpen(open) => {
                self.listener.accept_lane(open.lane);
                self.open_at_broker.insert(open.lane);
            }
            Frame::LaneClose(close) => {
                self.listener.forget_lane(close.lane);
                self.open_at_broker.remove(&close.lane);
                self.grant();
            }
            Frame::Request(request) => {
                self.seen.requests += 1;
                self.arrived(request.lane, request.correlation, &request.chunk)?;
                self.work.push(Work {
                    lane: request.lane,
                    correlation: request.correlation,
                    records: None,
                });
            }
            Frame::Call(call) => {
                self.seen.calls += 1;
                self.arrived(NODE, call.correlation, &call.chunk)?;
                self.work.push(Work {
                    lane: NODE,
                    correlation: call.correlation,
                    records: None,
                });
            }
            Frame::Append(append) => {
                for part in append.sub_batches {
                    self.seen.sub_batches += 1;
                    self.arrived(part.lane, part.correlation, &part.records)?;
                    self.work.push(Work {
                        lane: part.lane,
                        correlation: part.correlation,
                        records: Some(part.records.len()),
                    });
                }
            }
            Frame::Cancel(cancel) => self.listener.drop_answer(cancel.flow, cancel.correlation),
            Frame::Finish(_) => {}
            other => return Err(format!("a {} arrived", other.name())),
        }
        Ok(())
    }

    fn arrived(&mut self, lane: Lane, correlation: Correlation, body: &Body) -> Checked {
        if lane != NODE && !self.open_at_broker.contains(&lane) {
            return Err(format!(
                "{correlation} of lane {lane} came while it was closed"
            ));
        }
        let before = self.last_arrived.insert(lane, correlation);
        // Calls overtake one another.
        let is_out_of_order = before.is_some_and(|before| before >= correlation) && lane != NODE;
        let has_arrived = self
            .items
            .get(&correlation)
            .is_some_and(|item| item.has_arrived);
        if is_out_of_order || has_arrived {
            return Err(format!(
                "{correlation} of lane {lane} came after {before:?}"
            ));
        }
        let item = self.items.get(&correlation).expect("it was offered");
        if item.never_sent {
            return Err(format!("{correlation} came and was said to be never sent"));
        }
        let expected = self.body(correlation, item.length);
        if body.clone().into_bytes() != expected || item.lane != lane {
            return Err(format!("{correlation} has changed on the way"));
        }
        let is_closed = !self.open.contains(&lane);
        self.seen.outlived += usize::from(is_closed && item.is_unanswered);
        let item = self.items.get_mut(&correlation).expect("it was there");
        item.has_arrived = true;
        Ok(())
    }

    fn work_off(&mut self) -> Checked {
        if self.work.is_empty() {
            return Ok(());
        }
        let place = self.below(self.work.len() as u64) as usize;
        let Work {
            lane,
            correlation,
            records,
        } = self.work.remove(place);
        let is_open = lane == NODE || self.open_at_broker.contains(&lane);
        if let Some(records) = records {
            let times = match self.fault {
                Fault::CreditDoubled if !self.is_faulty => 2,
                Fault::CreditLost if !self.is_faulty => 0,
                _ => 1,
            };
            self.is_faulty |= times != 1;
            if times > 0 {
                self.listener_in.release(records);
            }
            if times > 1 {
                self.listener.grant(records);
            }
            self.grant();
            self.listener.outcome(Outcome {
                lane,
                correlation,
                words: Some("é".repeat(400).into()),
                ..Outcome::default()
            });
            if is_open {
                self.answered.insert(correlation, (lane, 0));
            }
            return Ok(());
        }
        let length = self.length();
        self.seen.long_answers += usize::from(length > 64 << 10 && is_open);
        let chunk = Body::from(self.body(correlation, length));
        let queued = if lane == NODE {
            let reply = Reply {
                correlation,
                chunk,
                ..Reply::default()
            };
            self.listener.reply(reply).is_ok()
        } else {
            let answer = Answer {
                lane,
                correlation,
                chunk,
                ..Answer::default()
            };
            self.listener.answer(answer).is_ok()
        };
        if !queued {
            return Err(format!("the answer to {correlation} was not queued"));
        }
        if is_open {
            self.answered.insert(correlation, (lane, length));
        }
        Ok(())
    }

    fn grant(&mut self) {
        if let Some(bytes) = self.listener_in.take_grant() {
            self.listener.grant(bytes);
        }
    }

    fn send_down(&mut self, count: u64) {
        for _ in 0..count {
            let Some(frame) = self.listener.next_frame(self.now) else {
                break;
            };
            let is_lost = self.fault == Fault::AnswerLost && !self.is_faulty;
            if is_lost && matches!(frame, Frame::Answer(_) | Frame::Appended(_)) {
                self.is_faulty = true;
                continue;
            }
            self.down.push_back(frame);
        }
    }

    fn receive_down(&mut self, count: u64) -> Checked {
        for _ in 0..count {
            let Some(frame) = self.down.pop_front() else {
                break;
            };
            let frame = self.over_the_wire(&frame)?;
            let whole = self.dialer_in.on_frame(frame);
            match whole.map_err(|violation| violation.to_string())? {
                None => {}
                Some(Frame::Credit(credit)) => {
                    let counted = self.dialer.granted(&credit);
                    counted.map_err(|violation| violation.to_string())?;
                }
                Some(Frame::Answer(answer)) => {
                    self.answer_arrived(answer.lane, answer.correlation, &answer.chunk)?;
                }
                Some(Frame::Reply(reply)) => {
                    self.answer_arrived(NODE, reply.correlation, &reply.chunk)?;
                }
                Some(Frame::Push(push)) => self.push_arrived(&push)?,
                Some(Frame::Appended(appended)) => {
                    for outcome in appended.outcomes {
                        let body = Body::default();
                        self.answer_arrived(outcome.lane, outcome.correlation, &body)?;
                    }
                }
                Some(other) => return Err(format!("a {} arrived", other.name())),
            }
        }
        Ok(())
    }

    /// Pushes a body whose number is in its kind, on one of three streams.
    fn push(&mut self) {
        self.last_push += 1;
        let kind = self.last_push;
        let stream = u32::from(kind % 3);
        let length = self.length();
        let chunk = self.body(Correlation(u64::from(kind)), length).into();
        let push = Push {
            stream,
            kind,
            chunk,
            ..Push::default()
        };
        self.listener.push_item(push).expect("it is short enough");
    }

    fn push_arrived(&mut self, push: &Push) -> Checked {
        self.seen.pushes += 1;
        let expected = self.last_push_arrived[push.stream as usize] + 3;
        if push.kind != expected {
            return Err(format!("push {} came in place of {expected}", push.kind));
        }
        self.last_push_arrived[push.stream as usize] = push.kind;
        let body = push.chunk.clone().into_bytes();
        if body != self.body(Correlation(u64::from(push.kind)), body.len()) {
            return Err(format!("push {expected} has changed on the way"));
        }
        Ok(())
    }

    fn answer_arrived(&mut self, lane: Lane, correlation: Correlation, body: &Body) -> Checked {
        self.seen.answers += 1;
        let Some(&(expected_lane, length)) = self.answered.get(&correlation) else {
            return Err(format!("{correlation} was answered and never worked off"));
        };
        let expected = self.body(correlation, length);
        if body.clone().into_bytes() != expected || lane != expected_lane {
            return Err(format!("the answer to {correlation} has changed"));
        }
        if lane != NODE && !self.open.contains(&lane) {
            return Err(format!("{correlation} of closed lane {lane} was answered"));
        }
        let item = self.items.get_mut(&correlation).expect("it was offered");
        if std::mem::replace(&mut item.has_answer, true) {
            return Err(format!("{correlation} was answered twice"));
        }
        Ok(())
    }

    /// Lets everything come to its end, and checks that nothing is missing.
    fn drain(&mut self) -> Checked {
        for _ in 0..10_000 {
            self.send_up(20);
            self.receive_up(40)?;
            while !self.work.is_empty() {
                self.work_off()?;
            }
            self.send_down(20);
            self.receive_down(40)?;
            self.note_woken();
        }
        for (correlation, item) in &self.items {
            let Item {
                lane,
                has_arrived,
                never_sent,
                ..
            } = *item;
            if has_arrived == never_sent {
                return Err(format!(
                    "{correlation}: arrived {has_arrived}, never sent {never_sent}"
                ));
            }
            let is_closed = lane != NODE && !self.open.contains(&lane);
            let is_answered = item.has_answer || is_closed || never_sent;
            // An answer that is not wanted need not come.
            if !is_answered && !self.cancelled.contains(correlation) {
                return Err(format!("{correlation} of lane {lane} got no answer"));
            }
        }
        let rest = [
            self.dialer.queued_bytes(),
            self.listener.queued_bytes(),
            self.dialer.append_bytes_under_way(),
            self.dialer_in.assembled_bytes(),
            self.listener_in.assembled_bytes(),
        ];
        if rest != [0; 5] {
            return Err(format!("bytes are left over: {rest:?}"));
        }
        let pushes = self.last_push_arrived.iter().max();
        if pushes != Some(&self.last_push) {
            return Err(format!("push {} is missing", self.last_push));
        }
        if self.open != self.open_at_broker {
            return Err("not the same lanes are open".to_owned());
        }
        Ok(())
    }
}

/// Returns what a request of the model belongs to.
fn flow(lane: Lane, correlation: Correlation) -> Flow {
    match lane {
        NODE => Flow::Call(correlation),
        lane => Flow::Lane(lane),
    }
}

/// Returns whether a frame carries what must not get lost.
fn carries(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::Request(_) | Frame::Append(_) | Frame::Call(_) | Frame::Continue(_)
    )
}

static PATTERN: OnceLock<Bytes> = OnceLock::new();

/// Returns bytes of which all bodies are slices.
fn pattern() -> Bytes {
    let mut state = 1;
    let numbers = (0..PATTERN_BYTES / 8).map(|_| next(&mut state));
    numbers
        .flat_map(u64::to_ne_bytes)
        .collect::<Vec<u8>>()
        .into()
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
fn start() -> Instant {
    Instant::now()
}
