//! openraft's network over [`Peers`]: calls become bytes, answers become what openraft understands.
//!
//! It also keeps when each follower last acknowledged this leader, from the moment the call was *sent*: what openraft
//! reports is as old as its last report, and a process that was stopped for a while would take it for young.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::identifiers::ClusterId;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use tokio::time::Instant;

use super::message::{Answer, Call, Request};
use super::types::{Membership, NodeId, Types, Vote, Voter};

/// Why a peer did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nothing was sent, or nobody knows whether it arrived.
    #[error("the voter cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// There was no answer in time.
    #[error("the voter did not answer in time")]
    TimedOut,
    /// The answer makes no sense.
    #[error("the voter's answer is wrong: {answer}")]
    Wrong {
        /// What it was.
        answer: String,
    },
}

/// Carries calls to other voters and their answers back.
pub trait Peers: Send + Sync + 'static {
    /// Sends a call, of at most [`RAFT_MESSAGE_BYTES_MAX`](crate::limits::RAFT_MESSAGE_BYTES_MAX) bytes, to whoever
    /// listens at the voter's address, who gives it to [`Quorum::answer`](super::Quorum::answer); returns the answer, or
    /// an error within `timeout`. The future may be dropped at any time. Calls to one voter need not arrive in order.
    fn call(
        &self,
        voter: &Voter,
        call: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, PeerError>> + Send;
}

/// When followers last acknowledged a leader.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements(Mutex<BTreeMap<NodeId, (Vote, Instant)>>);

impl Acknowledgements {
    fn note(&self, from: NodeId, vote: Vote, sent: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(from).or_insert((vote, sent));
        if (vote, sent) > *kept {
            *kept = (vote, sent);
        }
    }

    /// Returns how long before `now` a quorum last acknowledged a leader with this vote; the leader itself does always.
    pub(super) fn age(
        &self,
        me: NodeId,
        vote: Vote,
        members: &Membership,
        now: Instant,
    ) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut oldest = now;
        for voters in members.get_joint_config() {
            let sent = voters.iter().map(|voter| {
                let known = all.get(voter).filter(|(to, _)| *to == vote);
                if *voter == me {
                    Some(now)
                } else {
                    known.map(|(_, sent)| *sent)
                }
            });
            let mut sent: Vec<_> = sent.collect();
            sent.sort_unstable_by(|a, b| b.cmp(a));
            // The oldest of the youngest majority.
            oldest = oldest.min((*sent.get(voters.len() / 2)?)?);
        }
        Some(now - oldest)
    }
}

/// What all connections share.
pub(super) struct Network<P> {
    pub(super) peers: P,
    pub(super) cluster_id: Arc<OnceLock<ClusterId>>,
    pub(super) acknowledgements: Arc<Acknowledgements>,
    /// How long to wait before a voter that cannot be reached is tried again.
    pub(super) pause: Duration,
}

/// Makes connections.
pub(super) struct Connections<P>(pub(super) Arc<Network<P>>);

/// Reaches one voter.
pub(super) struct Connection<P> {
    network: Arc<Network<P>>,
    to: NodeId,
    voter: Voter,
}

impl<P: Peers> RaftNetworkFactory<Types> for Connections<P> {
    type Network = Connection<P>;

    async fn new_client(&mut self, target: NodeId, node: &Voter) -> Connection<P> {
        Connection {
            network: Arc::clone(&self.0),
            to: target,
            voter: node.clone(),
        }
    }
}

type CallError<E = openraft::error::Infallible> = RPCError<NodeId, Voter, RaftError<NodeId, E>>;

fn wrong<E: std::error::Error>(answer: &Answer) -> RPCError<NodeId, Voter, E> {
    let answer = format!("{answer:?}");
    RPCError::Network(NetworkError::new(&PeerError::Wrong { answer }))
}

impl<P: Peers> Connection<P> {
    async fn call<E: std::error::Error>(
        &self,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer, RPCError<NodeId, Voter, E>> {
        let answered = self.exchange(request, timeout).await;
        answered.map_err(|error| match error {
            PeerError::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(&error)),
            error => RPCError::Network(NetworkError::new(&error)),
        })
    }

