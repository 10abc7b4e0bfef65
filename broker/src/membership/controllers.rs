//! Calls the leading controller, wherever it is: at this broker, or at another voter over a link.
//!
//! ```text
//! the voter that led last ─NotController, names who leads─▶ that one ─not reached─▶ the others in turn ─▶ a pause, again
//! ```
//! What may have been done by one is not asked of another, unless to do it twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::cluster::Endpoint;
use keylane_protocol::cluster::call::{
    BrokerHeartbeatAnswer, Call, CallBody, CallKind, DescribeQuorumAnswer, DescribeQuorumRequest,
    FetchMetadataAnswer, ForwardAnswer, RegisterBrokerAnswer,
};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::transport::CallError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::links::{CallLinks, Peer};
use crate::config::{BrokerConfig, VoterAddress};
use crate::controller::service::ControllerHandle;
use crate::handler::controller_calls;

/// How long a call to the controllers may take, all tries together.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one voter is waited for, where another may be asked the same; longer than metadata is waited for there.
const TRY_TIMEOUT: Duration = Duration::from_secs(8);

/// How long to wait before another try.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Calls the leading controller.
#[derive(Clone)]
pub(crate) struct Controllers {
    shared: Arc<Shared>,
}

struct Shared {
    /// This broker's own; `None` if it is no voter.
    own: Option<ControllerHandle>,
    config: Arc<BrokerConfig>,
    /// The other voters.
    others: BTreeMap<BrokerId, Peer>,
    links: CallLinks,
    /// The voter that led when it was last heard of.
    leader: AtomicI32,
    /// When a leading controller last answered.
    heard_at: Mutex<Option<Instant>>,
}

/// What the try to ask one voter has come to.
enum Tried<A> {
    Answered(A),
    /// It does not lead, and names who does, or nobody.
    Elsewhere(BrokerId),
    NeverSent,
    Unknown,
    /// It cannot be asked that.
    Refused,
}

impl Controllers {
    pub(crate) fn new(
        own: Option<ControllerHandle>,
        config: Arc<BrokerConfig>,
        links: CallLinks,
    ) -> Self {
        let others = config.voters.iter().filter(|voter| voter.id != config.id);
        let peer = |voter: &VoterAddress| {
            let at = Endpoint {
                host: voter.host.as_str().into(),
                port: voter.port,
            };
            let id = voter.id;
            (id, Peer { id, at })
        };
        let others = others.map(peer).collect();
        let shared = Shared {
            own,
            config,
            others,
            links,
            leader: AtomicI32::new(BrokerId::NONE.0),
            heard_at: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns this broker's own controller, which need not lead; `None` if it is no voter.
    pub(crate) fn own(&self) -> Option<&ControllerHandle> {
        self.shared.own.as_ref()
    }

    /// Asks the leading controller; waits for one that leads as long as a call may take.
    ///
    /// # Errors
    /// The code to answer with when no controller answers in time.
    pub(crate) async fn call<C: Call>(&self, request: &C) -> Result<C::Answer, ErrorCode>
    where
        C::Answer: Redirected,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let body = request.to_bytes().map_err(|_| ErrorCode::InvalidRequest)?;
        let mut turns = Turns::new(self.voters(), self.led_last());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left <= RETRY_PAUSE {
                return Err(ErrorCode::RequestTimedOut);
            }
            let Some(voter) = turns.next() else {
                sleep(RETRY_PAUSE).await;
                turns = Turns::new(self.voters(), self.led_last());
                continue;
            };
            let within = match C::Answer::IS_REPEATABLE {
                true => left.min(TRY_TIMEOUT),
                false => left,
            };
            match self.ask::<C>(voter, body.clone(), within).await {
                Tried::Answered(answer) => {
                    self.hear(voter);
                    return Ok(answer);
                }
                Tried::Elsewhere(leader) => {
                    self.shared.leader.store(leader.0, Ordering::Relaxed);
                    turns.prefer(leader);
                }
                Tried::Unknown if !C::Answer::IS_REPEATABLE => {
                    return Err(ErrorCode::RequestTimedOut);
                }
                Tried::Refused => return Err(ErrorCode::InvalidRequest),
                Tried::NeverSent | Tried::Unknown => {}
            }
        }
    }

