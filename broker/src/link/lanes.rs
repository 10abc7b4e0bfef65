//! The virtual connections of one link: whose they are, and what of their requests is under way.
//!
//! A lane's requests are begun in the order in which they come, each when the one before is answered, so that it sees what
//! that has done; Fetches, which only read, run beside them and hold up none. An idle lane is an entry in a map.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::limits::FRAME_SHARED_BYTES_MAX;
use keylane_protocol::link::lane::{Answer, LaneOpen, Request};
use keylane_protocol::link::{Correlation, Lane};
use keylane_protocol::primitive::Decoder;
use tokio::sync::watch;

use super::requests;
use super::settled::{Answered, Settled};
use crate::handler::topic_changes::Asker;
use crate::limits::{LANE_FETCHES_MAX, LINK_FETCHES_MAX, LINK_REQUEST_BYTES_WAITING_MAX};
use crate::server::BrokerState;

/// What a request that waits counts besides its bytes.
const WAITING_COST_BYTES: usize = 128;

/// The lanes of one link.
pub(super) struct Lanes {
    broker: Arc<BrokerState>,
    settled: Arc<Settled>,
    open: BTreeMap<Lane, Open>,
    /// Requests that wait for others of their lane.
    waiting: usize,
    waiting_bytes: usize,
    fetches: usize,
    /// Requests being served, those of lanes that have closed included.
    served: usize,
}

struct Open {
    asker: Asker,
    /// `None` while nothing is under way.
    busy: Option<Box<Busy>>,
}

#[derive(Default)]
struct Busy {
    /// What is being served, and whether its answer is still wanted.
    serving: Option<(Correlation, bool)>,
    waiting: VecDeque<Waiting>,
    /// Fetches: 1 is sent to those that are to be answered at once; those whose sender is dropped are given up.
    fetches: Vec<(Correlation, watch::Sender<u64>)>,
}

/// A request that was taken.
pub(super) struct Waiting {
    pub correlation: Correlation,
    pub api: ApiKey,
    pub version: i16,
    pub body: Bytes,
    pub deadline: Instant,
    pub taken_at: Instant,
    /// How far the metadata is by which the router goes.
    pub metadata_index: u64,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.body.len() + WAITING_COST_BYTES
    }

    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.body.clone())
    }
}

/// Whose request it is, for the task that serves it.
#[derive(Clone)]
pub(super) struct Whose {
    pub lane: Lane,
    pub asker: Asker,
    pub broker: Arc<BrokerState>,
    pub settled: Arc<Settled>,
}

impl Lanes {
    pub(super) fn new(broker: &Arc<BrokerState>, settled: &Arc<Settled>) -> Self {
        Self {
            broker: Arc::clone(broker),
            settled: Arc::clone(settled),
            open: BTreeMap::new(),
            waiting: 0,
            waiting_bytes: 0,
            fetches: 0,
            served: 0,
        }
    }

    pub(super) fn opened(&mut self, open: LaneOpen) {
        let asker = Asker {
            client_id: open.client_id,
            client_host: open.client_host,
        };
        self.open.insert(open.lane, Open { asker, busy: None });
    }

    /// Drops what a lane has not begun, and gives up its Fetches; what is being served goes on unheard.
    pub(super) fn closed(&mut self, lane: Lane) {
        let Some(busy) = self.open.remove(&lane).and_then(|open| open.busy) else {
            return;
        };
        self.fetches -= busy.fetches.len();
        let bytes: usize = busy.waiting.iter().map(Waiting::bytes).sum();
        self.waiting -= busy.waiting.len();
        self.waiting_bytes -= bytes;
    }

    /// Takes a request; returns the answer if it is refused at once.
    pub(super) fn take(&mut self, request: Request, now: Instant) -> Option<Answer> {
        let (lane, correlation) = (request.lane, request.correlation);
        self.take_checked(request, now)
            .err()
            .map(|(code, words)| requests::refusal(lane, correlation, code, words))
    }

    fn take_checked(&mut self, request: Request, now: Instant) -> Result<(), (ErrorCode, String)> {
        let lane = request.lane;
        let waiting = waiting(request, now)?;
        let Some(open) = self.open.get_mut(&lane) else {
            return Ok(());
        };
        let busy = open.busy.get_or_insert_default();
        let busy_words = |words: &str| (ErrorCode::ThrottlingQuotaExceeded, words.to_owned());
        if waiting.api == ApiKey::Fetch {
            if busy.fetches.len() >= LANE_FETCHES_MAX || self.fetches >= LINK_FETCHES_MAX {
                return Err(busy_words("too many Fetches wait"));
            }
            let (finish, finished) = watch::channel(0);
            busy.fetches.push((waiting.correlation, finish));
            self.fetches += 1;
            let whose = self.whose(lane);
            tokio::spawn(requests::fetch(whose, waiting, now, finished));
            return Ok(());
        }
        let requests_max = self.broker.config.clients.connection_requests_max;
        let bytes = self.waiting_bytes + waiting.bytes();
        if busy.waiting.len() >= requests_max || bytes > LINK_REQUEST_BYTES_WAITING_MAX {
            return Err(busy_words("too many requests wait"));
        }
        self.waiting += 1;
        self.waiting_bytes = bytes;
        busy.waiting.push_back(waiting);
        self.begin_next(lane);
        Ok(())
    }

