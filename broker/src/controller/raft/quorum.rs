//! The quorum as the rest of the broker sees it: propose, confirm, follow who leads, change who votes.
//!
//! What is proposed is answered when it was applied here. An answer that does not come, for whatever reason, leaves the
//! outcome unknown: the entry may still be agreed on later, by another leader. A leader is one that says so *and* was
//! acknowledged by a quorum lately; [`Quorum::acknowledged_ago`] says how lately.

mod answer;
mod members;
mod tend;

pub use members::{ChangeError, InitializeError};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::identifiers::ClusterId;
use openraft::error::{CheckIsLeaderError, Fatal, RaftError};
use openraft::{Config, Raft, ServerState, SnapshotPolicy};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::log_storage::LogStorage;
use super::machine::{Machine, Replica};
use super::network::{Acknowledgements, Connections, Network, Peers};
use super::store::Store;
use super::store::thread::{Condition, StoreThread};
use super::types::{NodeId, Types, Voter};
use crate::limits::{
    RAFT_CALLS_MAX, RAFT_ENTRIES_KEPT, RAFT_ENTRY_BYTES_MAX, RAFT_PROPOSALS_MAX,
    RAFT_SNAPSHOT_AFTER_BYTES, RAFT_SNAPSHOT_CHUNK_BYTES,
};

/// How a quorum behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumSettings {
    /// The cluster, once it is known; a new voter learns it from the first call that is addressed to it.
    pub cluster_id: Option<ClusterId>,
    /// A leader sends so often that it still leads. A follower must store entries and answer within this time.
    pub heartbeat: Duration,
    /// A follower that has heard of no leader for this time, and a leader's lease of `election_max` before it, wants to
    /// lead itself; the time is drawn anew from here …
    pub election_min: Duration,
    /// … to here.
    pub election_max: Duration,
    /// Proposals, confirmations and changes of members that take longer are answered as unknown.
    pub answer_timeout: Duration,
    /// A follower must have taken a chunk of a snapshot, and installed the whole after the last, within this time.
    pub snapshot_timeout: Duration,
    /// A snapshot is made after so many entries.
    pub snapshot_after_entries: u64,
    /// A snapshot is made after so many bytes of entries.
    pub snapshot_after_bytes: u64,
    /// How often the store is tended: an idle log is sealed, a long one is turned into a snapshot.
    pub tend_interval: Duration,
}

impl Default for QuorumSettings {
    fn default() -> Self {
        Self {
            cluster_id: None,
            heartbeat: Duration::from_millis(300),
            election_min: Duration::from_millis(1500),
            election_max: Duration::from_millis(2500),
            answer_timeout: Duration::from_secs(10),
            snapshot_timeout: Duration::from_secs(10),
            snapshot_after_entries: 10_000,
            snapshot_after_bytes: RAFT_SNAPSHOT_AFTER_BYTES,
            tend_interval: Duration::from_secs(1),
        }
    }
}

impl QuorumSettings {
    fn openraft(&self) -> Result<Config, StartError> {
        let config = Config {
            cluster_name: "metadata".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.snapshot_timeout),
            snapshot_max_chunk_size: RAFT_SNAPSHOT_CHUNK_BYTES as u64,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries.max(1)),
            max_in_snapshot_log_to_keep: RAFT_ENTRIES_KEPT.min(self.snapshot_after_entries),
            ..Config::default()
        };
        config.validate().map_err(|error| StartError::Settings {
            fault: error.to_string(),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Who leads, as far as this voter knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader; `None` while there is none or it is not known.
    pub leader: Option<(NodeId, Voter)>,
    /// The term, which never falls.
    pub term: u64,
    /// Whether this voter leads and has applied an entry of its own term, and so everything that was agreed on before.
    /// It says nothing about whether others still follow: see [`Quorum::acknowledged_ago`].
    pub is_ready: bool,
}

/// Why a quorum does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict one another.
    #[error("the quorum's settings are wrong: {fault}")]
    Settings {
        /// How.
        fault: String,
    },
    /// There is no thread for the disk.
    #[error("no thread for the quorum's disk: {0}")]
    Thread(io::Error),
    /// What is stored could not be read or applied.
    #[error("the quorum's state cannot be restored: {reason}")]
    State {
        /// Why.
        reason: String,
    },
}

