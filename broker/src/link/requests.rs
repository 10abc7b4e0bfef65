//! What serves one request of a lane, in a task of its own, with the handlers that serve clients.

use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::link::lane::Answer;
use keylane_protocol::link::{Correlation, Lane, NotQueued};
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::primitive::Records;
use keylane_protocol::transport::HeldBytes;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use super::Link;
use super::lanes::{Waiting, Whose};
use super::settled::{Answered, Event};
use super::standing::{Standing, standing};
use crate::handler::exchange::{Exchange, ExchangeError, RefusedRequest};
use crate::handler::fetch::Parking;
use crate::limits::LINK_IMAGE_WAIT;
use crate::server::BrokerState;

/// The first version that names topics by id.
const FETCH_VERSION_BY_ID: i16 = 13;

/// Returns the answer that says that there is none.
pub(super) fn refusal(
    lane: Lane,
    correlation: Correlation,
    error_code: ErrorCode,
    words: String,
) -> Answer {
    Answer {
        lane,
        correlation,
        error_code,
        words: Some(words.into()),
        ..Answer::default()
    }
}

impl Link {
    /// Queues an answer.
    pub(super) fn answer(&mut self, answer: Answer) {
        let (lane, correlation) = (answer.lane, answer.correlation);
        if let Err(NotQueued { reason, .. }) = self.listener.outbox().answer(answer) {
            let code = ErrorCode::UnknownServerError;
            let refusal = refusal(lane, correlation, code, reason.to_string());
            // It has no body.
            let _ = self.listener.outbox().answer(refusal);
        }
    }
}

impl Whose {
    fn exchange(&self, version: i16) -> Exchange<'_> {
        Exchange {
            broker: &self.broker,
            local: self.broker.address,
            asker: self.asker.clone(),
            version,
            correlation_id: None,
        }
    }

    fn answer(
        &self,
        correlation: Correlation,
        body: Result<Vec<bytes::Bytes>, ExchangeError>,
    ) -> Answer {
        let (code, words) = match body {
            Ok(segments) => {
                return Answer {
                    lane: self.lane,
                    correlation,
                    chunk: segments.into_iter().collect::<Records>(),
                    ..Answer::default()
                };
            }
            Err(ExchangeError::Refused(RefusedRequest::Unsupported(error))) => {
                (ErrorCode::UnsupportedVersion, error.to_string())
            }
            Err(ExchangeError::Refused(error)) => (ErrorCode::InvalidRequest, error.to_string()),
            Err(error @ ExchangeError::Encode(_)) => {
                (ErrorCode::UnknownServerError, error.to_string())
            }
        };
        refusal(self.lane, correlation, code, words)
    }
}

/// Serves a request other than Fetch and Produce.
pub(super) async fn serve(whose: Whose, waiting: Waiting) {
    let (correlation, meters) = (waiting.correlation, &whose.broker.meters);
    let begun_at = super::now();
    let waited = begun_at.saturating_duration_since(waiting.taken_at);
    meters.waits.lane.record(waited);
    let answer = if waiting.deadline <= begun_at {
        let words = "the time for the request was over before it was begun".to_owned();
        refusal(whose.lane, correlation, ErrorCode::RequestTimedOut, words)
    } else {
        until_as_far(&whose.broker, &waiting).await;
        let exchange = whose.exchange(waiting.version);
        let body = exchange.serve(waiting.api, waiting.decoder()).await;
        whose.answer(correlation, body)
    };
    meters
        .link
        .answered(waiting.api, waiting.taken_at, super::now());
    whose.settled.tell(Event::Answer(Answered {
        answer,
        held: HeldBytes::default(),
        is_fetch: false,
    }));
}

/// Waits, bounded, until this broker serves by metadata as new as that by which the request was sent here. What a router
/// has told its client of, a new topic or a setting, is not denied then.
async fn until_as_far(broker: &BrokerState, waiting: &Waiting) {
    let until = waiting.deadline.min(super::now() + LINK_IMAGE_WAIT);
    // A broker that does not hear from the controllers answers by what it knows.
    let _ = timeout_at(until.into(), broker.published(waiting.metadata_index)).await;
}

/// Serves a Fetch until it is answered, or given up: then nothing waits for it any more.
pub(super) async fn fetch(
    whose: Whose,
    waiting: Waiting,
    now: Instant,
    finished: watch::Receiver<u64>,
) {
    let parking = Parking {
        connection: whose.broker.watcher(),
        wake: &Arc::new(Notify::new()),
        sequence: 0,
        last_other: finished.clone(),
    };
    let watcher = parking.connection;
    let answered = tokio::select! {
        biased;
        () = given_up(finished) => {
            whose.broker.forget_connection(watcher).await;
            return;
        }
        answered = read(&whose, &waiting, now, parking) => answered,
    };
    let (body, held) = match answered {
        Ok((body, held)) => (Ok(body), held),
        Err(error) => (Err(error), HeldBytes::default()),
    };
    let meters = &whose.broker.meters.link;
    meters.answered(ApiKey::Fetch, waiting.taken_at, super::now());
    whose.settled.tell(Event::Answer(Answered {
        answer: whose.answer(waiting.correlation, body),
        held,
        is_fetch: true,
    }));
}

/// Waits until a Fetch is given up.
async fn given_up(mut finished: watch::Receiver<u64>) {
    // It ends when its sender is gone, and is not told otherwise.
    let _ = finished.wait_for(|_| false).await;
}

async fn read(
    whose: &Whose,
    waiting: &Waiting,
    now: Instant,
    parking: Parking<'_>,
) -> Result<(Vec<bytes::Bytes>, HeldBytes), ExchangeError> {
    let exchange = whose.exchange(waiting.version);
    let mut request: FetchRequest = exchange.decode(waiting.decoder())?;
    let time_left = waiting.deadline.saturating_duration_since(now);
    let time_left_ms = i32::try_from(time_left.as_millis()).unwrap_or(i32::MAX);
    request.max_wait_ms = request.max_wait_ms.min(time_left_ms);
    if waiting.version >= FETCH_VERSION_BY_ID {
        until_known(&whose.broker, &request, waiting.deadline).await;
    }
    exchange.fetch(request, parking).await
}

/// Waits, bounded, while this broker's image is older than the one the request was made by.
async fn until_known(broker: &BrokerState, request: &FetchRequest, deadline: Instant) {
    let is_behind = || {
        let image = broker.topics.load();
        let mut asked = request.topics.iter().flat_map(|topic| {
            let parts = topic.partitions.iter();
            parts.map(|part| {
                let key = (topic.topic_id, part.partition);
                (key, part.current_leader_epoch)
            })
        });
        asked.any(|(key, epoch)| {
            let own = broker.config.id;
            matches!(standing(&image, own, key, epoch), Standing::Behind(_))
        })
    };
    if !is_behind() {
        return;
    }
    let until = deadline.min(super::now() + LINK_IMAGE_WAIT);
    let mut published = broker.published.clone();
    let known = published.wait_for(|_| !is_behind());
    // What is not known by then has its own error in the answer.
    let _ = timeout_at(until.into(), known).await;
}
