//! What must hold: of every append, of every state, and of what one undisturbed session makes of any state.
//!
//! A log must rise by batches. That says at once that nothing is written twice, that what arrives late is never out of
//! order, and that a batch given up is written in its place or not at all.

use super::frame::Frame;
use super::model::Model;
use super::rules::{PARTITIONS, Split};
use super::world::{Batch, World};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A frame bears a written number and other records.
    OtherRecords { batch: Batch, partition: usize },
    /// A record is written a second time.
    WrittenTwice { batch: Batch, partition: usize },
    /// A batch is written behind a later one of the same partition.
    OutOfOrder { batch: Batch, partition: usize },
    /// A batch is acknowledged of which a record may still be lost.
    AcknowledgedBeforeDurable { batch: Batch },
    /// A record of an acknowledged batch is in no log.
    AcknowledgedButLost { batch: Batch },
    /// One undisturbed session does not settle a batch.
    Stuck { batch: Batch },
}

/// Checks what a leader is about to append.
pub(crate) fn check_append(
    world: &World,
    partition: usize,
    frame: &Frame,
) -> Result<(), Violation> {
    let batch = world.batch_of(frame.epoch, frame.number);
    for leader in &world.leaders {
        for entry in leader.log() {
            let is_same = world.batch_of(entry.epoch, entry.number) == batch;
            if is_same && entry.records & frame.records != 0 {
                return Err(Violation::WrittenTwice { batch, partition });
            }
        }
    }
    let last = world.leaders[partition].log().last();
    if last.is_some_and(|last| world.batch_of(last.epoch, last.number) >= batch) {
        return Err(Violation::OutOfOrder { batch, partition });
    }
    Ok(())
}

/// Checks that every record of every acknowledged batch is durable.
pub(crate) fn check_acknowledged(world: &World) -> Result<(), Violation> {
    for batch in 0..world.batches_end() {
        if world.client.acknowledged >> batch & 1 == 0 {
            continue;
        }
        let (mut durable, mut written) = (0, 0);
        for leader in &world.leaders {
            for (place, entry) in leader.log().iter().enumerate() {
                if world.batch_of(entry.epoch, entry.number) == batch {
                    written |= entry.records;
                    if place < leader.durable().len() {
                        durable |= entry.records;
                    }
                }
            }
        }
        let records = world.records[usize::from(batch)];
        if written != records {
            return Err(Violation::AcknowledgedButLost { batch });
        }
        if durable != records {
            return Err(Violation::AcknowledgedBeforeDurable { batch });
        }
    }
    Ok(())
}

impl Model<'_> {
    /// Checks that one session, begun now and left undisturbed, has every batch acknowledged that is not settled yet.
    ///
    /// The session is pipelined: it sends all that it may before it hears of any answer.
    pub(crate) fn check_settles(&self, world: &World) -> Result<(), Violation> {
        let mut world = *world;
        let open_from = world.client.floor;
        let mut begins = true;
        while world.client.floor < world.batches_end() {
            let floor = world.client.floor;
            while self.send_undisturbed(&mut world, begins)? {
                begins = false;
            }
            self.hear_all_answers(&mut world);
            if world.client.floor == floor {
                return Err(Violation::Stuck { batch: floor });
            }
        }
        check_acknowledged(&world)?;
        let unsettled = |batch: &Batch| world.client.settled() >> batch & 1 == 0;
        match (open_from..world.batches_end()).find(unsettled) {
            Some(batch) => Err(Violation::Stuck { batch }),
            None => Ok(()),
        }
    }

    /// Sends the next request and has its parts arrive at once. Returns whether the client had one to send.
    fn send_undisturbed(&self, world: &mut World, begins: bool) -> Result<bool, Violation> {
        let sent = if begins {
            self.begin_session(world, 0, true)
        } else {
            self.send(world)
        };
        if !sent {
            return Ok(false);
        }
        let splits = self.splits(world, 0);
        let split: Split = splits[0];
        let parts = self.read(world, 0, split);
        for (partition, part) in parts.into_iter().enumerate() {
            let Some(header) = part else { continue };
            let frame = self.frame(world, header, partition);
            self.arrive(world, partition, &frame)?;
        }
        Ok(true)
    }

    fn hear_all_answers(&self, world: &mut World) {
        for partition in 0..PARTITIONS {
            while world.leaders[partition].sync(&self.rules) {}
        }
        for batch in world.client.floor..world.client.never_sent {
            let is_open = world.client.settled() >> batch & 1 == 0;
            if is_open && self.is_acknowledged(world, batch) {
                world.client.acknowledged |= 1 << batch;
            }
        }
        world.client.raise_floor();
    }
}
