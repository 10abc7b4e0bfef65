//! One pipelined connection to one broker: many requests on their way, answers matched by correlation id.
//!
//! ```text
//! call / send ──► State.outgoing ──► task ──► socket ──► task ──► the request's `OnAnswer`
//! ```
//! A failure breaks the connection, and everyone who waits gets the same cause. Bytes of a request are handed over
//! whole under a short lock, so a dropped future never leaves half a request on the wire.

mod error;
mod handshake;
mod pool;
mod task;
mod versions;
mod waiting;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{decode_response, request_frame};
use keylane_protocol::message::Request;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::error::ConnectionError;
pub(crate) use self::pool::Connections;
use self::versions::SpokenVersions;
use self::waiting::WaitingRequests;
use crate::address::BrokerAddress;

/// What every connection of a client has in common.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSettings {
    pub(crate) client_id: Arc<str>,
    pub(crate) request_timeout: Duration,
    /// How many requests may wait for their answers.
    pub(crate) requests_waiting_max: usize,
}

/// Takes the frame of an answer, or the reason why there is none. It runs on the connection's task: it must be short.
type OnAnswer = Box<dyn FnOnce(Result<Bytes, ConnectionError>) + Send>;

/// A handle; clones share the connection, which closes when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    handle: Arc<Handle>,
}

/// Ends the connection's task when the last clone of the handle goes.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.fail(&ConnectionError::ShutDown);
    }
}

struct Shared {
    /// Shared with every request that waits.
    address: Arc<BrokerAddress>,
    settings: ConnectionSettings,
    versions: SpokenVersions,
    correlation_ids: AtomicI32,
    state: Mutex<State>,
    /// Wakes the connection's task.
    work: Notify,
    /// Ends the task.
    end: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Whole frames that are to be written.
    outgoing: Vec<Bytes>,
    /// Requests that get no answer: they count as done once written.
    unanswered: VecDeque<Waiting>,
    /// Requests in the order in which they were handed over.
    waiting: WaitingRequests,
    failure: Option<ConnectionError>,
}

struct Waiting {
    correlation_id: i32,
    api: &'static str,
    timeout: Duration,
    deadline: Instant,
    on_answer: OnAnswer,
}

/// How a request is to be treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long to wait for the answer, or until a request without one is written; counted from when the request is handed over.
    pub(crate) timeout: Duration,
    /// False for Produce with acks 0: done once written, with an empty frame.
    pub(crate) is_answered: bool,
    /// The highest version that can say what is meant.
    pub(crate) version_max: i16,
}

impl Connection {
    pub(crate) fn address(&self) -> &BrokerAddress {
        &self.handle.shared.address
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.handle.shared.lock().failure.is_none()
    }

    /// Returns whether the peer offers an API in some version that this client speaks.
    pub(crate) fn speaks(&self, key: ApiKey) -> bool {
        let versions = &self.handle.shared.versions;
        versions.highest_common(key).is_some()
    }

    /// Returns the version in which a request will be sent.
    pub(crate) fn version_of<R: Request>(&self) -> Result<i16, ConnectionError> {
        let shared = &self.handle.shared;
        let unsupported = || ConnectionError::Unsupported {
            address: shared.address(),
            api: R::API_KEY.name(),
        };
        let version = shared.versions.highest_common(R::API_KEY);
        version.ok_or_else(unsupported)
    }

