//! Produce and RoutedProduce: what the core wants done is done, in order.

use std::time::Instant;

use keylane_protocol::link::{Fate, Lane};
use keylane_protocol::message::produce::ProduceRequest;
use keylane_protocol::message::routed_produce::RoutedProduceRequest;

use super::lanes::{Item, Offered, Said};
use super::queue::State;
use super::{ConnectionError, Session, now};
use crate::limits::TIME_OUT_MAX;
use crate::mailbox::Asked;
use crate::merge::produce::ProduceAnswer;
use crate::plan::Place;
use crate::plan::produce::SubBatch;
use crate::producing::{ProduceEffect, Producing, RequestId};
use crate::routing::Moment;

impl Session {
    pub(super) fn begin_produce(
        &mut self,
        (id, read_at): (RequestId, Instant),
        request: ProduceRequest,
        version: i16,
    ) -> Result<(), ConnectionError> {
        self.on_produce_begun(read_at);
        let meters = &self.runtime.shared.meters;
        let partitions = request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data);
        for records in partitions.filter_map(|partition| partition.records.as_ref()) {
            meters.produced.pass(std::iter::once(records));
        }
        self.produce(|producing, moment, effects| {
            producing.on_request(id, (request, version), moment, effects);
        })
    }

    pub(super) fn begin_routed_produce(
        &mut self,
        (id, read_at): (RequestId, Instant),
        request: RoutedProduceRequest,
    ) -> Result<(), ConnectionError> {
        self.on_produce_begun(read_at);
        let meters = &self.runtime.shared.meters;
        meters.produced.pass(request.records.iter());
        self.produce(|producing, moment, effects| {
            producing.on_routed_request(id, request, moment, effects);
        })
    }

    fn on_produce_begun(&self, read_at: Instant) {
        let waited = now().saturating_duration_since(read_at);
        self.runtime.shared.meters.wait.record(waited);
    }

    /// Lets something happen to the core, and does what it wants done.
    pub(super) fn produce(
        &mut self,
        happen: impl FnOnce(&mut Producing, Moment<'_>, &mut Vec<ProduceEffect>),
    ) -> Result<(), ConnectionError> {
        // Kept, so that a small request needs none of its own.
        let mut effects = std::mem::take(&mut self.produce_effects);
        {
            let routing = self.runtime.routing.borrow();
            let moment = Moment {
                routing: &routing,
                now: now(),
            };
            happen(&mut self.producing, moment, &mut effects);
        }
        let mut more = Vec::new();
        while !effects.is_empty() {
            for effect in effects.drain(..) {
                self.act_on_produce(effect, &mut more)?;
            }
            std::mem::swap(&mut effects, &mut more);
        }
        self.produce_effects = effects;
        Ok(())
    }

    fn act_on_produce(
        &mut self,
        effect: ProduceEffect,
        more: &mut Vec<ProduceEffect>,
    ) -> Result<(), ConnectionError> {
        match effect {
            ProduceEffect::Send(id, sub_batch) => self.send(id, sub_batch, more),
            ProduceEffect::LookUp(missing) => {
                if self.runtime.look_up(&missing) {
                    let routing = self.runtime.routing.borrow();
                    let moment = Moment {
                        routing: &routing,
                        now: now(),
                    };
                    let unknown = [missing].into();
                    self.producing.on_unknown(&unknown, moment, more);
                }
            }
            ProduceEffect::Withdraw(id) => {
                let fates = self.lanes.cancel_all(id).into_iter();
                let fates: Vec<(Place, Fate)> = fates
                    .filter_map(|(asked, fate)| match asked {
                        Asked::Append(_, place) => Some((place, fate)),
                        Asked::Fetch(_) | Asked::Part(..) => None,
                    })
                    .collect();
                self.producing.on_withdrawn(id, &fates, more);
            }
            ProduceEffect::Answer(id, ProduceAnswer::Partitioned(response)) => {
                self.answer(id, &response)?;
            }
            ProduceEffect::Answer(id, ProduceAnswer::Routed(response)) => {
                self.answer(id, &response)?;
            }
            ProduceEffect::Done(id) => self.queue.set(id, State::Silent),
            ProduceEffect::Close { reason } => {
                return Err(ConnectionError::UnacknowledgedProduce { reason });
            }
        }
        Ok(())
    }

    fn send(&mut self, id: RequestId, sub_batch: SubBatch, more: &mut Vec<ProduceEffect>) {
        let (broker, place) = (sub_batch.broker, sub_batch.place);
        self.runtime
            .watch(&sub_batch, self.client.client_id.as_deref());
        let deadline = self.producing.deadline(id);
        let item = Item {
            asked: Asked::Append(id, place),
            // The lane fills its number in.
            said: Said::Append(sub_batch.on_lane(Lane(0))),
            deadline: deadline.unwrap_or_else(|| now() + TIME_OUT_MAX),
        };
        match self.lanes.offer(&self.runtime, broker, item) {
            Offered::Queued => {}
            Offered::Taken => self.producing.on_taken(id, place, more),
            Offered::Lost => {
                let place = (id, place);
                self.producing.on_lost(place, Fate::NeverSent, more);
            }
        }
    }
}
