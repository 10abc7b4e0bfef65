//! Who votes: the quorum is made once, voters are added, replaced and moved, each time by one joint change.

use std::collections::{BTreeMap, BTreeSet};

use keylane_protocol::config::HOST_BYTES_MAX;
use openraft::error::{ClientWriteError, InitializeError as Refusal, RaftError};
use openraft::{ChangeMembers, RaftMetrics};

use super::Quorum;
use crate::controller::raft::types::{NodeId, Voter};
use crate::limits::RAFT_MEMBERS_MAX;

/// Why the first voters were not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError {
    /// This voter has a log or has voted already.
    #[error("the quorum exists already")]
    Exists,
    /// The voters are not ones that can begin.
    #[error("{fault}")]
    Unlawful {
        /// Why not.
        fault: &'static str,
    },
    /// The quorum has stopped.
    #[error("the quorum has stopped")]
    Stopped,
}

/// Why the voters were not changed. What was begun may still end, and can be asked for again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This voter does not lead.
    #[error("this voter does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<(NodeId, Voter)>,
    },
    /// The voters that there would be are not ones that can be.
    #[error("{fault}")]
    Unlawful {
        /// Why not.
        fault: &'static str,
    },
    /// Another change is under way.
    #[error("another change of the voters is under way")]
    UnderWay,
    /// It took too long or leadership was lost.
    #[error("the outcome of the change is unknown")]
    Unknown,
    /// The quorum has stopped.
    #[error("the quorum has stopped")]
    Stopped,
}

impl Quorum {
    /// Makes the quorum: once in a cluster's life, by one of its first voters, on empty folders.
    ///
    /// # Errors
    /// When there is one already, or the voters do not include this one or are two.
    pub async fn initialize(&self, voters: BTreeMap<NodeId, Voter>) -> Result<(), InitializeError> {
        let unlawful = |fault| InitializeError::Unlawful { fault };
        check(&voters, voters.len()).map_err(unlawful)?;
        if self.cluster_id.get().is_none() {
            return Err(unlawful("a quorum needs a cluster id"));
        }
        match self.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(Refusal::NotAllowed(_))) => Err(InitializeError::Exists),
            Err(RaftError::APIError(Refusal::NotInMembers(_))) => {
                Err(unlawful("the first voters must include this one"))
            }
            Err(RaftError::Fatal(_)) => Err(InitializeError::Stopped),
        }
    }

    /// Adds voters: see [`Quorum::change_voters`].
    ///
    /// # Errors
    /// When this voter does not lead, there would be two voters, or the new ones cannot be reached in time.
    pub async fn add_voters(&self, voters: BTreeMap<NodeId, Voter>) -> Result<(), ChangeError> {
        self.change_voters(voters, &BTreeSet::new()).await
    }

    /// Adds voters and removes others, say one whose disk was damaged: each new one first follows until it has caught up,
    /// then all begin to vote, and the others end, in one joint change. May be asked for again after any error. Removes
    /// also those that follow without a vote.
    ///
    /// # Errors
    /// When this voter does not lead, there would be two voters, or the new ones do not catch up in time: they then follow
    /// without a vote, and nothing else has changed.
    pub async fn change_voters(
        &self,
        add: BTreeMap<NodeId, Voter>,
        remove: &BTreeSet<NodeId>,
    ) -> Result<(), ChangeError> {
        let unlawful = |fault| ChangeError::Unlawful { fault };
        let before: BTreeSet<_> = self.voters().into_keys().collect();
        let after = &(&before | &add.keys().copied().collect()) - remove;
        check(&add, after.len()).map_err(unlawful)?;
        let changed = async {
            for (id, voter) in add.into_iter().filter(|(id, _)| !before.contains(id)) {
                self.follow(id, voter).await?;
            }
            self.change(ChangeMembers::ReplaceAllVoters(after)).await?;
            let learners: BTreeSet<_> = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow();
                metrics
                    .membership_config
                    .membership()
                    .learner_ids()
                    .collect()
            };
            let learners = &learners & remove;
            if learners.is_empty() {
                return Ok(());
            }
            self.change(ChangeMembers::RemoveNodes(learners)).await
        };
        self.in_time(changed).await
    }

    /// Lets a node follow and waits until it has all that there was when it began. (openraft's own waiting takes a node
    /// that was never reached for one that is not far behind; it would then vote, and a quorum might be out of reach.)
    async fn follow(&self, id: NodeId, voter: Voter) -> Result<(), ChangeError> {
        let added = self.raft.add_learner(id, voter, false).await;
        let begun = added.map_err(change_error)?.log_id;
        let mut metrics = self.raft.metrics();
        let is_done = |metrics: &RaftMetrics<NodeId, Voter>| {
            let followers = metrics.replication.as_ref();
            let is_there = followers.map(|all| all.get(&id).copied().flatten() >= Some(begun));
            metrics.running_state.is_err() || is_there != Some(false)
        };
        let done = metrics.wait_for(is_done).await;
        let is_leading = done.is_ok_and(|metrics| metrics.replication.is_some());
        if is_leading {
            return Ok(());
        }
        let leader = self.leader();
        Err(ChangeError::NotLeader { leader })
    }

    async fn change(&self, change: ChangeMembers<NodeId, Voter>) -> Result<(), ChangeError> {
        let changed = self.raft.change_membership(change, false).await;
        changed.map(drop).map_err(change_error)
    }

    /// Notes where a member is reached from now on.
    ///
    /// # Errors
    /// When this voter does not lead, the node is no member, or it takes too long.
    pub async fn move_member(&self, id: NodeId, voter: Voter) -> Result<(), ChangeError> {
        let unlawful = |fault| ChangeError::Unlawful { fault };
        let is_member = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            metrics
                .membership_config
                .membership()
                .get_node(&id)
                .is_some()
        };
        if !is_member {
            return Err(unlawful("only a member can move"));
        }
        let moved = BTreeMap::from([(id, voter)]);
        check(&moved, moved.len()).map_err(unlawful)?;
        self.in_time(self.change(ChangeMembers::SetNodes(moved)))
            .await
    }

    async fn in_time(
        &self,
        change: impl Future<Output = Result<(), ChangeError>>,
    ) -> Result<(), ChangeError> {
        let changed = tokio::time::timeout(self.settings.answer_timeout, change).await;
        changed.unwrap_or(Err(ChangeError::Unknown))
    }
}

/// Says what is wrong with voters of whom there would be `count` in the end.
fn check(voters: &BTreeMap<NodeId, Voter>, count: usize) -> Result<(), &'static str> {
    if count == 0 || count > RAFT_MEMBERS_MAX {
        return Err("the number of voters is out of range");
    }
    if count == 2 {
        return Err("two voters are worse than one: either's end stops both");
    }
    if voters
        .values()
        .any(|voter| voter.host.len() > HOST_BYTES_MAX)
    {
        return Err("the name of a voter's host is too long");
    }
    Ok(())
}

fn change_error(error: RaftError<NodeId, ClientWriteError<NodeId, Voter>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => ChangeError::NotLeader {
            leader: to.leader_id.zip(to.leader_node),
        },
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) => ChangeError::UnderWay,
        RaftError::Fatal(_) => ChangeError::Stopped,
    }
}
