//! The bound of a link's queue, and who waits for room in it: first come, first served, whatever the size.
//!
//! Who is refused waits with what it needs; when there is room it is set aside, and the flow told to try again. What
//! is set aside or waited for longer than the deadline is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::link::lane::Flow;

#[derive(Clone, Copy, Debug)]
struct Wish {
    size: usize,
    deadline: Instant,
    /// Its number among those who wait; `None` if room was set aside.
    ticket: Option<u64>,
}

/// The bytes in use, and those who want more.
#[derive(Debug)]
pub(super) struct Room {
    bytes_max: usize,
    used: usize,
    wishes: BTreeMap<Flow, Wish>,
    waiting: BTreeMap<u64, Flow>,
    deadlines: BTreeSet<(Instant, Flow)>,
    last_ticket: u64,
    woken: Vec<Flow>,
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            used: 0,
            wishes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            last_ticket: 0,
            woken: Vec::new(),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn is_full(&self) -> bool {
        self.used >= self.bytes_max
    }

    fn fits(&self, size: usize) -> bool {
        self.used == 0 || self.used.saturating_add(size) <= self.bytes_max
    }

    /// Takes room; what has none waits from then on, at its old place if it has waited before.
    pub(super) fn take(&mut self, flow: Flow, size: usize, deadline: Instant) -> bool {
        let wish = self.withdraw(flow);
        let is_next = match wish.map(|wish| wish.ticket) {
            Some(None) => true,
            Some(Some(ticket)) => self.waiting.range(..ticket).next().is_none(),
            None => self.waiting.is_empty(),
        };
        if is_next && self.fits(size) {
            self.used += size;
            // Room set aside may have been larger than what was taken.
            self.wake();
            return true;
        }
        let old_ticket = wish.and_then(|wish| wish.ticket);
        let ticket = old_ticket.unwrap_or_else(|| {
            self.last_ticket += 1;
            self.last_ticket
        });
        let ticket = Some(ticket);
        let wish = Wish {
            size,
            deadline,
            ticket,
        };
        self.add(flow, wish);
        self.wake();
        false
    }

    /// Takes room for what cannot be refused.
    pub(super) fn force(&mut self, size: usize) {
        self.used += size;
    }

    pub(super) fn give_back(&mut self, size: usize) {
        self.used -= size;
        self.wake();
    }

    /// Forgets that a flow wants room.
    pub(super) fn forgo(&mut self, flow: Flow) {
        self.withdraw(flow);
        self.wake();
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, flow)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.forgo(flow);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|entry| entry.0)
    }

    /// Returns the flows for which room was set aside since the last call.
    pub(super) fn take_woken(&mut self) -> Vec<Flow> {
        std::mem::take(&mut self.woken)
    }

    fn add(&mut self, flow: Flow, wish: Wish) {
        self.deadlines.insert((wish.deadline, flow));
        if let Some(ticket) = wish.ticket {
            self.waiting.insert(ticket, flow);
        }
        self.wishes.insert(flow, wish);
    }

    fn withdraw(&mut self, flow: Flow) -> Option<Wish> {
        let wish = self.wishes.remove(&flow)?;
        self.deadlines.remove(&(wish.deadline, flow));
        match wish.ticket {
            Some(ticket) => {
                self.waiting.remove(&ticket);
            }
            None => self.used -= wish.size,
        }
        Some(wish)
    }

    /// Sets room aside for those who have waited longest.
    fn wake(&mut self) {
        while let Some((&ticket, &flow)) = self.waiting.first_key_value() {
            let size = self.wishes[&flow].size;
            if !self.fits(size) {
                return;
            }
            self.waiting.remove(&ticket);
            self.used += size;
            if let Some(wish) = self.wishes.get_mut(&flow) {
                wish.ticket = None;
            }
            self.woken.push(flow);
        }
    }
}
