//! Produce: what the core wants done is done, in order.

use std::collections::VecDeque;

use keylane_protocol::link::{Fate, Lane};
use keylane_protocol::message::produce::ProduceRequest;

use super::lanes::{Item, Offered, Said};
use super::queue::State;
use super::{ConnectionError, Session, now};
use crate::deadline::Deadline;
use crate::limits::TIME_OUT_MAX;
use crate::mailbox::Asked;
use crate::plan::Place;
use crate::plan::produce::SubBatch;
use crate::producing::{ProduceEffect, Producing, RequestId};
use crate::routing::Moment;

impl Session {
    pub(super) fn begin_produce(
        &mut self,
        id: RequestId,
        request: ProduceRequest,
        version: i16,
    ) -> Result<(), ConnectionError> {
        let now = now();
        let meters = &self.runtime.shared.meters;
        if let Some(entry) = self.queue.get(id) {
            meters
                .wait
                .record(now.saturating_duration_since(entry.read_at));
        }
        let partitions = request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data);
        for records in partitions.filter_map(|partition| partition.records.as_ref()) {
            meters.produced.pass(std::iter::once(records));
        }
        let deadline = Deadline::own(now, request.timeout_ms);
        self.deadlines.insert(id, deadline.at);
        self.produce(|producing, moment, effects| {
            producing.on_request(id, (request, version), moment, effects);
        })
    }

    /// Lets something happen to the core, and does what it wants done.
    pub(super) fn produce(
        &mut self,
        happen: impl FnOnce(&mut Producing, Moment<'_>, &mut Vec<ProduceEffect>),
    ) -> Result<(), ConnectionError> {
        let routing = self.routing();
        let moment = Moment {
            routing: &routing,
            now: now(),
        };
        let mut effects = Vec::new();
        happen(&mut self.producing, moment, &mut effects);
        let mut effects = VecDeque::from(effects);
        let mut more = Vec::new();
        while let Some(effect) = effects.pop_front() {
            self.act_on_produce(effect, &mut more)?;
            effects.extend(more.drain(..));
        }
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
                    self.producing.on_unknown(&[missing].into(), more);
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
            ProduceEffect::Answer(id, response) => {
                self.deadlines.remove(&id);
                self.answer(id, &response)?;
            }
            ProduceEffect::Done(id) => {
                self.deadlines.remove(&id);
                self.queue.set(id, State::Silent);
            }
            ProduceEffect::Close { reason } => {
                return Err(ConnectionError::UnacknowledgedProduce { reason });
            }
        }
        Ok(())
    }

    fn send(&mut self, id: RequestId, sub_batch: SubBatch, more: &mut Vec<ProduceEffect>) {
        let (broker, place) = (sub_batch.broker, sub_batch.place);
        let deadline = self.deadlines.get(&id).copied();
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
