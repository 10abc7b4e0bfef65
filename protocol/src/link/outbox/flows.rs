//! Whose turn it is: a queue for each flow, and two rings of those with something to send.
//!
//! ```text
//! bodies    lane 3 ▸ call 9 ▸ lane 7 …      a chunk at a time, a quantum per turn (deficit round robin)
//! appends   lane 1 ▸ lane 4 ▸ lane 5 …      a quantum per turn into one frame, as far as the credit goes
//! ```
//! A flow is in the ring of what it sends next. In the appends the first to find no credit stops the others, so that a
//! large sub-batch is not passed for ever. Bodies of more than one chunk are admitted to their ring one after the other,
//! as far as the receiver has room to put them together.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::entry::Entry;
use crate::link::append::Append;
use crate::link::credit::Spending;
use crate::link::lane::Flow;
use crate::link::limits::{
    APPEND_FRAME_BYTES_MAX, ASSEMBLY_BYTES_MAX, CHUNK_BYTES_MAX, ENTRY_COST_BYTES, QUANTUM_BYTES,
};
use crate::link::{Correlation, Frame};

const _: () = assert!(QUANTUM_BYTES >= CHUNK_BYTES_MAX + ENTRY_COST_BYTES);

/// A frame to be sent.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) frame: Frame,
    /// Bytes that have left the queue.
    pub(super) freed: usize,
    /// What was sent to its end.
    pub(super) finished: Vec<Finished>,
}

/// An entry whose last byte was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub(super) flow: Flow,
    pub(super) correlation: Correlation,
    pub(super) deadline: Option<Instant>,
}

impl Finished {
    fn of(entry: &Entry) -> Self {
        Self {
            flow: entry.flow(),
            correlation: entry.correlation(),
            deadline: entry.deadline,
        }
    }
}

/// Flows in the order of their turns, in which any can be found.
#[derive(Debug, Default)]
struct Ring {
    turns: BTreeMap<u64, Flow>,
    last: u64,
}

impl Ring {
    fn push(&mut self, flow: Flow) -> u64 {
        self.last += 1;
        self.turns.insert(self.last, flow);
        self.last
    }

    fn first(&self) -> Option<Flow> {
        self.turns.first_key_value().map(|(_, flow)| *flow)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bodies,
    Appends,
    LongBodies,
}

fn kind(entry: &Entry) -> Kind {
    match entry.unpaid_cost() {
        Some(_) => Kind::Appends,
        None if entry.is_long() && !entry.is_admitted => Kind::LongBodies,
        None => Kind::Bodies,
    }
}

#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    deficit: usize,
    has_turn: bool,
    kind: Kind,
    turn: u64,
}

impl Queue {
    fn first(&mut self) -> &mut Entry {
        self.entries.front_mut().expect("a queue is never empty")
    }

    /// Gives the flow its quantum, once per turn.
    fn take_turn(&mut self) {
        if !self.has_turn {
            self.has_turn = true;
            self.deficit = self.deficit.saturating_add(QUANTUM_BYTES);
        }
    }
}

/// All that waits for its turn.
#[derive(Debug, Default)]
pub(super) struct Flows {
    queues: BTreeMap<Flow, Queue>,
    bodies: Ring,
    appends: Ring,
    /// Those whose long body was not admitted yet, in order.
    long_bodies: Ring,
    /// Bytes of long bodies admitted and not finished: what the receiver may hold in assembly.
    under_way: usize,
}

impl Flows {
    pub(super) fn contains(&self, flow: Flow) -> bool {
        self.queues.contains_key(&flow)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let flow = entry.flow();
        if let Some(queue) = self.queues.get_mut(&flow) {
            queue.entries.push_back(entry);
            return;
        }
        let kind = kind(&entry);
        let queue = Queue {
            turn: self.ring(kind).push(flow),
            kind,
            entries: VecDeque::from([entry]),
            deficit: 0,
            has_turn: false,
        };
        self.queues.insert(flow, queue);
    }

    fn ring(&mut self, kind: Kind) -> &mut Ring {
        match kind {
            Kind::Bodies => &mut self.bodies,
            Kind::Appends => &mut self.appends,
            Kind::LongBodies => &mut self.long_bodies,
        }
    }

    fn queue(&mut self, flow: Flow) -> &mut Queue {
        self.queues
            .get_mut(&flow)
            .expect("a ring's flow has a queue")
    }

    /// Ends a flow's turn.
    fn rotate(&mut self, flow: Flow) {
        let queue = self.queue(flow);
        queue.has_turn = false;
        let (kind, turn) = (queue.kind, queue.turn);
        let ring = self.ring(kind);
        ring.turns.remove(&turn);
        let turn = ring.push(flow);
        self.queue(flow).turn = turn;
    }