    /// Tells every voter something, each in a task of its own; returns the answer of the one that leads, if it comes
    /// within `within`.
    pub(crate) async fn tell_every<C>(&self, request: &C, within: Duration) -> Option<C::Answer>
    where
        C: Call,
        C::Answer: Redirected + Send + 'static,
    {
        let body = request.to_bytes().ok()?;
        let voters: Vec<BrokerId> = self.voters().collect();
        let (answered, mut answers) = mpsc::channel(voters.len().max(1));
        for voter in voters {
            let (controllers, body) = (self.clone(), body.clone());
            let answered = answered.clone();
            tokio::spawn(async move {
                if let Tried::Answered(answer) = controllers.ask::<C>(voter, body, within).await {
                    // The first has been heard.
                    let _ = answered.send((voter, answer)).await;
                }
            });
        }
        drop(answered);
        let (voter, answer) = answers.recv().await?;
        self.hear(voter);
        Some(answer)
    }

    /// Notes that a voter leads, and has just answered.
    fn hear(&self, voter: BrokerId) {
        self.shared.leader.store(voter.0, Ordering::Relaxed);
        let heard_at = self.shared.heard_at.lock();
        *heard_at.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns how long ago a leading controller answered; `None` if none ever did.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let heard_at = self.shared.heard_at.lock();
        let heard_at = *heard_at.unwrap_or_else(PoisonError::into_inner);
        Some(heard_at?.elapsed())
    }

    /// Returns the other voters that are listed.
    pub(crate) fn others(&self) -> impl Iterator<Item = BrokerId> + use<'_> {
        self.shared.others.keys().copied()
    }

    /// Asks another voter what it knows of the quorum and of this broker.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(crate) async fn describe(
        &self,
        voter: BrokerId,
        within: Duration,
    ) -> Result<DescribeQuorumAnswer, String> {
        let peer = self.shared.others.get(&voter).ok_or("it is not listed")?;
        let links = &self.shared.links;
        let request = DescribeQuorumRequest {
            registered_id: self.shared.config.id,
            ..DescribeQuorumRequest::default()
        };
        let body = request.to_bytes().map_err(|error| error.to_string())?;
        let kind = CallKind::DescribeQuorum.number();
        let reply = links.call(peer, kind, body, within).await;
        let reply =
            reply.map_err(|error| links.fault(peer).unwrap_or_else(|| error.to_string()))?;
        DescribeQuorumAnswer::from_bytes(reply).map_err(|error| error.to_string())
    }

    /// Returns why voters are not reached, in words, each where it is looked for.
    pub(crate) fn faults(&self) -> String {
        let links = &self.shared.links;
        let faults = self.shared.others.values().filter_map(|peer| {
            let fault = links.fault(peer)?;
            Some(format!("broker {} at {}: {fault}", peer.id, peer.at))
        });
        faults.collect::<Vec<_>>().join("; ")
    }

    /// Returns all voters, this broker first if it is one.
    fn voters(&self) -> impl Iterator<Item = BrokerId> + use<'_> {
        let own = self.own().map(|_| self.shared.config.id);
        own.into_iter().chain(self.shared.others.keys().copied())
    }

    fn led_last(&self) -> BrokerId {
        BrokerId(self.shared.leader.load(Ordering::Relaxed))
    }

    async fn ask<C: Call>(&self, voter: BrokerId, body: Bytes, within: Duration) -> Tried<C::Answer>
    where
        C::Answer: Redirected,
    {
        let reply = match self.own().filter(|_| voter == self.shared.config.id) {
            Some(own) => {
                let answered = controller_calls::answer(own, &self.shared.config, C::KIND, body);
                match timeout(within, answered).await {
                    Ok(answered) => answered.map_err(|_| Tried::Refused),
                    Err(_) => Err(Tried::Unknown),
                }
            }
            None => {
                let Some(peer) = self.shared.others.get(&voter) else {
                    return Tried::NeverSent;
                };
                let links = &self.shared.links;
                let reply = links.call(peer, C::KIND.number(), body, within).await;
                reply.map_err(|error| tried(&error))
            }
        };
        match reply.map(C::Answer::from_bytes) {
            Ok(Ok(answer)) if answer.error_code() == ErrorCode::NotController => {
                Tried::Elsewhere(answer.controller_id())
            }
            Ok(Ok(answer)) => Tried::Answered(answer),
            Ok(Err(_)) => Tried::Refused,
            Err(tried) => tried,
        }
    }
}

