//! Steps of the topic, the client and the routers: sessions, requests, and the frames that routers make of them.

use super::frame::{Header, Request};
use super::model::{Model, Outcome, Step};
use super::rules::{PARTITIONS, Rules, Split};
use super::world::{Batch, Router, Session, World};

impl Model<'_> {
    pub(crate) fn topic_and_client(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        if self.scope.grows && world.partitions == 1 {
            let partitions = 2;
            visit(
                Step::Grow,
                Ok(World {
                    partitions,
                    ..*world
                }),
            );
        }
        let late = self.scope.routers_are_late;
        let connections: &[bool] = if late { &[true, false] } else { &[true] };
        for router in 0..if late { 2 } else { 1 } {
            for &on_new_connection in connections {
                let mut next = *world;
                if self.begin_session(&mut next, router, on_new_connection) {
                    let step = Step::BeginSession {
                        router,
                        on_new_connection,
                    };
                    self.sent(step, next, visit);
                }
            }
        }
        let mut next = *world;
        if self.send(&mut next) {
            self.sent(Step::Send, next, visit);
        }
        let mut next = *world;
        if self.scope.next_epoch && self.next_epoch(&mut next) {
            visit(Step::NextEpoch, Ok(next));
        }
    }

    /// Visits what was sent; unless routers are late, as their first one has read it.
    fn sent(&self, step: Step, sent: World, visit: &mut impl FnMut(Step, Outcome)) {
        if self.scope.routers_are_late {
            visit(step, Ok(sent));
            return;
        }
        for split in self.splits(&sent, 0) {
            let mut next = sent;
            self.read(&mut next, 0, split);
            visit(step, Ok(next));
        }
    }

    /// Begins a session. Returns whether the client may.
    pub(crate) fn begin_session(
        &self,
        world: &mut World,
        router: u8,
        on_new_connection: bool,
    ) -> bool {
        if on_new_connection {
            world.routers[usize::from(router)] = Router::default();
        }
        let client = &world.client;
        let batch = self
            .rules
            .session_begins_at(client.floor, client.never_sent);
        self.send_batch(world, router, batch, true)
    }

    /// Sends the next request of the session. Returns whether the client may.
    pub(crate) fn send(&self, world: &mut World) -> bool {
        let client = &world.client;
        let Some(Session { router, last }) = client.session else {
            return false;
        };
        let batch = self
            .rules
            .session_goes_on_with(last, client.floor, client.answered());
        self.send_batch(world, router, batch, false)
    }

    fn send_batch(&self, world: &mut World, router: u8, batch: Batch, is_first: bool) -> bool {
        let batches_end = world.batches_end();
        let client = &mut world.client;
        let may = batch < batches_end
            && self.rules.may_be_sent(batch, client.answered())
            && self
                .rules
                .is_within_window(batch, client.floor, client.answered());
        if !may {
            return false;
        }
        if batch >= client.never_sent {
            client.never_sent = batch + 1;
            client.split_by_two |= (world.partitions - 1) << batch;
        }
        client.session = Some(Session {
            router,
            last: batch,
        });
        let request = Request {
            is_first,
            epoch: client.epoch,
            number: client.number_of(batch),
            floor: client.number_of(client.floor),
            partitions: client.partitions_of(batch),
        };
        world.routers[usize::from(router)].receive(request)
    }

    fn next_epoch(&self, world: &mut World) -> bool {
        let batches_end = world.batches_end();
        let client = &mut world.client;
        let is_first = client.epoch == 0 && client.never_sent > 0 && client.floor < batches_end;
        if !is_first || !self.rules.may_begin_epoch(client.floor, client.never_sent) {
            return false;
        }
        client.epoch = 1;
        client.epoch_start = client.floor;
        client.never_sent = client.floor;
        client.split_by_two &= (1 << client.floor) - 1;
        client.session = None;
        true
    }

    pub(crate) fn routers(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        if !self.scope.routers_are_late {
            return;
        }
        for router in 0..2 {
            for split in self.splits(world, router) {
                let mut next = *world;
                self.read(&mut next, router, split);
                visit(Step::Read { router, split }, Ok(next));
            }
        }
    }

    /// Returns the ways to split what the router reads next; none if there is nothing.
    pub(crate) fn splits(&self, world: &World, router: u8) -> Vec<Split> {
        let unread = world.routers[usize::from(router)].next_unread();
        unread.map_or(Vec::new(), |request| {
            self.rules.splits(&request, world.partitions)
        })
    }

    /// Has a router read its oldest request and send its parts. Returns these, by partition.
    pub(crate) fn read(
        &self,
        world: &mut World,
        router: u8,
        split: Split,
    ) -> [Option<Header>; PARTITIONS] {
        let mut parts = [None; PARTITIONS];
        let router = &mut world.routers[usize::from(router)];
        let Some(request) = router.read() else {
            return parts;
        };
        if !self.rules.accepts(router.memory.as_ref(), &request) {
            router.memory = None;
            return parts;
        }
        let mut memory = router
            .memory
            .filter(|_| !request.is_first)
            .unwrap_or_default();
        memory.epoch = request.epoch;
        memory.last = request.number;
        memory.floor = request.floor;
        let batch = match request.epoch {
            0 => request.number,
            _ => request.number + world.client.epoch_start,
        };
        let records = world.records[usize::from(batch)];
        for (partition, part) in parts.iter_mut().enumerate() {
            // What the floor has passed is never named again.
            let touched = &mut memory.touched[partition];
            *touched = Rules::previous(*touched, request.floor);
            if Rules::part(split, records, partition) == 0 || split.skipped >> partition & 1 == 1 {
                continue;
            }
            let header = Header {
                epoch: request.epoch,
                number: request.number,
                previous: *touched,
                floor: request.floor,
                partitions: split.partitions,
            };
            world.frames[partition].insert(header);
            *touched = Some(request.number);
            *part = Some(header);
        }
        router.memory = Some(memory);
        parts
    }
}