    /// Begins the next request of a lane, unless one is being served.
    fn begin_next(&mut self, lane: Lane) {
        let Some(busy) = self.busy(lane) else {
            return;
        };
        if busy.serving.is_some() {
            return;
        }
        let Some(next) = busy.waiting.pop_front() else {
            self.rest(lane);
            return;
        };
        busy.serving = Some((next.correlation, true));
        self.waiting -= 1;
        self.waiting_bytes -= next.bytes();
        self.served += 1;
        tokio::spawn(requests::serve(self.whose(lane), next));
    }

    fn whose(&self, lane: Lane) -> Whose {
        let open = self.open.get(&lane).expect("asked for an open lane");
        Whose {
            lane,
            asker: open.asker.clone(),
            broker: Arc::clone(&self.broker),
            settled: Arc::clone(&self.settled),
        }
    }

    fn busy(&mut self, lane: Lane) -> Option<&mut Busy> {
        self.open.get_mut(&lane)?.busy.as_deref_mut()
    }

    /// Gives back the memory of a lane that has nothing under way.
    fn rest(&mut self, lane: Lane) {
        if let Some(open) = self.open.get_mut(&lane)
            && let Some(busy) = &open.busy
            && busy.serving.is_none()
            && busy.waiting.is_empty()
            && busy.fetches.is_empty()
        {
            open.busy = None;
        }
    }

    /// Has a parked Fetch answered at once.
    pub(super) fn finish(&mut self, lane: Lane, correlation: Correlation) {
        let busy = self.busy(lane).map(|busy| &*busy);
        let mut fetches = busy.into_iter().flat_map(|busy| &busy.fetches);
        if let Some((_, finish)) = fetches.find(|fetch| fetch.0 == correlation) {
            finish.send_replace(1);
        }
    }

    /// Has every parked Fetch answered at once.
    pub(super) fn finish_all(&mut self) {
        let busy = self.open.values().filter_map(|open| open.busy.as_ref());
        for (_, finish) in busy.flat_map(|busy| &busy.fetches) {
            finish.send_replace(1);
        }
    }

    /// Gives up a Fetch or a request that has not begun; of what is being served the answer is dropped.
    pub(super) fn cancel(&mut self, lane: Lane, correlation: Correlation) {
        let Some(busy) = self.busy(lane) else {
            return;
        };
        let before = busy.fetches.len();
        busy.fetches.retain(|fetch| fetch.0 != correlation);
        let given_up = before - busy.fetches.len();
        if let Some((serving, is_wanted)) = &mut busy.serving
            && *serving == correlation
        {
            *is_wanted = false;
        }
        let (mut dropped, mut bytes) = (0, 0);
        busy.waiting.retain(|waiting| {
            let is_kept = waiting.correlation != correlation;
            if !is_kept {
                dropped += 1;
                bytes += waiting.bytes();
            }
            is_kept
        });
        self.fetches -= given_up;
        self.waiting -= dropped;
        self.waiting_bytes -= bytes;
        self.rest(lane);
    }

    /// Notes that a request was answered; returns whether the answer is still wanted.
    pub(super) fn ended(&mut self, answered: &Answered) -> bool {
        let (lane, correlation) = (answered.answer.lane, answered.answer.correlation);
        if answered.is_fetch {
            let Some(busy) = self.busy(lane) else {
                return false;
            };
            let Some(at) = busy.fetches.iter().position(|fetch| fetch.0 == correlation) else {
                return false;
            };
            busy.fetches.swap_remove(at);
            self.fetches -= 1;
            self.rest(lane);
            return true;
        }
        self.served -= 1;
        let serving = self.busy(lane).and_then(|busy| busy.serving.take());
        self.begin_next(lane);
        serving.is_some_and(|(_, is_wanted)| is_wanted)
    }

    /// Returns how many lanes are open.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// Returns how many requests wait for others of their lane.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns how many requests and how many Fetches are being served.
    pub(super) fn under_way(&self) -> (usize, usize) {
        (self.served, self.fetches)
    }

    /// Tells whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.served == 0 && self.fetches == 0 && self.waiting_bytes == 0
    }
}

/// Returns a request if it can be served at all.
fn waiting(request: Request, now: Instant) -> Result<Waiting, (ErrorCode, String)> {
    if request.time_left_ms == 0 {
        let words = "the time for the request is over";
        return Err((ErrorCode::RequestTimedOut, words.to_owned()));
    }
    let (key, version) = (request.api_key, request.api_version);
    let known = ApiKey::from_code(key).filter(|api| api.api().serves(version));
    // Records come in append frames.
    let Some(api) = known.filter(|api| !matches!(api, ApiKey::Produce | ApiKey::RoutedProduce))
    else {
        let words = format!("version {version} of the API with key {key} is not served on a lane");
        return Err((ErrorCode::UnsupportedVersion, words));
    };
    let body = request.chunk.into_bytes();
    Ok(Waiting {
        correlation: request.correlation,
        api,
        version,
        body: match body.len() <= FRAME_SHARED_BYTES_MAX {
            // It may wait for long, and must not keep the buffer it arrived in.
            true => Bytes::copy_from_slice(&body),
            false => body,
        },
        deadline: now + Duration::from_millis(u64::from(request.time_left_ms)),
        taken_at: now,
        metadata_index: u64::try_from(request.metadata_index).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_lane_is_small() {
        assert!(size_of::<Open>() <= 128, "{}", size_of::<Open>());
    }
}
