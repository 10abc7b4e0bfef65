//! One link to a broker that may lead the controllers, as long as it lasts.

use bytes::Bytes;
use keylane_protocol::cluster::call::{
    Call as _, CallBody, CallKind, DescribeQuorumAnswer, DescribeQuorumRequest,
    FetchMetadataAnswer, FetchMetadataRequest, RouterHeartbeatAnswer, RouterHeartbeatRequest,
};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::call::{Call, Reply};
use keylane_protocol::link::handshake::Welcome;
use keylane_protocol::link::{Body, Dialer, Fate, Told};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::follow::Follower;
use crate::advertise::router_id;
use crate::limits::{FAREWELL, HEARTBEAT_EVERY, METADATA_TIME_OUT, METADATA_WAIT};
use crate::link::wire::{LinkError, Port, Wire};

/// How a link ended.
pub(super) enum Ended {
    /// The router stops.
    Stopped,
    /// This broker leads; [`BrokerId::NONE`] if nobody knows who does.
    Redirected(BrokerId),
    /// It was followed, and is gone.
    Lost(String),
}

/// Who waits for a reply.
enum Waiting {
    /// This router, for what has changed since an index.
    Metadata(i64),
    /// This router, for where the voters are.
    Quorum,
    /// This router, for nothing in particular.
    Heartbeat,
    /// A client's session.
    Client(oneshot::Sender<Result<Bytes, Fate>>),
}

/// A link that is up.
pub(super) struct Linked<'a> {
    follower: &'a mut Follower,
    wire: Wire,
    port: Port<Waiting>,
    broker: BrokerId,
    heartbeat_at: Instant,
}

impl<'a> Linked<'a> {
    pub(super) fn new(
        follower: &'a mut Follower,
        wire: Wire,
        welcome: &Welcome,
        now: Instant,
    ) -> Self {
        Self {
            follower,
            wire,
            port: Port::new(Dialer::new(welcome, now.into_std())),
            broker: welcome.broker_id,
            heartbeat_at: now,
        }
    }

    /// Follows and asks until the link is lost or another is to be asked.
    pub(super) async fn run(mut self, stopping: &CancellationToken) -> Ended {
        self.ask_for_metadata();
        let mut told = Vec::new();
        let ended = loop {
            let turned = tokio::select! {
                () = stopping.cancelled() => break self.leave(&mut told).await,
                turned = self.wire.turn(&self.port, &mut told) => turned,
                Some(ask) = self.follower.asks.waiting.recv() => {
                    self.call(ask.kind, ask.body, ask.deadline, Waiting::Client(ask.answer));
                    Ok(())
                }
                () = sleep_until(self.heartbeat_at) => {
                    self.heartbeat(false);
                    Ok(())
                }
            };
            if let Some(ended) = self.take_all(&mut told, turned) {
                break ended;
            }
        };
        for (waiting, fate) in self.port.lose() {
            waiting.lost(fate);
        }
        ended
    }

    fn take_all(
        &mut self,
        told: &mut Vec<Told<Waiting>>,
        turned: Result<(), LinkError>,
    ) -> Option<Ended> {
        let mut ended = None;
        for told in told.drain(..) {
            let next = match told {
                Told::Reply(Waiting::Metadata(asked), reply) => self.on_metadata(asked, reply),
                Told::Reply(Waiting::Quorum, reply) => Some(self.on_quorum(reply)),
                Told::Lost(Waiting::Quorum, _) => Some(Ended::Redirected(BrokerId::NONE)),
                Told::Reply(Waiting::Heartbeat, reply) => {
                    on_heartbeat(reply);
                    None
                }
                Told::Reply(Waiting::Client(answer), reply) => {
                    let _ = answer.send(body_of(reply));
                    None
                }
                Told::Lost(Waiting::Metadata(_), _) => {
                    Some(Ended::Lost("no metadata came in time".to_owned()))
                }
                Told::Lost(waiting, fate) => {
                    waiting.lost(fate);
                    None
                }
                Told::Answer(..) | Told::Outcome(..) | Told::Push(_) | Told::Room(_) => None,
            };
            ended = ended.or(next);
        }
        ended.or_else(|| turned.err().map(|error| Ended::Lost(error.to_string())))
    }

