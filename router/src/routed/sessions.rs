//! The sessions of routed producers on one client connection: which number may come, and what touched each partition.
//!
//! A producer numbers its batches of a topic; below its *floor* everything is answered or given up. A session begins at
//! the floor and goes on without a hole, so that of each partition one number is enough: the largest of the session that
//! touched it. A number touches when its batch is split, *whatever becomes of it*: were one that was held, refused or
//! never sent forgotten, the leader would take a later one and refuse this one for ever, or take it behind the later.
//! What has no session begins one, so a session may be dropped at any time: at worst the producer is refused once.
//! A core: no clock, no I/O. `docs/routed-idempotence.md` says what leaders make of it.

use ahash::AHashMap;
use keylane_protocol::identifiers::{PartitionIndex, ProducerId, TopicId};
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::routed::NUMBERS_MAX;

use crate::limits::{ROUTED_SESSIONS_MAX, ROUTED_TOUCHES_MAX};

/// How many partitions a session remembers before it looks which of them are below its floor.
const SWEEP_AT_MIN: usize = 16;

/// Whose session: a producer numbers the batches of each topic by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The producer.
    pub producer_id: ProducerId,
    /// The topic.
    pub topic_id: TopicId,
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Whose it is.
    pub key: SessionKey,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// The batch's number.
    pub number: Sequence,
    /// Everything below is answered or given up.
    pub floor: Sequence,
    /// Whether a session begins.
    pub is_first: bool,
}

/// A number that was taken and has touched its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Which session of the connection it belongs to.
    pub session: u64,
    /// For each partition, in the order asked: the number that touched it before, if it is not below this request's
    /// floor; [`Sequence::NONE`] if there is none.
    pub previous: Vec<Sequence>,
}

/// Why a number is not taken. Its session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    /// A session begins above its floor: what lies between might come later.
    #[error("a session begins at its floor, {floor}, not at {number}")]
    NotAtFloor {
        /// The number.
        number: i32,
        /// The floor.
        floor: i32,
    },
    /// A number was left out or comes again.
    #[error("the session goes on with {expected}, not with {number}")]
    Hole {
        /// The number.
        number: i32,
        /// The one that may come.
        expected: i64,
    },
    /// Number, floor or epoch is negative.
    #[error(
        "number, floor and epoch are not negative, unlike number {number}, floor {floor}, epoch {epoch}"
    )]
    Negative {
        /// The number.
        number: i32,
        /// The floor.
        floor: i32,
        /// The epoch.
        epoch: i16,
    },
    /// The number is below the floor: it was answered or given up.
    #[error("the number {number} is below its floor, {floor}")]
    BelowFloor {
        /// The number.
        number: i32,
        /// The floor.
        floor: i32,
    },
    /// The number is too far above the floor.
    #[error("numbers reach to less than {NUMBERS_MAX} above the floor, {floor}, unlike {number}")]
    AboveWindow {
        /// The number.
        number: i32,
        /// The floor.
        floor: i32,
    },
    /// The floor is lower than it was.
    #[error("the floor falls from {before} to {floor}")]
    FloorFell {
        /// The floor.
        floor: i32,
        /// The floor before.
        before: i32,
    },
    /// The epoch is another than the session's.
    #[error("a session has one epoch, {before}, not {epoch} besides")]
    EpochChanged {
        /// The epoch.
        epoch: i16,
        /// The epoch before.
        before: i16,
    },
    /// The connection's sessions remember as much as they may.
    #[error(
        "the producers of this connection have touched {ROUTED_TOUCHES_MAX} partitions above their floors"
    )]
    TooMuchTouched,
}

#[derive(Debug)]
struct Session {
    /// Counts the sessions of the connection.
    serial: u64,
    epoch: ProducerEpoch,
    last: Sequence,
    floor: Sequence,
    /// The largest number of this session that touched a partition; some of those below the floor are still here.
    touched: AHashMap<PartitionIndex, Sequence>,
    /// At how many partitions those below the floor are dropped.
    sweep_at: usize,
    /// When it was used last, as a count of uses.
    used: u64,
}

/// The sessions of one client connection.
#[derive(Debug)]
pub struct Sessions {
    sessions: AHashMap<SessionKey, Session>,
    begun: u64,
    uses: u64,
    /// Partitions that all of them remember.
    touched: usize,
    sessions_max: usize,
    touched_max: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_bounds(ROUTED_SESSIONS_MAX, ROUTED_TOUCHES_MAX)
    }
}

impl Sessions {
    /// Returns no sessions yet, and bounds of their own: how many there are, and how many partitions all of them
    /// remember.
    #[must_use]
    pub fn with_bounds(sessions_max: usize, touched_max: usize) -> Self {
        Self {
            sessions: AHashMap::new(),
            begun: 0,
            uses: 0,
            touched: 0,
            sessions_max,
            touched_max,
        }
    }

    /// Takes a number whose batch has been split, and lets it touch the partitions it was split into, each named once.
    ///
    /// # Errors
    /// When the number may not come. Nothing of its batch may be sent; its session, if there is one, has ended.
    pub fn on_split(
        &mut self,
        numbered: &Numbered,
        partitions: impl ExactSizeIterator<Item = PartitionIndex>,
    ) -> Result<Touched, OutOfStep> {
        let taken = self.take(numbered, partitions.len());
        if taken.is_err() {
            self.end(numbered.key);
        }
        taken?;
        let session = self.sessions.get_mut(&numbered.key);
        let session = session.expect("it was begun or goes on");
        let before = session.touched.len();
        let previous = partitions
            .map(|partition| {
                let previous = session.touched.insert(partition, numbered.number);
                let counts = previous.filter(|previous| *previous >= numbered.floor);
                counts.unwrap_or(Sequence::NONE)
            })
            .collect();
        self.touched += session.touched.len() - before;
        Ok(Touched {
            session: session.serial,
            previous,
        })
    }