    /// Puts a flow whose first entry has changed where it belongs.
    fn settle(&mut self, flow: Flow) {
        let queue = self.queue(flow);
        let (old, turn) = (queue.kind, queue.turn);
        let new = queue.entries.front().map(kind);
        if new == Some(old) {
            return;
        }
        self.ring(old).turns.remove(&turn);
        let Some(new) = new else {
            self.queues.remove(&flow);
            return;
        };
        let turn = self.ring(new).push(flow);
        let queue = self.queue(flow);
        queue.kind = new;
        queue.turn = turn;
        queue.has_turn = false;
    }

    /// Returns the next chunk of a body, if there is any.
    pub(super) fn next_chunk(&mut self, now: Instant) -> Option<Cut> {
        self.admit_long_bodies();
        loop {
            let flow = self.bodies.first()?;
            let queue = self.queue(flow);
            queue.take_turn();
            let price = queue.first().chunk_length() + ENTRY_COST_BYTES;
            if queue.deficit >= price {
                queue.deficit -= price;
                return Some(self.cut_chunk(flow, now));
            }
            self.rotate(flow);
        }
    }

    /// Admits long bodies as far as the receiver has room for them, the longest alone.
    fn admit_long_bodies(&mut self) {
        while let Some(flow) = self.long_bodies.first() {
            let length = self.queue(flow).first().length();
            if self.under_way > 0 && self.under_way + length > ASSEMBLY_BYTES_MAX {
                return;
            }
            self.under_way += length;
            self.queue(flow).first().is_admitted = true;
            self.settle(flow);
        }
    }

    fn cut_chunk(&mut self, flow: Flow, now: Instant) -> Cut {
        let entry = self.queue(flow).first();
        let (before, length) = (entry.queued_bytes(), entry.length());
        let is_long = entry.is_long();
        let frame = entry.next_chunk(now);
        let is_last = entry.chunk_length() == 0;
        let after = entry.queued_bytes();
        let finished = Finished::of(entry);
        if !is_last {
            let freed = before - after;
            let finished = Vec::new();
            return Cut {
                frame,
                freed,
                finished,
            };
        }
        if is_long {
            self.under_way -= length;
        }
        self.queue(flow).entries.pop_front();
        self.settle(flow);
        let finished = vec![finished];
        Cut {
            frame,
            freed: before,
            finished,
        }
    }

    /// Returns the next append frame, filled from the lanes in turn, as far as the credit goes. A sub-batch for which a
    /// frame is too small is paid and moves to the bodies.
    pub(super) fn next_append(&mut self, now: Instant, credit: &mut Spending) -> Option<Cut> {
        let mut append = Append::default();
        let mut finished = Vec::new();
        let (mut size, mut freed) = (0, 0);
        while let Some(flow) = self.appends.first() {
            let queue = self.queue(flow);
            queue.take_turn();
            let deficit = queue.deficit;
            let entry = queue.first();
            let cost = entry.unpaid_cost().expect("only the unpaid are here");
            if entry.exceeds_append_frame() {
                if size > 0 || !credit.covers(cost) {
                    break;
                }
                credit.spend(cost);
                entry.is_paid = true;
                self.settle(flow);
                continue;
            }
            if deficit < cost {
                self.rotate(flow);
                continue;
            }
            if size + cost > APPEND_FRAME_BYTES_MAX || !credit.covers(cost) {
                break;
            }
            queue.deficit -= cost;
            let entry = queue.entries.pop_front().expect("it was just looked at");
            credit.spend(cost);
            size += cost;
            freed += entry.queued_bytes();
            finished.push(Finished::of(&entry));
            append.sub_batches.push(entry.into_sub_batch(now));
            self.settle(flow);
        }
        let frame = append.into();
        (size > 0).then_some(Cut {
            frame,
            freed,
            finished,
        })
    }

    /// Takes out an entry.
    pub(super) fn remove(&mut self, flow: Flow, correlation: Correlation) -> Option<Entry> {
        let entries = &mut self.queues.get_mut(&flow)?.entries;
        let is_it = |entry: &Entry| entry.correlation() == correlation;
        let entry = entries.remove(entries.iter().position(is_it)?)?;
        self.removed(&entry);
        self.settle(flow);
        Some(entry)
    }

    /// Takes out all entries of a flow that `is_dropped` says so of, in order.
    pub(super) fn remove_all(&mut self, flow: Flow, is_dropped: fn(&Entry) -> bool) -> Vec<Entry> {
        let Some(queue) = self.queues.get_mut(&flow) else {
            return Vec::new();
        };
        let entries = std::mem::take(&mut queue.entries);
        let (dropped, kept): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_dropped);
        queue.entries = kept.into();
        for entry in &dropped {
            self.removed(entry);
        }
        self.settle(flow);
        dropped
    }

    fn removed(&mut self, entry: &Entry) {
        if entry.is_admitted {
            self.under_way -= entry.length();
        }
    }

    /// Returns what was not sent to its end.
    pub(super) fn correlations(&self) -> Vec<Correlation> {
        let queues = self.queues.values();
        let entries = queues.flat_map(|queue| &queue.entries);
        entries.map(Entry::correlation).collect()
    }
}
