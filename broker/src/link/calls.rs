//! What other nodes ask of this one as a voter and controller; each call is answered in a task of its own.
//!
//! At most [`LINK_CALLS_MAX`] run at once for one link, further ones are refused. A call ends with its time, or when it
//! is cancelled, or with its link; what it has had decided by then stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::cluster::call::{CallKind, RAFT_CALL_KIND};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::link::call::{Call, Reply};
use keylane_protocol::link::lane::{Cancel, Flow};
use keylane_protocol::link::{Body, Correlation, NotQueued};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Link;
use super::settled::{Event, Settled};
use crate::handler::controller_calls;
use crate::limits::{LINK_CALLS_MAX, RAFT_MESSAGE_BYTES_MAX};
use crate::server::BrokerState;

/// The version of all bodies of calls.
const CALL_VERSION: i16 = 0;

/// The calls of one link that are not answered; they end with it.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: BTreeMap<Correlation, AbortHandle>,
}

/// Why a call has no answer.
struct Refusal {
    code: ErrorCode,
    words: String,
}

impl Refusal {
    fn new(code: ErrorCode, words: impl Into<String>) -> Self {
        let words = words.into();
        Self { code, words }
    }

    fn reply(self, correlation: Correlation) -> Reply {
        Reply {
            correlation,
            error_code: self.code,
            words: Some(self.words.into()),
            ..Reply::default()
        }
    }
}

impl Calls {
    /// Begins to answer a call; returns the reply if it is refused at once.
    pub(super) fn begin(
        &mut self,
        call: Call,
        broker: &Arc<BrokerState>,
        settled: &Arc<Settled>,
    ) -> Option<Reply> {
        let correlation = call.correlation;
        if self.running.len() >= LINK_CALLS_MAX {
            let words = format!("at most {LINK_CALLS_MAX} calls of a link are answered at once");
            let refusal = Refusal::new(ErrorCode::ThrottlingQuotaExceeded, words);
            return Some(refusal.reply(correlation));
        }
        let (broker, settled) = (Arc::clone(broker), Arc::clone(settled));
        let task = tokio::spawn(async move {
            let time_left = Duration::from_millis(u64::from(call.time_left_ms));
            let answered = timeout(time_left, answer(&broker, call)).await;
            let answered = answered.unwrap_or_else(|_| {
                let words = "the time for the call is over";
                Err(Refusal::new(ErrorCode::RequestTimedOut, words))
            });
            let reply = answered.map_or_else(
                |refusal| refusal.reply(correlation),
                |body| Reply {
                    correlation,
                    chunk: Body::from(body),
                    ..Reply::default()
                },
            );
            settled.tell(Event::Reply(reply));
        });
        if let Some(before) = self.running.insert(correlation, task.abort_handle()) {
            before.abort();
        }
        None
    }

    /// Ends a call that is not wanted any more.
    pub(super) fn cancel(&mut self, cancel: &Cancel) {
        if let Flow::Call(correlation) = cancel.flow
            && let Some(task) = self.running.remove(&correlation)
        {
            task.abort();
        }
    }

    /// Notes that a call was answered.
    pub(super) fn ended(&mut self, correlation: Correlation) {
        self.running.remove(&correlation);
    }

    /// Returns how many are under way.
    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// Tells whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

impl Link {
    /// Queues a reply.
    pub(super) fn reply(&mut self, reply: Reply) {
        let correlation = reply.correlation;
        if let Err(NotQueued { reason, .. }) = self.listener.outbox().reply(reply) {
            let refusal = Refusal::new(ErrorCode::UnknownServerError, reason.to_string());
            // It has no body.
            let _ = self.listener.outbox().reply(refusal.reply(correlation));
        }
    }
}

async fn answer(broker: &BrokerState, call: Call) -> Result<Bytes, Refusal> {
    let Some(controller) = broker.controllers.own() else {
        let words = "this broker is no voter";
        return Err(Refusal::new(ErrorCode::NotController, words));
    };
    if call.kind == RAFT_CALL_KIND {
        if call.chunk.len() > RAFT_MESSAGE_BYTES_MAX {
            let words = format!("voters say at most {RAFT_MESSAGE_BYTES_MAX} bytes at once");
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        }
        return Ok(controller.quorum().answer(call.chunk.into_bytes()).await);
    }
    let known = CallKind::from_number(call.kind).filter(|_| call.version == CALL_VERSION);
    let kind = known.ok_or_else(|| {
        let (kind, version) = (call.kind, call.version);
        let words = format!("calls of kind {kind} and version {version} are not known here");
        Refusal::new(ErrorCode::UnsupportedVersion, words)
    })?;
    let body = call.chunk.into_bytes();
    let answered = controller_calls::answer(controller, &broker.config, kind, body).await;
    answered.map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))
}