    /// Ends a session: a batch of it could not be split, so what it would have touched is not known.
    pub fn end(&mut self, key: SessionKey) {
        if let Some(ended) = self.sessions.remove(&key) {
            self.touched -= ended.touched.len();
        }
    }

    /// Ends a session if it is still the one of this number ([`Touched::session`]).
    pub fn end_this(&mut self, key: SessionKey, serial: u64) {
        let living = self.sessions.get(&key);
        if living.is_some_and(|session| session.serial == serial) {
            self.end(key);
        }
    }

    /// Returns how many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Tells whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Returns how many partitions are remembered, those of all sessions.
    #[must_use]
    pub fn touched(&self) -> usize {
        self.touched
    }

    /// Begins a session with this number, or goes on with it.
    fn take(&mut self, numbered: &Numbered, partitions: usize) -> Result<(), OutOfStep> {
        check_window(numbered)?;
        if numbered.is_first {
            self.end(numbered.key);
        }
        self.uses += 1;
        match self.sessions.get_mut(&numbered.key) {
            Some(session) => {
                session.go_on(numbered)?;
                session.used = self.uses;
                if session.touched.len() >= session.sweep_at {
                    self.touched -= session.sweep();
                }
            }
            None => self.begin(numbered)?,
        }
        self.make_room(partitions);
        if self.touched + partitions > self.touched_max {
            return Err(OutOfStep::TooMuchTouched);
        }
        Ok(())
    }

    fn begin(&mut self, numbered: &Numbered) -> Result<(), OutOfStep> {
        let (number, floor) = (numbered.number, numbered.floor);
        if number != floor {
            return Err(OutOfStep::NotAtFloor {
                number: number.0,
                floor: floor.0,
            });
        }
        if self.sessions.len() >= self.sessions_max {
            self.retire();
        }
        self.begun += 1;
        let session = Session {
            serial: self.begun,
            epoch: numbered.epoch,
            last: number,
            floor,
            touched: AHashMap::new(),
            sweep_at: SWEEP_AT_MIN,
            used: self.uses,
        };
        self.sessions.insert(numbered.key, session);
        Ok(())
    }

    /// Forgets what is below floors, then sessions, until half of the room is free; only the last to be used stays in
    /// any case.
    fn make_room(&mut self, partitions: usize) {
        if self.touched + partitions <= self.touched_max {
            return;
        }
        for session in self.sessions.values_mut() {
            self.touched -= session.sweep();
        }
        while self.touched > self.touched_max / 2 && self.sessions.len() > 1 {
            self.retire();
        }
    }

    /// Ends the half of the sessions that was not used for longest: so many at a time, that finding them costs little
    /// for each.
    fn retire(&mut self) {
        let uses = self.sessions.values_mut().map(|session| session.used);
        let mut uses: Vec<u64> = uses.collect();
        let Some(middle) = uses.len().checked_sub(1).map(|last| last / 2) else {
            return;
        };
        let (_, middle, _) = uses.select_nth_unstable(middle);
        let middle = *middle;
        self.sessions.retain(|_, session| session.used > middle);
        let left = self.sessions.values_mut();
        self.touched = left.map(|session| session.touched.len()).sum();
    }
}

impl Session {
    fn go_on(&mut self, numbered: &Numbered) -> Result<(), OutOfStep> {
        if numbered.epoch != self.epoch {
            return Err(OutOfStep::EpochChanged {
                epoch: numbered.epoch.0,
                before: self.epoch.0,
            });
        }
        let (number, floor) = (numbered.number.0, numbered.floor.0);
        if floor < self.floor.0 {
            let before = self.floor.0;
            return Err(OutOfStep::FloorFell { floor, before });
        }
        // Beyond the last number there is none: then nothing may come.
        let expected = i64::from(floor).max(i64::from(self.last.0) + 1);
        if i64::from(number) != expected {
            return Err(OutOfStep::Hole { number, expected });
        }
        self.last = numbered.number;
        self.floor = numbered.floor;
        Ok(())
    }

    /// Forgets partitions that were touched last below the floor, and returns how many.
    fn sweep(&mut self) -> usize {
        let (before, floor) = (self.touched.len(), self.floor);
        self.touched.retain(|_, number| *number >= floor);
        self.sweep_at = SWEEP_AT_MIN.max(2 * self.touched.len());
        before - self.touched.len()
    }
}

/// Checks what no session has to be known for.
fn check_window(numbered: &Numbered) -> Result<(), OutOfStep> {
    let (number, floor) = (numbered.number.0, numbered.floor.0);
    let epoch = numbered.epoch.0;
    if number < 0 || floor < 0 || epoch < 0 {
        return Err(OutOfStep::Negative {
            number,
            floor,
            epoch,
        });
    }
    if number < floor {
        return Err(OutOfStep::BelowFloor { number, floor });
    }
    if number - floor >= NUMBERS_MAX {
        return Err(OutOfStep::AboveWindow { number, floor });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
