//! The bound of a link's queue, and who waits for room in it: first come, first served, whatever the size.
//!
//! Who is refused waits with what it needs; when there is room it is set aside, and the lane told to try again. What
//! is set aside or waited for longer than the deadline is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::link::Lane;

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
    wishes: BTreeMap<Lane, Wish>,
    waiting: BTreeMap<u64, Lane>,
    deadlines: BTreeSet<(Instant, Lane)>,
    last_ticket: u64,
    woken: Vec<Lane>,
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
    pub(super) fn take(&mut self, lane: Lane, size: usize, deadline: Instant) -> bool {
        let wish = self.withdraw(lane);
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
        self.add(lane, wish);
        self.wake();
        false
    }

    /// Takes room up to `extra` beyond the bound; what has none does not wait.
    pub(super) fn take_beyond(&mut self, size: usize, extra: usize) -> bool {
        let fits = self.used == 0 || self.used.saturating_add(size) <= self.bytes_max + extra;
        if fits {
            self.used += size;
        }
        fits
    }

    /// Takes room for what cannot be refused.
    pub(super) fn force(&mut self, size: usize) {
        self.used += size;
    }

    pub(super) fn give_back(&mut self, size: usize) {
        self.used -= size;
        self.wake();
    }

    /// Forgets that a lane wants room.
    pub(super) fn forgo(&mut self, lane: Lane) {
        self.withdraw(lane);
        self.wake();
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, lane)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.forgo(lane);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|entry| entry.0)
    }

    /// Returns the lanes for which room was set aside since the last call.
    pub(super) fn take_woken(&mut self) -> Vec<Lane> {
        std::mem::take(&mut self.woken)
    }

    fn add(&mut self, lane: Lane, wish: Wish) {
        self.deadlines.insert((wish.deadline, lane));
        if let Some(ticket) = wish.ticket {
            self.waiting.insert(ticket, lane);
        }
        self.wishes.insert(lane, wish);
    }

    fn withdraw(&mut self, lane: Lane) -> Option<Wish> {
        let wish = self.wishes.remove(&lane)?;
        self.deadlines.remove(&(wish.deadline, lane));
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
        while let Some((&ticket, &lane)) = self.waiting.first_key_value() {
            let size = self.wishes[&lane].size;
            if !self.fits(size) {
                return;
            }
            self.waiting.remove(&ticket);
            self.used += size;
            if let Some(wish) = self.wishes.get_mut(&lane) {
                wish.ticket = None;
            }
            self.woken.push(lane);
        }
    }
}
