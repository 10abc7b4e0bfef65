//! The real cores against the rules, step by step: the leader's state in every state of the model, the router's sessions
//! over many sequences of requests.
//!
//! The only file here that knows real code. Where the cores may do otherwise than the rules and stay safe, it says so.

use std::collections::{HashSet, VecDeque};

use keylane_broker::partition::routed_state::{
    Judgement, Original, Refusal, RoutedBatch, RoutedLimits, RoutedProducers,
};
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::routed::PRODUCER_ID_MIN;
use keylane_router::routed::sessions::{Numbered, SessionKey, Sessions};

use super::bugs::Bug;
use super::frame::{BATCHES_MAX, Frame, Number, Request};
use super::leader::Leader;
use super::lone_leader::frames;
use super::rules::{Memory, PARTITIONS, Rules, Verdict};

/// The rules with a window that no number of the model leaves, as the real one is.
const RULES: Rules = Rules {
    window: 100,
    expiry: u8::MAX,
    bug: None,
};

/// What happens to a leader here. It loses the end of its log together with its process only.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(Frame),
    Sync,
    Crash { losing: u8 },
}

/// The rules' leader and the real one, which have gone the same way.
struct Pair {
    rules: Rules,
    leader: Leader,
    real: RoutedProducers,
}

impl Pair {
    fn after(rules: Rules, steps: &[Step]) -> Self {
        let mut pair = Self {
            rules,
            leader: Leader::default(),
            real: new_state(),
        };
        for step in steps {
            pair.take(*step);
        }
        pair
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Arrive(frame) => {
                let _compared = self.compare(&frame);
                match self.leader.judge(&self.rules, &frame) {
                    Verdict::Append => {
                        let base_offset = Offset(self.leader.log().len() as i64);
                        self.real.remember(&batch(&frame), base_offset, 0);
                        self.leader.append(&self.rules, &frame);
                    }
                    Verdict::Fenced => {}
                    _ => self.leader.hear(&self.rules, &frame),
                }
            }
            Step::Sync => {
                self.leader.sync(&self.rules);
                self.real
                    .on_durable(Offset(self.leader.durable().len() as i64));
            }
            Step::Crash { losing } => {
                for _ in 0..losing {
                    self.leader.cut(&self.rules);
                }
                self.leader.restart(&self.rules);
                self.recover();
            }
        }
    }

    fn recover(&mut self) {
        self.real = new_state();
        for (entry, offset) in self.leader.log().iter().zip(0..) {
            let header_only = RoutedBatch {
                epoch: ProducerEpoch(entry.epoch.into()),
                number: Sequence(entry.number.into()),
                floor: Sequence::NONE,
                previous: Sequence::NONE,
                ..batch(&frames().next().expect("there are frames"))
            };
            self.real.remember(&header_only, Offset(offset), 0);
        }
        self.real
            .on_durable(Offset(self.leader.durable().len() as i64));
    }

    /// Tells whether the real leader judges a frame as the rules do. It hears of the frame's floor by that.
    fn compare(&mut self, frame: &Frame) -> Result<(), String> {
        let verdict = self.leader.judge(&self.rules, frame);
        let judgement = self.real.judge(&batch(frame), 0);
        let agree = match (verdict, judgement) {
            (Verdict::Append, Judgement::Append)
            | (Verdict::Fenced, Judgement::Refused(Refusal::Fenced { .. }))
            | (Verdict::OutOfOrder, Judgement::Refused(Refusal::OutOfOrder { .. }))
            | (Verdict::OtherRecords, Judgement::Refused(Refusal::OtherContent { .. })) => true,
            // A leader may remember for longer than it must.
            (
                Verdict::Acknowledge | Verdict::Wait | Verdict::OutOfOrder,
                Judgement::Duplicate(original),
            ) => {
                self.is_original(frame, original)
                    && (verdict != Verdict::Wait || !self.is_durable(original))
                    && (verdict == Verdict::Wait || self.is_durable(original))
            }
            _ => false,
        };
        if agree {
            return Ok(());
        }
        Err(format!(
            "{frame:?}: {verdict:?} by the rules, {judgement:?} really"
        ))
    }

    fn is_original(&self, frame: &Frame, original: Original) -> bool {
        let entry = usize::try_from(original.base_offset.0).ok();
        let entry = entry.and_then(|place| self.leader.log().get(place));
        entry.is_some_and(|entry| (entry.epoch, entry.number) == (frame.epoch, frame.number))
    }

    fn is_durable(&self, original: Original) -> bool {
        original.end_offset.0 <= self.leader.durable().len() as i64
    }
}

fn new_state() -> RoutedProducers {
    RoutedProducers::new(RoutedLimits {
        producers_max: 1,
        expiry_ms: 1,
    })
}

fn sequence(number: Option<Number>) -> Sequence {
    number.map_or(Sequence::NONE, |number| Sequence(number.into()))
}

fn batch(frame: &Frame) -> RoutedBatch {
    RoutedBatch {
        producer_id: PRODUCER_ID_MIN,
        epoch: ProducerEpoch(frame.epoch.into()),
        number: sequence(Some(frame.number)),
        floor: sequence(Some(frame.floor)),
        previous: sequence(frame.previous),
        record_count: 1,
        crc: u32::from(frame.records),
    }
}

