//! The router's own link to the controllers: it follows the metadata, passes questions of clients on, and says that
//! this router lives.
//!
//! Any broker will do to begin with; one that does not lead names who does. When nobody answers the last image stays,
//! and this router serves on by it. Read [`follow`] next.

mod follow;
mod linked;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::cluster::call::{Call, CallBody, FetchMetadataRequest, ForwardRequest};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::link::Fate;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

pub(crate) use follow::Follower;

use crate::limits::{CONTROLLER_ASKS_WAITING_MAX, PAUSE_FIRST, UNKNOWN_TOPIC_WAIT};
use crate::plan::for_controller::Unanswered;

/// The metadata as far as this router knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The index of the metadata; 0 before there is any.
    pub(crate) index: i64,
    pub(crate) image: Arc<ClusterImage>,
}

impl Known {
    /// Tells whether there is a cluster at all.
    pub(crate) fn is_founded(&self) -> bool {
        self.image.cluster_id().is_some()
    }
}

/// What the leading controller has answered for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// The body of the answer.
    pub(crate) body: Bytes,
    /// The index of the metadata that has what the answer tells of.
    pub(crate) index: i64,
}

/// A question for the leading controller.
#[derive(Debug)]
struct Ask {
    kind: u16,
    body: Bytes,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes, Fate>>,
}

/// Asks the controllers, from any runtime.
#[derive(Clone, Debug)]
pub(crate) struct Controllers {
    asks: mpsc::Sender<Ask>,
    known: watch::Receiver<Known>,
    heard_at: HeardAt,
}

/// Returns how the controllers are asked, and what answers: to be run by [`Follower::run`].
pub(crate) fn controllers() -> (Controllers, Asks) {
    let (asks, waiting) = mpsc::channel(CONTROLLER_ASKS_WAITING_MAX);
    let (publish, known) = watch::channel(Known::default());
    let heard_at = HeardAt::default();
    let controllers = Controllers {
        asks,
        known,
        heard_at: Arc::clone(&heard_at),
    };
    let asks = Asks {
        waiting,
        publish,
        heard_at,
    };
    (controllers, asks)
}

/// The other end of [`Controllers`].
pub(crate) struct Asks {
    waiting: mpsc::Receiver<Ask>,
    publish: watch::Sender<Known>,
    heard_at: HeardAt,
}

/// When a leading controller last told the metadata, or that nothing has changed.
type HeardAt = Arc<Mutex<Option<Instant>>>;

impl Asks {
    /// Notes that a leading controller has just told the metadata.
    fn hear(&self) {
        let heard_at = self.heard_at.lock();
        *heard_at.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Who asks, for the controller.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardedFor {
    pub(crate) client_id: Option<ByteString>,
    pub(crate) client_host: ByteString,
}

impl Controllers {
    /// Returns the metadata as it changes.
    pub(crate) fn known(&self) -> watch::Receiver<Known> {
        self.known.clone()
    }

    /// Returns how long ago a leading controller told the metadata; `None` if none ever did.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let heard_at = self.heard_at.lock();
        let heard_at = *heard_at.unwrap_or_else(PoisonError::into_inner);
        Some(heard_at?.elapsed())
    }

    /// Waits until the image is as far as the leading controller is now; returns whether it is.
    pub(crate) async fn catch_up(&self) -> bool {
        let deadline = Instant::now() + UNKNOWN_TOPIC_WAIT;
        let request = FetchMetadataRequest {
            index: self.known.borrow().index,
            wait_ms: 0,
        };
        let asked = self.ask(&request, deadline).await;
        let Some(answer) = asked.ok().filter(|answer| answer.error_code.is_none()) else {
            return false;
        };
        let mut known = self.known.clone();
        let is_there = known.wait_for(|known| known.index >= answer.index);
        matches!(timeout_at(deadline, is_there).await, Ok(Ok(_)))
    }

    /// Has the leading controller answer a Kafka request; while nobody leads, it is tried again until the deadline.
    pub(crate) async fn forward(
        &self,
        (api, version, body): (ApiKey, i16, Bytes),
        client: &ForwardedFor,
        deadline: Instant,
    ) -> Result<Forwarded, Unanswered> {
        let request = ForwardRequest {
            api_key: api.code(),
            api_version: version,
            principal: ByteString::new(),
            client_id: client.client_id.clone(),
            client_host: client.client_host.clone(),
            body: Some(body),
        };
        loop {
            match self.ask(&request, deadline).await {
                Ok(answer) if answer.error_code.is_none() => {
                    let index = answer.index;
                    let forwarded = |body| Forwarded { body, index };
                    return answer.body.map(forwarded).ok_or(Unanswered::Sent);
                }
                // It was not looked at.
                Ok(answer) if answer.error_code == ErrorCode::NotController => {}
                Ok(_) | Err(Fate::Unknown) => return Err(Unanswered::Sent),
                Err(Fate::NeverSent) => {}
            }
            if Instant::now() + PAUSE_FIRST >= deadline {
                return Err(Unanswered::Unsent);
            }
            sleep(PAUSE_FIRST).await;
        }
    }

    async fn ask<C: Call>(&self, request: &C, deadline: Instant) -> Result<C::Answer, Fate> {
        let Ok(body) = request.to_bytes() else {
            return Err(Fate::NeverSent);
        };
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            kind: C::KIND.number(),
            body,
            deadline,
            answer,
        };
        tokio::select! {
            sent = self.asks.send(ask) => sent.map_err(|_| Fate::NeverSent)?,
            () = sleep_until(deadline) => return Err(Fate::NeverSent),
        }
        let answered = timeout_at(deadline, answered).await;
        let body = answered
            .unwrap_or(Ok(Err(Fate::Unknown)))
            .unwrap_or(Err(Fate::Unknown))?;
        C::Answer::from_bytes(body).map_err(|_| Fate::Unknown)
    }
}
