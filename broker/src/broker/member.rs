//! What runs beside serving: this broker as a voter of the quorum, as its controller, and as a member of its cluster.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keylane_protocol::cluster::call::RegisterBrokerRequest;
use keylane_protocol::identifiers::ClusterId;
use keylane_protocol::link::handshake::Role;
use keylane_protocol::offset::BrokerEpoch;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use super::founding::Founding;
use super::recalling;
use crate::config::BrokerConfig;
use crate::controller::new_topic::TopicRules;
use crate::controller::raft::store::Store;
use crate::controller::raft::store::thread::Condition;
use crate::controller::raft::{Quorum, QuorumSettings};
use crate::controller::replica::{MetadataReplica, MetadataView};
use crate::controller::service::{ControllerHandle, ControllerSettings, ControllerTask};
use crate::entropy::IdSource;
use crate::handler::init_producer_id::ProducerIds;
use crate::hosting::{Hosting, IndexedImage};
use crate::membership::{self, CallLinks, Controllers, KnownCluster, Membership};
use crate::shard::reports::OfflineSwitch;
use crate::threads;

/// A lone voter has nobody to wait for: it leads at once.
const LONE_HEARTBEAT: Duration = Duration::from_millis(20);
const LONE_ELECTION: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];

/// Returns the operating system's id of its own start; empty where it has none.
pub(super) fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.unwrap_or_default().trim().to_owned()
}

/// This broker as voter, controller and member, before it runs.
pub(super) struct Member {
    pub registration: RegisterBrokerRequest,
    /// The id of the cluster to found, zero if the voters are to make it; `None` in one that exists.
    pub found: Option<ClusterId>,
    /// What makes it a voter; `None` if it is none.
    pub voter: Option<VoterParts>,
    pub config: Arc<BrokerConfig>,
    pub hosting: Hosting,
    pub published: watch::Receiver<u64>,
    pub producer_ids: Arc<ProducerIds>,
    pub joined: CancellationToken,
    pub stopping: CancellationToken,
    pub switch: OfflineSwitch,
}

/// What a voter works with.
pub(super) struct VoterParts {
    pub store: Store,
    pub ids: IdSource,
}

/// The voter's files, which are written to by a thread of their own.
#[derive(Clone, Default)]
pub(super) struct VoterFiles(Arc<OnceLock<watch::Receiver<Condition>>>);

impl VoterFiles {
    /// Blocks until nothing can write to the files any more.
    pub(super) fn until_closed(&self) {
        if let Some(condition) = self.0.get() {
            let mut condition = condition.clone();
            // A thread that is gone writes nothing.
            let _ = threads::block_on(condition.wait_for(|now| *now == Condition::Closed));
        }
    }
}

impl Member {
    /// Runs until the broker stops. Says first how to reach the controllers, then whether the broker has joined.
    pub(super) async fn run(
        mut self,
        files: &VoterFiles,
        started: SyncSender<Result<Controllers, StartError>>,
        tell_joined: SyncSender<Result<(), StartError>>,
    ) {
        let cluster_id = KnownCluster::default();
        let links = self.links(&cluster_id);
        let controller = match self.voter.take() {
            Some(voter) => match self.start_voter(voter, &links, files).await {
                Ok(controller) => Some(controller),
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            },
            None => None,
        };
        let config = Arc::clone(&self.config);
        let controllers = Controllers::new(controller.clone(), Arc::clone(&config), links);
        if started.send(Ok(controllers.clone())).is_err() {
            return;
        }
        let mut membership = Membership {
            hosting: self.hosting,
            images: match &controller {
                Some(controller) => controller.view().images(),
                None => membership::follow(controllers.clone()),
            },
            controllers,
            followed: watch::channel(IndexedImage::default()).0,
            published: self.published,
            session: config.session,
            cluster_id,
            stopping: self.stopping,
        };
        let founding = controller.as_ref().map(|controller| Founding {
            controller,
            controllers: membership.controllers.clone(),
            config: &config,
            registration: &self.registration,
            found: self.found,
            stopping: membership.stopping.clone(),
        });
        let joining = join(&mut membership, founding, &self.registration);
        match joining.await {
            Ok(epoch) => {
                self.producer_ids.begin(epoch);
                let joined = self.joined.clone();
                tokio::spawn(async move {
                    joined.cancelled().await;
                    // Who starts the broker may have given up.
                    let _ = tell_joined.send(Ok(()));
                });
                let kept = membership.keep(&self.registration, epoch, &self.joined);
                if let Err(error) = kept.await {
                    self.switch.fail(&error.to_string());
                }
            }
            Err(error) => drop(tell_joined.send(Err(error))),
        }
        if let Some(controller) = controller {
            controller.quorum().stop().await;
        }
    }

