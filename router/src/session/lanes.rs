//! The lanes of a session: one for each broker, opened when there is something for it.
//!
//! What a link has no room for waits here and is offered again, the same first, when there is: so order is kept, and
//! only who has something for that broker waits. It is bounded by what the client may have unanswered.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::append::SubBatch;
use keylane_protocol::link::lane::{Flow, LaneOpen, Request};
use keylane_protocol::link::{Correlation, Fate, Lane, NoRoom, NotQueued};
use keylane_protocol::rising::RisingMap;

use crate::link::{Asker, Uplink};
use crate::mailbox::{Asked, Mailbox};
use crate::plan::Place;
use crate::producing::RequestId;
use crate::runtime::Runtime;

/// What is said on a lane.
#[derive(Debug)]
pub(super) enum Said {
    Append(SubBatch),
    Request(Request),
}

/// Something for a broker.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) asked: Asked,
    pub(super) said: Said,
    pub(super) deadline: Instant,
}

/// What a session is to be told of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is under way, or waits; more will be told.
    Queued,
    /// It leaves, and nothing more will be told: records without acknowledgement.
    Taken,
    /// It does not leave.
    Lost,
}

#[derive(Debug)]
struct OpenLane {
    uplink: Rc<Uplink>,
    lane: Lane,
    stalled: VecDeque<Item>,
}

#[derive(Debug)]
struct InFlight {
    uplink: Rc<Uplink>,
    lane: Lane,
    correlation: Correlation,
}

/// The lanes of a session, and what is under way on them.
#[derive(Debug)]
pub(super) struct Lanes {
    mailbox: Rc<Mailbox>,
    open: LaneOpen,
    lanes: BTreeMap<BrokerId, OpenLane>,
    in_flight: RisingMap<Asked, InFlight>,
}

impl Lanes {
    pub(super) fn new(mailbox: Rc<Mailbox>, open: LaneOpen) -> Self {
        Self {
            mailbox,
            open,
            lanes: BTreeMap::new(),
            in_flight: RisingMap::default(),
        }
    }

    /// Lanes that are opened from now on carry this name.
    pub(super) fn name(&mut self, client_id: Option<&bytestring::ByteString>) {
        self.open.client_id = client_id.cloned();
    }

    /// Says something to a broker.
    pub(super) fn offer(&mut self, runtime: &Runtime, broker: BrokerId, item: Item) -> Offered {
        if !self.lanes.contains_key(&broker) {
            let Some(uplink) = runtime.uplink(broker) else {
                return Offered::Lost;
            };
            let Some(lane) = uplink
                .port
                .with(|dialer| dialer.open_lane(self.open.clone()))
            else {
                return Offered::Lost;
            };
            let owner = Rc::clone(&self.mailbox);
            uplink.owners.borrow_mut().insert(lane, owner);
            let stalled = VecDeque::new();
            let open = OpenLane {
                uplink,
                lane,
                stalled,
            };
            self.lanes.insert(broker, open);
        }
        let mut item = item;
        if let Said::Request(request) = &mut item.said {
            request.metadata_index = runtime.index();
        }
        let lane = self.lanes.get_mut(&broker).expect("it was opened");
        if lane.uplink.port.is_lost() {
            // The session has yet to hear of it.
            return Offered::Lost;
        }
        if !lane.stalled.is_empty() {
            lane.stalled.push_back(item);
            return Offered::Queued;
        }
        match lane.put(item, &self.mailbox, &mut self.in_flight) {
            Ok(offered) => offered,
            Err(item) => {
                lane.stalled.push_back(*item);
                Offered::Queued
            }
        }
    }

    /// Offers again what had no room; returns what left for good or will not.
    pub(super) fn on_room(&mut self, broker: BrokerId) -> Vec<(Asked, Offered)> {
        let mut told = Vec::new();
        let Some(lane) = self.lanes.get_mut(&broker) else {
            return told;
        };
        while let Some(item) = lane.stalled.pop_front() {
            let asked = item.asked;
            match lane.put(item, &self.mailbox, &mut self.in_flight) {
                Ok(Offered::Queued) => {}
                Ok(offered) => told.push((asked, offered)),
                Err(item) => {
                    lane.stalled.push_front(*item);
                    break;
                }
            }
        }
        told
    }

    /// Forgets lanes whose link is lost; returns what waited for room on them.
    pub(super) fn sweep(&mut self) -> Vec<Asked> {
        let mut lost = Vec::new();
        self.lanes.retain(|_, lane| {
            let is_lost = lane.uplink.port.is_lost();
            if is_lost {
                lost.extend(lane.stalled.iter().map(|item| item.asked));
            }
            !is_lost
        });
        lost
    }

    /// Notes that something was answered or lost.
    pub(super) fn settled(&mut self, asked: Asked) {
        self.in_flight.remove(asked);
    }

    /// Takes something back; returns its fate, `None` if nothing is known of it any more.
    pub(super) fn cancel(&mut self, asked: Asked) -> Option<Fate> {
        if let Some(sent) = self.in_flight.remove(asked) {
            let flow = Flow::Lane(sent.lane);
            let cancelled = sent
                .uplink
                .port
                .with(|dialer| dialer.cancel(flow, sent.correlation));
            return cancelled.flatten().map(|(_, fate)| fate);
        }
        let brokers: Vec<BrokerId> = self.lanes.keys().copied().collect();
        brokers.into_iter().find_map(|broker| {
            let lane = self.lanes.get_mut(&broker)?;
            let place = lane.stalled.iter().position(|item| item.asked == asked)?;
            lane.stalled.remove(place);
            if place == 0 {
                lane.uplink.port.with(|dialer| dialer.forgo(lane.lane));
                // The next may be short enough.
                self.mailbox.put(crate::mailbox::Event::Room(broker));
            }
            Some(Fate::NeverSent)
        })
    }

