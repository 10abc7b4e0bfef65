//! The state of the whole: one producer, two routers, the network, two partitions with their leaders.
//!
//! The client counts its batches through both epochs; what travels bears the number within the epoch. Steps are in
//! `steps.rs`, what must hold of a state in `properties.rs`.

use super::frame::{BATCHES_MAX, FrameSet, Number, Request};
use super::leader::{Leader, Packed};
use super::rules::{Answered, Memory, PARTITIONS, Records};

/// The place of a batch in the order in which its producer sent it.
pub(crate) type Batch = u8;

/// A set of batches.
pub(crate) type Batches = u8;

/// One state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    /// What each batch holds; 0 beyond the last.
    pub(crate) records: [Records; BATCHES_MAX],
    /// The number of partitions that the topic has.
    pub(crate) partitions: u8,
    pub(crate) client: Client,
    pub(crate) routers: [Router; 2],
    /// Frames on their way to each partition.
    pub(crate) frames: [FrameSet; PARTITIONS],
    /// Frames that are in their second lifetime. Empty where no time passes.
    pub(crate) old_frames: [FrameSet; PARTITIONS],
    pub(crate) leaders: [Leader; PARTITIONS],
}

/// What the client keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) epoch: u8,
    /// The first batch of this epoch.
    pub(crate) epoch_start: Batch,
    /// Everything below is answered or given up.
    pub(crate) floor: Batch,
    /// Everything from here on was never sent, and has no number yet.
    pub(crate) never_sent: Batch,
    pub(crate) acknowledged: Batches,
    pub(crate) refused: Batches,
    /// Batches that are split by two partitions.
    pub(crate) split_by_two: Batches,
    pub(crate) session: Option<Session>,
    /// Everything below was first sent a whole lifetime ago. 0 where no time passes.
    pub(crate) aged: Batch,
}

/// The session that the client sends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) router: u8,
    pub(crate) last: Batch,
}

/// A router: what it remembers of its session, and what lies on its connection that it has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Router {
    pub(crate) memory: Option<Memory>,
    unread: [Request; UNREAD_MAX],
    unread_end: u8,
    /// How many of the unread requests were sent a whole lifetime ago. 0 where no time passes.
    unread_aged: u8,
}

/// Requests that a connection holds before its router reads them.
pub(crate) const UNREAD_MAX: usize = 2;

impl World {
    pub(crate) fn new(records: &[Records], partitions: u8) -> Self {
        let mut world = Self {
            partitions,
            ..Self::default()
        };
        world.records[..records.len()].copy_from_slice(records);
        world
    }

    /// Returns how many batches there are in all.
    pub(crate) fn batches_end(&self) -> Batch {
        let used = self.records.iter().take_while(|records| **records != 0);
        used.count() as Batch
    }

    /// Returns numbers to find the state by in a table.
    pub(crate) fn fingerprint(&self) -> [u64; 10] {
        let [first, second] = &self.leaders;
        let [left, right] = &self.routers;
        let mut start = Packed(u64::from(self.partitions));
        for records in self.records {
            start.push(records, 8);
        }
        [
            first.fingerprint(),
            second.fingerprint(),
            self.client.fingerprint(),
            left.fingerprint(),
            right.fingerprint(),
            self.frames[0].bits(),
            self.frames[1].bits(),
            self.old_frames[0].bits(),
            self.old_frames[1].bits(),
            start.0,
        ]
    }

    /// Returns which batch a number of an epoch stands for.
    pub(crate) fn batch_of(&self, epoch: u8, number: Number) -> Batch {
        if epoch == 0 {
            number
        } else {
            number + self.client.epoch_start
        }
    }
}

impl Client {
    fn fingerprint(&self) -> u64 {
        let mut word = Packed::default();
        for batch in [self.epoch_start, self.floor, self.never_sent, self.aged] {
            word.push(batch, 5);
        }
        for batches in [self.acknowledged, self.refused, self.split_by_two] {
            word.push(batches, 16);
        }
        word.push(self.epoch, 2);
        word.push(self.session.map_or(0, |session| 1 + session.router), 3);
        word.push(self.session.map_or(0, |session| session.last), 4);
        word.0
    }

    /// Returns the batch's number in the present epoch.
    pub(crate) fn number_of(&self, batch: Batch) -> Number {
        batch - self.epoch_start
    }

    /// Returns the batches that are answered, well or not.
    pub(crate) fn settled(&self) -> Batches {
        self.acknowledged | self.refused
    }

    /// Returns which batches are answered, and how.
    pub(crate) fn answered(&self) -> Answered {
        Answered {
            acknowledged: self.acknowledged,
            refused: self.refused,
        }
    }

    /// Returns the number of partitions that the batch is split by.
    pub(crate) fn partitions_of(&self, batch: Batch) -> u8 {
        1 + (self.split_by_two >> batch & 1)
    }

    /// Moves the floor past what is answered.
    pub(crate) fn raise_floor(&mut self) {
        while self.settled() >> self.floor & 1 == 1 {
            self.floor += 1;
        }
        let gone = |session: Session| session.last + 1 < self.floor;
        if self.session.is_some_and(gone) {
            // All that matters of a last number is whether it is beyond the floor.
            self.session = self.session.map(|session| Session {
                last: self.floor - 1,
                ..session
            });
        }
    }
}

impl Router {
    fn fingerprint(&self) -> u64 {
        let mut word = Packed::default();
        for request in self.unread {
            word.push(u8::from(request.is_first), 2);
            word.push(request.epoch, 2);
            word.push(request.number, 4);
            word.push(request.floor, 4);
            word.push(request.partitions, 3);
        }
        word.push(self.unread_end, 5);
        word.push(self.unread_aged, 5);
        if let Some(memory) = self.memory {
            for touched in memory.touched {
                word.push(touched.map_or(0, |number| number + 1), 5);
            }
            word.push(memory.epoch + 1, 3);
            word.push(memory.last, 4);
            word.push(memory.floor, 4);
        }
        word.0
    }

    /// Puts a request behind what was not read yet. Returns whether there was room.
    pub(crate) fn receive(&mut self, request: Request) -> bool {
        let end = usize::from(self.unread_end);
        if end == UNREAD_MAX {
            return false;
        }
        self.unread[end] = request;
        self.unread_end += 1;
        true
    }

    /// Takes the oldest request that was not read yet.
    pub(crate) fn read(&mut self) -> Option<Request> {
        let end = self.unread_end.checked_sub(1)?;
        let oldest = self.unread[0];
        self.unread.rotate_left(1);
        self.unread_end = end;
        self.unread_aged = self.unread_aged.saturating_sub(1);
        self.unread[usize::from(end)] = Request::default();
        Some(oldest)
    }

    /// Returns the oldest request that was not read yet.
    pub(crate) fn next_unread(&self) -> Option<Request> {
        (self.unread_end > 0).then_some(self.unread[0])
    }

    /// Grows older by one lifetime: a connection on which a request has waited for longer is closed.
    pub(crate) fn tick(&mut self) {
        if self.unread_aged > 0 {
            *self = Self::default();
        }
        self.unread_aged = self.unread_end;
    }
}