    /// Starts this voter and its controller, unless it has forgotten what it promised.
    async fn start_voter(
        &self,
        voter: VoterParts,
        links: &CallLinks,
        files: &VoterFiles,
    ) -> Result<ControllerHandle, StartError> {
        let others = Controllers::new(None, Arc::clone(&self.config), links.clone());
        recalling::check(&others, &self.registration).await?;
        self.start_controller(voter, links, files).await
    }

    /// Starts the voter and its controller.
    async fn start_controller(
        &self,
        voter: VoterParts,
        links: &CallLinks,
        files: &VoterFiles,
    ) -> Result<ControllerHandle, StartError> {
        let known = match self.found {
            // Who else is to vote may know already which cluster it is.
            Some(found) => self.config.voters.is_empty().then_some(found),
            None => Some(self.registration.cluster_id),
        };
        let settings = quorum_settings(&self.config, known);
        let controller_settings = self.controller_settings(&settings);
        let switch = self.switch.clone();
        let quorum = start_quorum(voter.store, settings, links.clone(), switch);
        let (quorum, view) = quorum.await?;
        let _ = files.0.set(quorum.files());
        let (task, controller) = ControllerTask::new(quorum, view, &controller_settings, voter.ids);
        tokio::spawn(task.run());
        Ok(controller)
    }

    fn links(&self, cluster_id: &KnownCluster) -> CallLinks {
        let role = match self.config.is_voter() {
            true => Role::Voter,
            false => Role::Broker,
        };
        CallLinks::new(self.config.id, role, Arc::clone(cluster_id))
    }

    fn controller_settings(&self, quorum: &QuorumSettings) -> ControllerSettings {
        ControllerSettings {
            rules: TopicRules {
                default_partitions: self.config.default_partitions,
                defaults: self.config.topic_defaults,
                partitions_max: self.config.limits.partitions_max,
            },
            session: self.config.session,
            lease: quorum.election_min,
        }
    }
}

/// Founds the cluster, if this broker is to, and registers with it.
async fn join(
    membership: &mut Membership,
    founding: Option<Founding<'_>>,
    registration: &RegisterBrokerRequest,
) -> Result<BrokerEpoch, StartError> {
    if let Some(founding) = founding {
        founding.until_founded().await?;
    }
    let joined = membership.join(registration).await;
    joined.map_err(|error| StartError::Refused {
        reason: error.to_string(),
    })
}

/// Returns how the quorum behaves of which this voter is one.
fn quorum_settings(config: &BrokerConfig, cluster_id: Option<ClusterId>) -> QuorumSettings {
    let settings = QuorumSettings {
        cluster_id,
        ..QuorumSettings::default()
    };
    match config.voters.len() {
        0 | 1 => QuorumSettings {
            heartbeat: LONE_HEARTBEAT,
            election_min: LONE_ELECTION[0],
            election_max: LONE_ELECTION[1],
            ..settings
        },
        _ => settings,
    }
}

/// Starts this voter.
async fn start_quorum(
    store: Store,
    settings: QuorumSettings,
    peers: CallLinks,
    switch: OfflineSwitch,
) -> Result<(Arc<Quorum>, MetadataView), StartError> {
    let failing = switch.clone();
    let (replica, view) = MetadataReplica::new(move |reason| failing.fail(&reason));
    let quorum = Quorum::start(store, replica, peers, settings).await?;
    let mut failure = quorum.failure();
    tokio::spawn(async move {
        if let Ok(reason) = failure.wait_for(Option::is_some).await {
            let reason = reason.clone().unwrap_or_default();
            switch.fail(&format!(
                "the metadata cannot be kept here any longer: {reason}"
            ));
        }
    });
    Ok((Arc::new(quorum), view))
}