    /// Takes all of a request back; returns what had a fate.
    pub(super) fn cancel_all(&mut self, id: RequestId) -> Vec<(Asked, Fate)> {
        let is_its = |asked: &Asked| match asked {
            Asked::Append(of, _) | Asked::Part(of, _) => *of == id,
            Asked::Fetch(_) => false,
        };
        let [first, last] = [0, usize::MAX].map(|place| Place {
            topic: place,
            partition: place,
        });
        let appends = Asked::Append(id, first)..=Asked::Append(id, last);
        let parts = Asked::Part(id, 0)..=Asked::Part(id, u64::MAX);
        let in_flight = [appends, parts].map(|range| self.in_flight.range(range));
        let in_flight = in_flight.into_iter().flatten().map(|(asked, _)| asked);
        let stalled = self.lanes.values().flat_map(|lane| &lane.stalled);
        let stalled = stalled.map(|item| item.asked).filter(is_its);
        let asked: Vec<Asked> = in_flight.chain(stalled).collect();
        let fates = asked.into_iter();
        fates
            .filter_map(|asked| Some((asked, self.cancel(asked)?)))
            .collect()
    }

    /// Has a Fetch answered at once; returns whether it was never sent, and no answer comes.
    pub(super) fn finish(&mut self, asked: Asked) -> bool {
        let Some(sent) = self.in_flight.get(asked) else {
            return self.cancel(asked).is_some();
        };
        let (lane, correlation) = (sent.lane, sent.correlation);
        let finished = sent
            .uplink
            .port
            .with(|dialer| dialer.finish(lane, correlation));
        let was_unsent = finished.flatten().is_some();
        if was_unsent {
            self.in_flight.remove(asked);
        }
        was_unsent
    }

    /// Drops what waits for room and wants an answer: nobody is there to get it.
    pub(super) fn drop_answered(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.stalled.retain(|item| match &item.said {
                Said::Append(sub_batch) => sub_batch.acks == 0,
                Said::Request(_) => false,
            });
        }
        let asked: Vec<Asked> = self.in_flight.iter().map(|(asked, _)| asked).collect();
        for asked in asked {
            self.cancel(asked);
        }
    }

    /// Returns how many items wait for room.
    pub(super) fn stalled(&self) -> usize {
        self.lanes.values().map(|lane| lane.stalled.len()).sum()
    }

    /// Tells whether nothing waits for room.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.stalled.is_empty())
    }

    /// Closes all lanes.
    pub(super) fn close(&mut self) {
        for lane in std::mem::take(&mut self.lanes).into_values() {
            lane.uplink.owners.borrow_mut().remove(&lane.lane);
            lane.uplink.port.with(|dialer| dialer.close_lane(lane.lane));
        }
        self.in_flight.clear();
    }
}

impl OpenLane {
    /// Gives an item to the link.
    ///
    /// # Errors
    /// Gives it back if there is no room.
    fn put(
        &self,
        item: Item,
        mailbox: &Rc<Mailbox>,
        in_flight: &mut RisingMap<Asked, InFlight>,
    ) -> Result<Offered, Box<Item>> {
        let (asked, deadline) = (item.asked, item.deadline);
        let asker = Asker {
            mailbox: Rc::clone(mailbox),
            asked,
        };
        let lane = self.lane;
        let put = self.uplink.port.with(|dialer| match item.said {
            Said::Append(sub_batch) if sub_batch.acks == 0 => {
                let sub_batch = SubBatch { lane, ..sub_batch };
                let taken = dialer.append_unanswered(sub_batch, deadline);
                taken
                    .map(|()| None)
                    .map_err(|NotQueued { item, reason }| (Said::Append(item), reason))
            }
            Said::Append(sub_batch) => {
                let sub_batch = SubBatch { lane, ..sub_batch };
                let queued = dialer.append(sub_batch, deadline, asker);
                queued
                    .map(Some)
                    .map_err(|NotQueued { item, reason }| (Said::Append(item.0), reason))
            }
            Said::Request(request) => {
                let request = Request { lane, ..request };
                let queued = dialer.request(request, deadline, asker);
                queued
                    .map(Some)
                    .map_err(|NotQueued { item, reason }| (Said::Request(item.0), reason))
            }
        });
        match put {
            None => Ok(Offered::Lost),
            Some(Ok(None)) => Ok(Offered::Taken),
            Some(Ok(Some(correlation))) => {
                let uplink = Rc::clone(&self.uplink);
                let sent = InFlight {
                    uplink,
                    lane,
                    correlation,
                };
                in_flight.insert(asked, sent);
                Ok(Offered::Queued)
            }
            Some(Err((said, NoRoom::Full))) => Err(Box::new(Item {
                asked,
                said,
                deadline,
            })),
            Some(Err((_, NoRoom::LaneClosed | NoRoom::TooLong))) => Ok(Offered::Lost),
        }
    }
}