/// Compares the real leader with the rules in every state, and returns how often, or the first difference.
fn compare_leaders(rules: Rules) -> Result<u64, String> {
    let mut known = HashSet::from([Leader::default().fingerprint()]);
    let mut waiting = VecDeque::from([Vec::new()]);
    let mut compared = 0_u64;
    while let Some(way) = waiting.pop_front() {
        let mut pair = Pair::after(rules, &way);
        for frame in frames() {
            let has_news = pair.leader.has_news(&frame);
            let compare = pair.compare(&frame);
            compare.map_err(|difference| format!("after {way:?}: {difference}"))?;
            compared += 1;
            if has_news {
                pair = Pair::after(rules, &way);
            }
        }
        let crashes = (0..=BATCHES_MAX as u8).map(|losing| Step::Crash { losing });
        let steps = frames()
            .map(Step::Arrive)
            .chain([Step::Sync])
            .chain(crashes);
        for step in steps {
            let is_full = pair.leader.log().len() == BATCHES_MAX;
            let appends = |frame| pair.leader.judge(&rules, &frame) == Verdict::Append;
            if is_full && matches!(step, Step::Arrive(frame) if appends(frame)) {
                continue;
            }
            let mut next = Pair {
                rules,
                leader: pair.leader,
                real: new_state(),
            };
            next.take(step);
            if known.insert(next.leader.fingerprint()) {
                let mut longer = way.clone();
                longer.push(step);
                waiting.push_back(longer);
            }
        }
    }
    Ok(compared)
}

#[test]
fn the_real_leader_judges_as_the_rules_do_in_every_state() {
    match compare_leaders(RULES) {
        Ok(compared) => println!("{compared} judgements agree"),
        Err(difference) => panic!("{difference}"),
    }
}

#[test]
fn a_leader_that_breaks_a_rule_is_told_from_one_that_does_not() {
    for bug in [
        Bug::DuplicateBeforeDurable,
        Bug::LowerTakenForDuplicate,
        Bug::AboveLastUnchecked,
        Bug::NeitherAboveLastNorBelowFloor,
        Bug::EpochsSideBySide,
    ] {
        let broken = Rules {
            bug: Some(bug),
            ..RULES
        };
        assert!(compare_leaders(broken).is_err(), "{bug:?}");
    }
}

/// The rules' session and the real one.
struct Session {
    memory: Option<Memory>,
    real: Sessions,
}

impl Session {
    /// Sends both a request whose batch touches these partitions, and returns how they differ.
    fn compare(&mut self, request: &Request, touches: u8) -> Result<(), String> {
        let accepts = RULES.accepts(self.memory.as_ref(), request);
        // A request without a session begins one at its floor, marked or not: as if it had been marked.
        let begins = self.memory.is_none() && request.number == request.floor;
        let partitions = (0..PARTITIONS).filter(|partition| touches >> partition & 1 == 1);
        let partitions: Vec<usize> = partitions.collect();
        let indexes = partitions
            .iter()
            .map(|partition| PartitionIndex(*partition as i32));
        let real = self.real.on_split(&numbered(request), indexes);
        if !accepts && !begins {
            self.memory = None;
            return match real {
                Err(_) => Ok(()),
                Ok(touched) => Err(format!("{touched:?} really, refused by the rules")),
            };
        }
        let memory = self
            .memory
            .filter(|_| !request.is_first)
            .unwrap_or_default();
        let mut memory = Memory {
            epoch: request.epoch,
            last: request.number,
            floor: request.floor,
            ..memory
        };
        let previous = partitions.iter().map(|partition| {
            let touched = &mut memory.touched[*partition];
            let previous = Rules::previous(*touched, request.floor);
            *touched = Some(request.number);
            sequence(previous)
        });
        let previous: Vec<Sequence> = previous.collect();
        self.memory = Some(memory);
        match real {
            Ok(touched) if touched.previous == previous => Ok(()),
            real => Err(format!("{real:?} really, {previous:?} by the rules")),
        }
    }
}

fn numbered(request: &Request) -> Numbered {
    Numbered {
        key: SessionKey {
            producer_id: PRODUCER_ID_MIN,
            topic_id: TopicId([1; 16]),
        },
        epoch: ProducerEpoch(request.epoch.into()),
        number: sequence(Some(request.number)),
        floor: sequence(Some(request.floor)),
        is_first: request.is_first,
    }
}

#[test]
fn real_sessions_accept_and_remember_as_the_rules_do() {
    // What may come next, three times of four, and anything else.
    let mut state = 1_u64;
    let mut below = |end: u64| {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % end
    };
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut session = Session {
            memory: None,
            real: Sessions::default(),
        };
        let mut sent = Vec::new();
        for _ in 0..10 {
            let last = session.memory.map_or(0, |memory| memory.last + 1);
            let fits = below(4) > 0;
            let floor = if fits {
                last.saturating_sub(below(4) as u8)
            } else {
                below(8) as u8
            };
            let request = Request {
                is_first: below(6) == 0,
                epoch: u8::from(below(12) == 0),
                number: if fits { last } else { below(8) as u8 },
                floor,
                partitions: 2,
            };
            let touches = below(3) as u8 + 1;
            sent.push((request, touches));
            if let Err(difference) = session.compare(&request, touches) {
                panic!("after {sent:?}: {difference}");
            }
            accepted += u64::from(session.memory.is_some());
        }
    }
    println!("{accepted} of 200000 requests accepted");
    assert!(accepted > 50_000);
}