    async fn exchange(&self, request: Request, timeout: Duration) -> Result<Answer, PeerError> {
        let unreachable = |reason: &str| PeerError::Unreachable {
            reason: reason.to_owned(),
        };
        let cluster_id = self.network.cluster_id.get();
        let call = Call {
            cluster_id: *cluster_id.ok_or_else(|| unreachable("the cluster is not known yet"))?,
            to: self.to,
            request,
        };
        let sent = self.network.peers.call(&self.voter, call.encode(), timeout);
        let answer = tokio::time::timeout(timeout, sent).await;
        let answer = Answer::decode(answer.map_err(|_| PeerError::TimedOut)??);
        match answer {
            Ok(Answer::Unavailable) => Err(unreachable("it has stopped or is overloaded")),
            Ok(Answer::Misaddressed { node_id, .. }) => {
                tracing::warn!(
                    host = self.voter.host,
                    port = self.voter.port,
                    expected = self.to,
                    found = node_id,
                    "another voter, or one of another cluster, listens there"
                );
                Err(unreachable("another voter listens there"))
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(PeerError::Wrong {
                answer: error.to_string(),
            }),
        }
    }
}

impl<P: Peers> RaftNetwork<Types> for Connection<P> {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallError> {
        let vote = rpc.vote;
        let before = rpc.prev_log_id;
        let last = rpc.entries.last().map(|entry| entry.log_id).or(before);
        let sent = Instant::now();
        let answer = self.call(Request::Append(rpc), option.hard_ttl()).await?;
        let response = match answer {
            Answer::Appended => AppendEntriesResponse::Success,
            // openraft takes for granted that what it is told can be so.
            Answer::AppendedUpTo(upto) if (before..=last).contains(&upto) => {
                AppendEntriesResponse::PartialSuccess(upto)
            }
            Answer::Conflict if before.is_some() => AppendEntriesResponse::Conflict,
            Answer::HigherVote(higher) if higher > vote => {
                return Ok(AppendEntriesResponse::HigherVote(higher));
            }
            answer => return Err(wrong(&answer)),
        };
        self.network.acknowledgements.note(self.to, vote, sent);
        Ok(response)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, CallError<InstallSnapshotError>> {
        let got = (rpc.meta.snapshot_id.clone(), rpc.offset).into();
        let beginning = (rpc.meta.snapshot_id.clone(), 0).into();
        match self.call(Request::Snapshot(rpc), option.hard_ttl()).await? {
            Answer::Received(vote) => Ok(InstallSnapshotResponse { vote }),
            Answer::FromTheBeginning => {
                let expect = beginning;
                let mismatch = SnapshotMismatch { expect, got };
                let error = RaftError::APIError(mismatch.into());
                Err(RPCError::RemoteError(RemoteError::new(self.to, error)))
            }
            answer => Err(wrong(&answer)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallError> {
        match self.call(Request::Vote(rpc), option.hard_ttl()).await? {
            Answer::Voted {
                vote,
                is_granted,
                last,
            } => Ok(VoteResponse::new(vote, last, is_granted)),
            answer => Err(wrong(&answer)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = 1;

    fn members(configs: &[&[NodeId]]) -> Membership {
        let configs = configs
            .iter()
            .map(|voters| voters.iter().copied().collect());
        Membership::new(configs.collect(), BTreeMap::<NodeId, Voter>::new())
    }

    fn second(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn a_quorums_age_is_that_of_the_oldest_call_that_its_majority_needs() {
        let leading = Vote::new_committed(4, ME);
        let acknowledgements = Acknowledgements::default();
        let begin = Instant::now();
        let age = |configs| {
            let now = second(begin, 7);
            let age = acknowledgements.age(ME, leading, &members(configs), now);
            age.map(|age| age.as_secs())
        };
        assert_eq!(age(&[&[ME]]), Some(0));
        assert_eq!(age(&[&[ME, 2, 3]]), None, "nobody has answered");
        acknowledgements.note(2, leading, begin);
        acknowledgements.note(3, leading, second(begin, 5));
        assert_eq!(age(&[&[ME, 2, 3]]), Some(2));
        assert_eq!(age(&[&[ME, 2]]), Some(7));
        assert_eq!(age(&[&[2, 3, 4]]), Some(7), "a leader need not vote");
        assert_eq!(age(&[&[ME, 2, 3, 4, 5]]), Some(7));
        assert_eq!(age(&[&[ME, 2, 3], &[ME, 2]]), Some(7), "both must have it");
        assert_eq!(age(&[&[ME, 2, 3], &[4, 5, 6]]), None);
    }

    #[test]
    fn what_was_acknowledged_in_an_older_term_or_sent_earlier_does_not_count() {
        let acknowledgements = Acknowledgements::default();
        let (older, newer) = (Vote::new_committed(4, ME), Vote::new_committed(6, ME));
        let begin = Instant::now();
        let two = members(&[&[ME, 2]]);
        acknowledgements.note(2, older, begin);
        assert_eq!(acknowledgements.age(ME, newer, &two, begin), None);
        let now = second(begin, 1);
        acknowledgements.note(2, newer, now);
        // Answers of calls that overtook one another.
        acknowledgements.note(2, newer, begin);
        acknowledgements.note(2, older, now);
        assert_eq!(
            acknowledgements.age(ME, newer, &two, now),
            Some(Duration::ZERO)
        );
    }
}