    fn on_metadata(&mut self, asked: i64, reply: Reply) -> Option<Ended> {
        match reply.error_code {
            ErrorCode::None => {}
            // It is no voter.
            ErrorCode::NotController => return Some(Ended::Redirected(BrokerId::NONE)),
            other => return Some(Ended::Lost(other.name().to_string())),
        }
        let answer = match FetchMetadataAnswer::from_bytes(reply.chunk.into_bytes()) {
            Ok(answer) => answer,
            Err(error) => return Some(Ended::Lost(error.to_string())),
        };
        if answer.error_code == ErrorCode::NotController {
            if self.follower.knows(answer.controller_id) {
                return Some(Ended::Redirected(answer.controller_id));
            }
            self.ask_for_voters();
            return None;
        }
        if !answer.error_code.is_none() {
            return Some(Ended::Lost(answer.error_code.name().to_string()));
        }
        if let Err(error) = self.follower.take(asked, &answer) {
            if self.follower.is_unfit {
                return Some(Ended::Lost(error.to_string()));
            }
            warn!(broker = self.broker.0, %error, "metadata does not fit: everything is asked for again");
            self.follower.is_unfit = true;
        }
        self.ask_for_metadata();
        None
    }

    fn ask_for_metadata(&mut self) {
        let index = self.follower.index();
        let wait_ms = i32::try_from(METADATA_WAIT.as_millis()).unwrap_or(i32::MAX);
        let request = FetchMetadataRequest { index, wait_ms };
        let deadline = Instant::now() + METADATA_TIME_OUT;
        let body = request.to_bytes().expect("it has no texts");
        let kind = FetchMetadataRequest::KIND;
        self.call(kind.number(), body, deadline, Waiting::Metadata(index));
    }

    /// Asks where the leader is that was named: without an image this router knows nobody.
    fn ask_for_voters(&mut self) {
        let request = DescribeQuorumRequest::default();
        let deadline = Instant::now() + METADATA_TIME_OUT;
        let body = request.to_bytes().expect("it has no texts");
        let kind = CallKind::DescribeQuorum.number();
        self.call(kind, body, deadline, Waiting::Quorum);
    }

    fn on_quorum(&mut self, reply: Reply) -> Ended {
        match DescribeQuorumAnswer::from_bytes(reply.chunk.into_bytes()) {
            Ok(answer) => {
                self.follower.on_voters(&answer.voters);
                Ended::Redirected(answer.controller_id)
            }
            Err(error) => Ended::Lost(error.to_string()),
        }
    }

    /// Says that this router lives, or stops, where it has an address to tell.
    fn heartbeat(&mut self, is_stopping: bool) {
        self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        let Some(advertise) = &self.follower.advertise else {
            return;
        };
        let known = self.follower.known();
        if !known.is_founded() {
            return;
        }
        let request = RouterHeartbeatRequest {
            router_id: router_id(advertise, &known.image),
            host: advertise.host.clone(),
            port: i32::from(advertise.port),
            is_stopping,
        };
        let body = request
            .to_bytes()
            .expect("a host has at most 255 characters");
        let deadline = Instant::now() + METADATA_TIME_OUT;
        let kind = CallKind::RouterHeartbeat.number();
        self.call(kind, body, deadline, Waiting::Heartbeat);
    }

    fn call(&self, kind: u16, body: Bytes, deadline: Instant, waiting: Waiting) {
        let call = Call {
            kind,
            chunk: Body::from(body),
            ..Call::default()
        };
        let called = self
            .port
            .with(|dialer| dialer.call(call, deadline.into_std(), waiting));
        if let Some(Err(refused)) = called {
            refused.item.1.lost(Fate::NeverSent);
        }
    }

    /// Says that this router stops, if there is time.
    async fn leave(&mut self, told: &mut Vec<Told<Waiting>>) -> Ended {
        if self.follower.advertise.is_some() {
            self.heartbeat(true);
            let until = Instant::now() + FAREWELL;
            let is_heard =
                |told: &Told<Waiting>| matches!(told, Told::Reply(Waiting::Heartbeat, _));
            while !told.iter().any(is_heard) {
                let turned = tokio::select! {
                    turned = self.wire.turn(&self.port, told) => turned,
                    () = sleep_until(until) => break,
                };
                if turned.is_err() {
                    break;
                }
            }
        }
        Ended::Stopped
    }
}

impl Waiting {
    fn lost(self, fate: Fate) {
        if let Self::Client(answer) = self {
            let _ = answer.send(Err(fate));
        }
    }
}

/// Returns the body of a reply to a client's question; without one it was either not looked at, or that is not known.
fn body_of(reply: Reply) -> Result<Bytes, Fate> {
    match reply.error_code {
        ErrorCode::None => Ok(reply.chunk.into_bytes()),
        ErrorCode::NotController | ErrorCode::ThrottlingQuotaExceeded => Err(Fate::NeverSent),
        _ => Err(Fate::Unknown),
    }
}

fn on_heartbeat(reply: Reply) {
    match RouterHeartbeatAnswer::from_bytes(reply.chunk.into_bytes()) {
        Ok(answer) if answer.error_code.is_none() => {}
        Ok(answer) => {
            let words = answer.error_message.unwrap_or_default();
            debug!(error = %answer.error_code.name(), %words, "a heartbeat was refused");
        }
        Err(error) => debug!(%error, "a heartbeat was not answered"),
    }
}