    /// Hands a request over; `on_answer` is called exactly once unless this returns an error.
    pub(crate) fn send<R: Request>(
        &self,
        request: &R,
        terms: Terms,
        on_answer: impl FnOnce(Result<R::Response, ConnectionError>) + Send + 'static,
    ) -> Result<(), ConnectionError>
    where
        R::Response: Default,
    {
        let version = self.version_of::<R>()?.min(terms.version_max);
        let shared = &self.handle.shared;
        let address = Arc::clone(&shared.address);
        let api = R::API_KEY.name();
        let correlation_id = shared.correlation_ids.fetch_add(1, Ordering::Relaxed);
        let client_id = Some(&*shared.settings.client_id);
        let frame =
            request_frame(request, version, correlation_id, client_id).map_err(|source| {
                ConnectionError::Inexpressible {
                    address: shared.address(),
                    api,
                    source,
                }
            })?;
        let is_answered = terms.is_answered;
        let decode = move |frame: Bytes| -> Result<R::Response, ConnectionError> {
            if !is_answered {
                return Ok(R::Response::default());
            }
            let decoded = decode_response::<R::Response>(frame, version);
            decoded
                .map(|(_, response)| response)
                .map_err(|source| ConnectionError::Body {
                    address: BrokerAddress::clone(&address),
                    api,
                    source,
                })
        };
        let waiting = Waiting {
            correlation_id,
            api,
            timeout: terms.timeout,
            deadline: Instant::now() + terms.timeout,
            on_answer: Box::new(move |answer| on_answer(answer.and_then(decode))),
        };
        shared.hand_over(frame, waiting, is_answered)
    }

    /// Sends a request and waits for its answer, no longer than the client's request time-out.
    pub(crate) async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ConnectionError>
    where
        R::Response: Default + Send + 'static,
    {
        self.call_within(request, Duration::ZERO).await
    }

    /// Like [`Self::call`], for a request that the broker itself may hold for `held` before it answers.
    pub(crate) fn call_within<R: Request>(
        &self,
        request: &R,
        held: Duration,
    ) -> impl Future<Output = Result<R::Response, ConnectionError>> + Send + 'static
    where
        R::Response: Default + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let terms = Terms {
            timeout: self.handle.shared.settings.request_timeout + held,
            is_answered: true,
            version_max: i16::MAX,
        };
        let sent = self.send(request, terms, move |answer| {
            // Nobody listens if the caller's future was dropped: then the answer is not wanted.
            let _ = sender.send(answer);
        });
        let connection = self.clone();
        async move {
            sent?;
            let answer = receiver.await;
            drop(connection);
            answer.unwrap_or(Err(ConnectionError::ShutDown))
        }
    }
}

impl State {
    /// Returns the request that has to be done first. Answers come in order, or the requests have the same time-out: the
    /// deadline of the first one is what counts, and a later request with a shorter time-out is due no earlier than what
    /// it waits behind.
    fn first_due(&self) -> Option<&Waiting> {
        let firsts = [self.waiting.first(), self.unanswered.front()];
        let firsts = firsts.into_iter().flatten();
        firsts.min_by_key(|waiting| waiting.deadline)
    }
}

impl Shared {
    fn new(address: BrokerAddress, settings: ConnectionSettings, versions: SpokenVersions) -> Self {
        Self {
            address: Arc::new(address),
            settings,
            versions,
            correlation_ids: AtomicI32::new(1),
            state: Mutex::default(),
            work: Notify::new(),
            end: CancellationToken::new(),
        }
    }

    /// Returns the address for an error.
    fn address(&self) -> BrokerAddress {
        BrokerAddress::clone(&self.address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds this lock")
    }

    fn hand_over(
        &self,
        frame: Vec<Bytes>,
        waiting: Waiting,
        is_answered: bool,
    ) -> Result<(), ConnectionError> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let count = state.waiting.len() + state.unanswered.len();
        if count >= self.settings.requests_waiting_max {
            return Err(ConnectionError::TooManyWaiting {
                address: self.address(),
                count,
            });
        }
        state.outgoing.extend(frame);
        if is_answered {
            state.waiting.push(waiting);
        } else {
            state.unanswered.push_back(waiting);
        }
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Breaks the connection: everyone who waits, now or later, gets this cause, unless there was one before.
    fn fail(&self, cause: &ConnectionError) {
        let mut state = self.lock();
        let cause = state.failure.get_or_insert_with(|| cause.clone()).clone();
        let waiting = std::mem::take(&mut state.waiting);
        let unanswered = std::mem::take(&mut state.unanswered);
        state.outgoing = Vec::new();
        drop(state);
        self.end.cancel();
        for waiting in waiting.into_iter().chain(unanswered) {
            (waiting.on_answer)(Err(cause.clone()));
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Connection({})", self.address)
    }
}
