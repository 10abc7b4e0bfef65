//! Steps of the leaders, and of what the client hears: frames that arrive, logs that become durable or are cut, answers.

use super::frame::{Frame, Header};
use super::model::{Model, Outcome, Step};
use super::properties::{Violation, check_append};
use super::rules::{KEYLESS, PARTITIONS, Rules, Split, Verdict};
use super::world::{Batch, World};

impl Model<'_> {
    pub(crate) fn arrivals(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        for partition in 0..PARTITIONS {
            let frames = world.frames[partition].union(world.old_frames[partition]);
            for header in frames.iter(&self.headers) {
                let frame = self.frame(world, header, partition);
                if !self.changes_anything(world, partition, &frame) {
                    continue;
                }
                let mut next = *world;
                let outcome = self.arrive(&mut next, partition, &frame);
                visit(Step::Arrive { partition, frame }, outcome.map(|()| next));
            }
        }
    }

    /// Tells whether a frame that arrives is written, breaks what must hold, or tells of a higher floor.
    fn changes_anything(&self, world: &World, partition: usize, frame: &Frame) -> bool {
        let leader = &world.leaders[partition];
        match leader.judge(&self.rules, frame) {
            Verdict::Append | Verdict::OtherRecords => true,
            Verdict::Fenced => false,
            Verdict::Acknowledge | Verdict::Wait | Verdict::OutOfOrder => leader.has_news(frame),
        }
    }

    /// Returns the frame with the records that its header stands for.
    pub(crate) fn frame(&self, world: &World, header: Header, partition: usize) -> Frame {
        let split = Split {
            partitions: header.partitions,
            // A part that has the keyless records of its batch goes where they go.
            keyless: partition as u8,
            skipped: 0,
        };
        let batch = world.batch_of(header.epoch, header.number);
        Frame {
            epoch: header.epoch,
            number: header.number,
            previous: header.previous,
            floor: header.floor,
            records: Rules::part(split, world.records[usize::from(batch)], partition),
        }
    }

    /// Has the leader of a partition act on a frame.
    pub(crate) fn arrive(
        &self,
        world: &mut World,
        partition: usize,
        frame: &Frame,
    ) -> Result<(), Violation> {
        match world.leaders[partition].judge(&self.rules, frame) {
            Verdict::Append => {
                check_append(world, partition, frame)?;
                world.leaders[partition].append(&self.rules, frame);
            }
            Verdict::OtherRecords => {
                let batch = world.batch_of(frame.epoch, frame.number);
                return Err(Violation::OtherRecords { batch, partition });
            }
            Verdict::Fenced => {}
            Verdict::Acknowledge | Verdict::Wait | Verdict::OutOfOrder => {
                world.leaders[partition].hear(&self.rules, frame);
            }
        }
        Ok(())
    }

    pub(crate) fn leaders(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        for partition in 0..PARTITIONS {
            let mut next = *world;
            if next.leaders[partition].sync(&self.rules) {
                visit(Step::Sync { partition }, Ok(next));
            }
            let mut next = *world;
            if self.scope.loses_tails && next.leaders[partition].cut(&self.rules) {
                visit(Step::LoseTail { partition }, Ok(next));
            }
            if self.scope.leaders_restart {
                let mut next = *world;
                next.leaders[partition].restart(&self.rules);
                visit(Step::Restart { partition }, Ok(next));
            }
        }
    }

    pub(crate) fn answers(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        let client = &world.client;
        for batch in client.floor..client.never_sent {
            if client.settled() >> batch & 1 == 1 {
                continue;
            }
            if self.is_acknowledged(world, batch) {
                let mut next = *world;
                next.client.acknowledged |= 1 << batch;
                next.client.raise_floor();
                visit(Step::Acknowledge { batch }, Ok(next));
            }
            if self.scope.refuses {
                let mut next = *world;
                next.client.refused |= 1 << batch;
                next.client.raise_floor();
                visit(Step::Refuse { batch }, Ok(next));
            }
        }
        if self.scope.gives_up && client.floor < client.never_sent {
            let mut next = *world;
            next.client.floor += 1;
            next.client.raise_floor();
            visit(Step::GiveUp, Ok(next));
        }
    }

    /// Tells whether an answer may say that the batch is written: each part of one way to split it is acknowledged.
    ///
    /// That stays so once it is, so that an answer which arrives late is one that is asked for later.
    pub(crate) fn is_acknowledged(&self, world: &World, batch: Batch) -> bool {
        let records = world.records[usize::from(batch)];
        (1..=world.partitions).any(|partitions| {
            let acknowledged =
                |partition| self.part_is_acknowledged(world, batch, partitions, partition);
            if records == KEYLESS {
                return (0..PARTITIONS).any(acknowledged);
            }
            let split = Split {
                partitions,
                keyless: 0,
                skipped: 0,
            };
            let touches = |partition: &usize| Rules::part(split, records, *partition) != 0;
            (0..PARTITIONS).filter(touches).all(acknowledged)
        })
    }

    fn part_is_acknowledged(
        &self,
        world: &World,
        batch: Batch,
        partitions: u8,
        partition: usize,
    ) -> bool {
        let (epoch, number) = (world.client.epoch, world.client.number_of(batch));
        let frames = world.frames[partition].union(world.old_frames[partition]);
        let mut answers = (frames.iter(&self.headers)).filter(|header| {
            (header.epoch, header.number, header.partitions) == (epoch, number, partitions)
        });
        answers.any(|header| {
            let frame = self.frame(world, header, partition);
            world.leaders[partition].judge(&self.rules, &frame) == Verdict::Acknowledge
        })
    }
}