/// The quorum has stopped, because it was asked to or because it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quorum has stopped")]
pub struct Stopped;

/// Why a proposal was not answered by an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This voter does not lead; nothing was proposed.
    #[error("this voter does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<(NodeId, Voter)>,
    },
    /// It may be agreed on now, later or never.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
    /// It is larger than an entry may be; nothing was proposed.
    #[error("the proposal has {bytes} bytes, more than an entry may have")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The quorum has stopped; nothing was proposed.
    #[error("the quorum has stopped")]
    Stopped,
}

/// Why leadership was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// This voter does not lead.
    #[error("this voter does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<(NodeId, Voter)>,
    },
    /// Too few voters answered in time.
    #[error("too few voters answered")]
    NoQuorum,
    /// The quorum has stopped.
    #[error("the quorum has stopped")]
    Stopped,
}

/// A running voter, or one that waits to be added.
pub struct Quorum {
    raft: Raft<Types>,
    store: StoreThread,
    node_id: NodeId,
    settings: QuorumSettings,
    cluster_id: Arc<OnceLock<ClusterId>>,
    acknowledgements: Arc<Acknowledgements>,
    leadership: watch::Receiver<Leadership>,
    failure: watch::Receiver<Option<String>>,
    proposals: Semaphore,
    calls: Semaphore,
    tasks: Mutex<JoinSet<()>>,
}

impl Quorum {
    /// Starts what is stored: the replica becomes what the newest snapshot and the entries behind it say.
    ///
    /// # Errors
    /// When the settings are wrong or what is stored cannot be read.
    pub async fn start<P: Peers>(
        store: Store,
        replica: impl Replica,
        peers: P,
        settings: QuorumSettings,
    ) -> Result<Self, StartError> {
        let config = Arc::new(settings.openraft()?);
        let node_id = store.node_id();
        let store = StoreThread::start(store).map_err(StartError::Thread)?;
        let cluster_id = Arc::new(settings.cluster_id.map(OnceLock::from).unwrap_or_default());
        let acknowledgements = Arc::default();
        let network = Network {
            peers,
            cluster_id: Arc::clone(&cluster_id),
            acknowledgements: Arc::clone(&acknowledgements),
            pause: settings.heartbeat,
        };
        let broken = |error: Fatal<NodeId>| StartError::State {
            reason: error.to_string(),
        };
        let machine = Machine::load(store.clone(), replica).await;
        let machine = machine.map_err(|error| broken(error.into()))?;
        let raft = Raft::new(
            node_id,
            config,
            Connections(Arc::new(network)),
            LogStorage::new(store.clone()),
            machine,
        );
        let raft = Box::pin(raft).await.map_err(broken)?;
        let mut tasks = JoinSet::new();
        let (show, leadership) = watch::channel(Leadership::default());
        let (fail, failure) = watch::channel(None);
        tasks.spawn(tend::follow(raft.metrics(), store.condition(), show, fail));
        tasks.spawn(tend::tend(raft.clone(), store.clone(), settings.clone()));
        Ok(Self {
            raft,
            store,
            node_id,
            settings,
            cluster_id,
            acknowledgements,
            leadership,
            failure,
            proposals: Semaphore::new(RAFT_PROPOSALS_MAX),
            calls: Semaphore::new(RAFT_CALLS_MAX),
            tasks: Mutex::new(tasks),
        })
    }

