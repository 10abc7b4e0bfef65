//! What runs beside serving: this broker as a voter of the quorum, as its controller, and as a member of its cluster.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::cluster::call::RegisterBrokerRequest;
use keylane_protocol::identifiers::ClusterId;
use keylane_protocol::offset::BrokerEpoch;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::BrokerConfig;
use crate::controller::core::AskError;
use crate::controller::new_topic::TopicRules;
use crate::controller::raft::store::Store;
use crate::controller::raft::store::thread::Condition;
use crate::controller::raft::{InitializeError, PeerError, Peers, Quorum, QuorumSettings, Voter};
use crate::controller::replica::MetadataReplica;
use crate::controller::service::{self, ControllerHandle, ControllerSettings, ControllerTask};
use crate::entropy::IdSource;
use crate::handler::init_producer_id::ProducerIds;
use crate::hosting::{Hosting, IndexedImage};
use crate::membership::{Controllers, Membership};
use crate::shard::reports::OfflineSwitch;
use crate::threads;

/// A lone voter has nobody to wait for: it leads at once.
const LONE_HEARTBEAT: Duration = Duration::from_millis(20);
const LONE_ELECTION: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];

/// A broker that is silent for so long is fenced.
const SESSION: Duration = Duration::from_secs(9);

/// Returns the operating system's id of its own start; empty where it has none.
pub(super) fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.unwrap_or_default().trim().to_owned()
}

/// This broker as voter, controller and member, before it runs.
pub(super) struct Member {
    pub registration: RegisterBrokerRequest,
    /// The id of the cluster to found; `None` in one that exists.
    pub found: Option<ClusterId>,
    pub store: Store,
    pub config: Arc<BrokerConfig>,
    pub ids: IdSource,
    pub hosting: Hosting,
    pub published: watch::Receiver<u64>,
    pub producer_ids: Arc<ProducerIds>,
    pub joined: CancellationToken,
    pub stopping: CancellationToken,
    pub switch: OfflineSwitch,
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

/// A lone voter has no others to call.
struct NoPeers;

impl Peers for NoPeers {
    async fn call(&self, _: &Voter, _: Bytes, _: Duration) -> Result<Bytes, PeerError> {
        Err(PeerError::Unreachable {
            reason: "no other voters are configured".to_owned(),
        })
    }
}

impl Member {
    /// Runs until the broker stops. Says first how to reach the controllers, then whether the broker has joined.
    pub(super) async fn run(
        self,
        files: &VoterFiles,
        started: SyncSender<Result<Controllers, StartError>>,
        tell_joined: SyncSender<Result<(), StartError>>,
    ) {
        let cluster_id = self.found.unwrap_or(self.registration.cluster_id);
        let settings = self.settings();
        let switch = self.switch.clone();
        let quorum = start_quorum(self.store, cluster_id, &settings, self.ids, switch);
        let controller = match quorum.await {
            Ok(controller) => controller,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = files.0.set(controller.quorum().files());
        let controllers = Controllers::new(Some(controller.clone()), self.config);
        if started.send(Ok(controllers.clone())).is_err() {
            return;
        }
        let mut membership = Membership {
            controllers,
            hosting: self.hosting,
            images: controller.view().images(),
            followed: watch::channel(IndexedImage::default()).0,
            published: self.published,
            session: SESSION,
            stopping: self.stopping,
        };
        let joining = join(&mut membership, &controller, &self.registration, self.found);
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
        controller.quorum().stop().await;
    }

    fn settings(&self) -> ControllerSettings {
        ControllerSettings {
            rules: TopicRules {
                default_partitions: self.config.default_partitions,
                defaults: self.config.topic_defaults,
                partitions_max: self.config.limits.partitions_max,
            },
            session: SESSION,
            lease: LONE_ELECTION[0],
        }
    }
}

/// Founds the cluster, if this broker is to, and registers with it.
async fn join(
    membership: &mut Membership,
    controller: &ControllerHandle,
    registration: &RegisterBrokerRequest,
    found: Option<ClusterId>,
) -> Result<BrokerEpoch, StartError> {
    match found {
        Some(cluster_id) => found_cluster(controller, registration, cluster_id).await?,
        None => check_founded(controller).await?,
    }
    let joined = membership.join(registration).await;
    joined.map_err(|error| StartError::Refused {
        reason: error.to_string(),
    })
}

/// Starts this voter and its controller.
async fn start_quorum(
    store: Store,
    cluster_id: ClusterId,
    settings: &ControllerSettings,
    ids: IdSource,
    switch: OfflineSwitch,
) -> Result<ControllerHandle, StartError> {
    let failing = switch.clone();
    let (replica, view) = MetadataReplica::new(move |reason| failing.fail(&reason));
    let quorum_settings = QuorumSettings {
        cluster_id: Some(cluster_id),
        heartbeat: LONE_HEARTBEAT,
        election_min: LONE_ELECTION[0],
        election_max: LONE_ELECTION[1],
        ..QuorumSettings::default()
    };
    let quorum = Quorum::start(store, replica, NoPeers, quorum_settings).await?;
    let mut failure = quorum.failure();
    tokio::spawn(async move {
        if let Ok(reason) = failure.wait_for(Option::is_some).await {
            let reason = reason.clone().unwrap_or_default();
            switch.fail(&format!(
                "the metadata cannot be kept here any longer: {reason}"
            ));
        }
    });
    let (task, controller) = ControllerTask::new(Arc::new(quorum), view, settings, ids);
    tokio::spawn(task.run());
    Ok(controller)
}

/// Checks that the metadata is there of a cluster that this voter once founded.
async fn check_founded(controller: &ControllerHandle) -> Result<(), StartError> {
    let is_founded = controller.quorum().is_initialized().await;
    if is_founded.unwrap_or(false) {
        return Ok(());
    }
    let reason = "the data folder belongs to a cluster, but what it held of the cluster's metadata (its folder \
                  'controller') is gone: restore it from a backup; nothing was changed";
    Err(StartError::Refused {
        reason: reason.to_owned(),
    })
}

/// Makes the quorum of this one voter, and founds the cluster, unless that was done before a crash.
async fn found_cluster(
    controller: &ControllerHandle,
    registration: &RegisterBrokerRequest,
    cluster_id: ClusterId,
) -> Result<(), StartError> {
    let refused = |reason: String| StartError::Refused { reason };
    let voter = Voter {
        broker_id: registration.broker_id,
        host: registration.internal_host.to_string(),
        port: u16::try_from(registration.internal_port).unwrap_or(0),
    };
    let quorum = controller.quorum();
    let voters = BTreeMap::from([(quorum.node_id(), voter)]);
    match quorum.initialize(voters).await {
        Ok(()) | Err(InitializeError::Exists) => {}
        Err(error) => return Err(refused(error.to_string())),
    }
    loop {
        match service::found(controller, cluster_id).await {
            Ok(()) => return Ok(()),
            Err(AskError::NotController | AskError::Unknown) => {
                tokio::time::sleep(LONE_HEARTBEAT).await;
            }
            Err(error) => return Err(refused(error.to_string())),
        }
    }
}
