//! How a voter answers the calls of others: only those that are meant for it, and no more at once than it can hold.

use bytes::Bytes;
use keylane_protocol::identifiers::ClusterId;
use openraft::error::RaftError;
use openraft::raft::AppendEntriesResponse;

use super::Quorum;
use crate::controller::raft::message::{Answer, Call, Request};

impl Quorum {
    /// Answers a call of another voter.
    pub async fn answer(&self, call: Bytes) -> Bytes {
        self.answer_to(call).await.encode()
    }

    async fn answer_to(&self, call: Bytes) -> Answer {
        let Ok(permit) = self.calls.try_acquire() else {
            return Answer::Unavailable;
        };
        let _permit = permit;
        let Ok(call) = Call::decode(call) else {
            return Answer::NotUnderstood;
        };
        let is_mine = call.to == self.node_id;
        let known = self.cluster_id.get().copied();
        if !is_mine || known.is_some_and(|known| known != call.cluster_id) {
            return Answer::Misaddressed {
                cluster_id: known.unwrap_or(ClusterId([0; 16])),
                node_id: self.node_id,
            };
        }
        // Nobody can know this voter's random id but who was told to add it.
        self.cluster_id.get_or_init(|| call.cluster_id);
        match call.request {
            Request::Append(request) => match self.raft.append_entries(request).await {
                Ok(AppendEntriesResponse::Success) => Answer::Appended,
                Ok(AppendEntriesResponse::PartialSuccess(last)) => Answer::AppendedUpTo(last),
                Ok(AppendEntriesResponse::Conflict) => Answer::Conflict,
                Ok(AppendEntriesResponse::HigherVote(vote)) => Answer::HigherVote(vote),
                Err(_) => Answer::Unavailable,
            },
            Request::Vote(request) => match self.raft.vote(request).await {
                Ok(response) => Answer::Voted {
                    vote: response.vote,
                    is_granted: response.vote_granted,
                    last: response.last_log_id,
                },
                Err(_) => Answer::Unavailable,
            },
            Request::Snapshot(request) => match self.raft.install_snapshot(request).await {
                Ok(response) => Answer::Received(response.vote),
                Err(RaftError::APIError(_)) => Answer::FromTheBeginning,
                Err(RaftError::Fatal(_)) => Answer::Unavailable,
            },
        }
    }
}