    /// Returns this voter's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Returns the cluster, once it is known.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id.get().copied()
    }

    /// Says which cluster this is, before the quorum is made. It counts only where that is not known yet.
    pub fn name_cluster(&self, cluster_id: ClusterId) {
        self.cluster_id.get_or_init(|| cluster_id);
    }

    /// Returns a watch on who leads.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Returns a watch on why the quorum failed here; the broker cannot go on as a voter then.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Returns for how long no quorum is known to have followed this leader; `None` if this voter does not lead or was
    /// never acknowledged. While it is below [`QuorumSettings::election_min`] nobody else leads.
    #[must_use]
    pub fn acknowledged_ago(&self) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let members = metrics.membership_config.membership();
        let acknowledgements = &self.acknowledgements;
        acknowledgements.age(self.node_id, metrics.vote, members, Instant::now())
    }

    /// Returns a watch on the files: closed once nothing can write to them any more.
    #[must_use]
    pub fn files(&self) -> watch::Receiver<Condition> {
        self.store.condition()
    }

    /// Returns the voters, as far as this voter knows.
    #[must_use]
    pub fn voters(&self) -> BTreeMap<NodeId, Voter> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        let voters = members.voter_ids().collect::<BTreeSet<_>>();
        let nodes = members.nodes().filter(|(id, _)| voters.contains(id));
        nodes.map(|(id, voter)| (*id, voter.clone())).collect()
    }

    /// Returns whether this voter belongs to a quorum, or has at least been asked by one.
    ///
    /// # Errors
    /// When the quorum has stopped.
    pub async fn is_initialized(&self) -> Result<bool, Stopped> {
        self.raft.is_initialized().await.map_err(|_| Stopped)
    }

    /// Proposes an entry; returns its index when it was agreed on and applied here.
    ///
    /// # Errors
    /// When nothing was proposed, or the outcome is unknown.
    pub async fn propose(&self, payload: Bytes) -> Result<u64, ProposeError> {
        let bytes = payload.len();
        if bytes > RAFT_ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes });
        }
        let proposed = async {
            let permit = self.proposals.acquire().await;
            let _permit = permit.map_err(|_| ProposeError::Stopped)?;
            self.propose_one(payload).await
        };
        let proposed = tokio::time::timeout(self.settings.answer_timeout, proposed);
        proposed.await.unwrap_or(Err(ProposeError::Unknown))
    }

    async fn propose_one(&self, payload: Bytes) -> Result<u64, ProposeError> {
        // openraft also says that another leads when an entry that it took was replaced; so what it says later is no
        // proof that nothing was proposed.
        if self.raft.metrics().borrow().state != ServerState::Leader {
            let leader = self.leader();
            return Err(ProposeError::NotLeader { leader });
        }
        let waiting = self.raft.client_write_ff(payload).await;
        let answer = waiting.map_err(|_| ProposeError::Stopped)?.await;
        match answer {
            Ok(Ok(applied)) => Ok(applied.log_id.index),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Makes sure that this voter still leads; returns the index up to which everything that was agreed on before the call
    /// has been applied here. What is read after that is not stale.
    ///
    /// # Errors
    /// When this voter does not lead, or cannot make sure of it in time.
    pub async fn confirm(&self) -> Result<u64, ConfirmError> {
        let confirmed = self.raft.ensure_linearizable();
        let confirmed = tokio::time::timeout(self.settings.answer_timeout, confirmed).await;
        match confirmed.map_err(|_| ConfirmError::NoQuorum)? {
            Ok(Some(id)) => Ok(id.index),
            Ok(None) | Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(ConfirmError::NoQuorum)
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                let leader = to.leader_id.zip(to.leader_node);
                Err(ConfirmError::NotLeader { leader })
            }
            Err(RaftError::Fatal(_)) => Err(ConfirmError::Stopped),
        }
    }

    fn leader(&self) -> Option<(NodeId, Voter)> {
        self.leadership.borrow().leader.clone()
    }

    /// Stops voting and closes the files. What was proposed and not answered is unknown; whatever is asked later is told
    /// that the quorum has stopped.
    pub async fn stop(&self) {
        let mut tasks = {
            let mut held = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *held)
        };
        tasks.shutdown().await;
        // It cannot fail: the error is that of a task that panicked, and then the process has ended.
        let _ = self.raft.shutdown().await;
        self.store.close().await;
    }
}