fn tried<A>(error: &CallError) -> Tried<A> {
    match error {
        CallError::NeverSent => Tried::NeverSent,
        CallError::Unknown => Tried::Unknown,
        CallError::Refused { error_code, .. } => match error_code {
            // A broker that does not take itself for a voter, or has too much to do.
            ErrorCode::NotController | ErrorCode::ThrottlingQuotaExceeded => {
                Tried::Elsewhere(BrokerId::NONE)
            }
            ErrorCode::RequestTimedOut => Tried::Unknown,
            _ => Tried::Refused,
        },
    }
}

/// Which voter is asked next: each once.
#[derive(Debug)]
struct Turns {
    untried: BTreeSet<BrokerId>,
    /// In the order in which they are tried.
    order: Vec<BrokerId>,
    preferred: BrokerId,
}

impl Turns {
    fn new(voters: impl Iterator<Item = BrokerId>, preferred: BrokerId) -> Self {
        let order: Vec<BrokerId> = voters.collect();
        Self {
            untried: order.iter().copied().collect(),
            order,
            preferred,
        }
    }

    /// Has a voter asked next, unless it was.
    fn prefer(&mut self, voter: BrokerId) {
        self.preferred = voter;
    }

    fn next(&mut self) -> Option<BrokerId> {
        let in_order = self.order.iter().find(|voter| self.untried.contains(voter));
        let next = match self.untried.contains(&self.preferred) {
            true => self.preferred,
            false => *in_order?,
        };
        self.untried.remove(&next);
        Some(next)
    }
}

/// An answer that may say that another voter leads.
pub(crate) trait Redirected: CallBody {
    /// Whether another voter may be asked the same when it is not known what became of it at the first.
    const IS_REPEATABLE: bool;

    /// Returns whether the call was answered, and why not.
    fn error_code(&self) -> ErrorCode;

    /// Returns who leads; none if that is not known.
    fn controller_id(&self) -> BrokerId;
}

macro_rules! redirected {
    ($($answer:ident, $is_repeatable:literal;)*) => {$(
        impl Redirected for $answer {
            const IS_REPEATABLE: bool = $is_repeatable;

            fn error_code(&self) -> ErrorCode {
                self.error_code
            }

            fn controller_id(&self) -> BrokerId {
                self.controller_id
            }
        }
    )*};
}

redirected! {
    RegisterBrokerAnswer, true;
    BrokerHeartbeatAnswer, true;
    FetchMetadataAnswer, true;
    ForwardAnswer, false;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(voters: &[i32], preferred: i32) -> Turns {
        Turns::new(voters.iter().map(|&id| BrokerId(id)), BrokerId(preferred))
    }

    fn rest(turns: &mut Turns) -> Vec<i32> {
        std::iter::from_fn(|| turns.next().map(|id| id.0)).collect()
    }

    #[test]
    fn who_led_last_is_asked_first_and_each_voter_once() {
        assert_eq!(rest(&mut turns(&[2, 1, 3], -1)), [2, 1, 3]);
        assert_eq!(rest(&mut turns(&[2, 1, 3], 3)), [3, 2, 1]);
        assert_eq!(rest(&mut turns(&[2, 1, 3], 9)), [2, 1, 3]);
    }

    #[test]
    fn whom_a_voter_names_is_asked_next_but_not_twice() {
        let mut turns = turns(&[1, 2, 3], -1);
        assert_eq!(turns.next(), Some(BrokerId(1)));
        turns.prefer(BrokerId(3));
        assert_eq!(turns.next(), Some(BrokerId(3)));
        turns.prefer(BrokerId(1));
        assert_eq!(rest(&mut turns), [2]);
    }
}
