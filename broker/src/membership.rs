//! This broker as a member of its cluster: it registers, says that it lives, and follows the metadata.
//!
//! ```text
//! noted as told ─▶ register ─▶ note it in the data folder ─▶ follow images from that index on ─▶ served ─▶ heartbeats: unfenced
//! ```
//! A process never serves before it is registered, so whatever its predecessor did is over by then.

mod controllers;
mod following;
mod links;

use std::time::Duration;

use bytestring::ByteString;
use keylane_protocol::cluster::call::{
    AdoptedConfig, AdoptedTopic, BrokerHeartbeatRequest, RegisterBrokerRequest,
};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::offset::{BrokerEpoch, LeaderEpoch};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use controllers::Controllers;
pub(crate) use following::follow;
pub(crate) use links::{CallLinks, KnownCluster};

use self::controllers::RETRY_PAUSE;
use crate::config::BrokerConfig;
use crate::folder::DataFolder;
use crate::hosting::{Hosting, IndexedImage};

/// How many heartbeats fit into a session.
const HEARTBEATS_PER_SESSION: u32 = 4;

/// How long a broker that stops waits to hear that it is excluded; without that it is after a session.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a broker is no member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("the controllers refuse this broker: {words}")]
    Refused { words: String },
    #[error("another process of this broker has registered since: this one is over")]
    Replaced,
    #[error("the broker is stopping")]
    Stopping,
}

/// Registers a process and keeps it registered.
pub(crate) struct Membership {
    pub controllers: Controllers,
    pub hosting: Hosting,
    /// The images of the metadata as they come.
    pub images: watch::Receiver<IndexedImage>,
    /// Which of them this broker follows: those from its registration on.
    pub followed: watch::Sender<IndexedImage>,
    /// The index up to which it serves accordingly.
    pub published: watch::Receiver<u64>,
    pub session: Duration,
    /// Told the cluster that this process has registered with.
    pub cluster_id: KnownCluster,
    pub stopping: CancellationToken,
}

impl Membership {
    /// Registers this process; returns its epoch once the registration is noted and served.
    ///
    /// # Errors
    /// When the controllers refuse it, or the broker is stopping.
    pub(crate) async fn join(
        &mut self,
        request: &RegisterBrokerRequest,
    ) -> Result<BrokerEpoch, MembershipError> {
        let registered = loop {
            let answered = tokio::select! {
                () = self.stopping.cancelled() => return Err(MembershipError::Stopping),
                answered = self.controllers.call(request) => answered,
            };
            match answered {
                Ok(answer) if answer.error_code.is_none() => break answer,
                Ok(answer) if answer.error_code.is_retriable() => {
                    warn!(error = %answer.error_code.name(), "not registered yet");
                }
                Ok(answer) => {
                    let words = answer.error_message.map(|words| words.to_string());
                    let words = words.unwrap_or_else(|| answer.error_code.name().to_owned());
                    return Err(MembershipError::Refused { words });
                }
                Err(error) => {
                    let faults = self.controllers.faults();
                    warn!(error = %error.name(), %faults, "no controller answers yet");
                }
            }
            sleep(RETRY_PAUSE).await;
        };
        self.cluster_id.get_or_init(|| registered.cluster_id);
        let (cluster_id, epoch) = (registered.cluster_id, registered.broker_epoch);
        if !self.hosting.acknowledge(cluster_id, epoch).await {
            return Err(MembershipError::Stopping);
        }
        let index = u64::try_from(registered.index).unwrap_or(0);
        self.follow_from(index).await?;
        info!(epoch = registered.broker_epoch.0, "registered");
        Ok(registered.broker_epoch)
    }

    /// Waits for the image at an index, has it followed, and waits until it is served.
    async fn follow_from(&mut self, index: u64) -> Result<(), MembershipError> {
        let reached = self.images.wait_for(|(at, _)| *at >= index).await;
        let image = reached.map_err(|_| MembershipError::Stopping)?.clone();
        self.followed.send_replace(image);
        let hosting = self.hosting.clone();
        tokio::spawn(hosting.follow(self.followed.subscribe()));
        let served = self.published.wait_for(|at| *at >= index).await;
        served.map(|_| ()).map_err(|_| MembershipError::Stopping)
    }

    /// Says that this process lives until the broker stops; then asks to be excluded. `joined` is cancelled when this
    /// broker takes part.
    ///
    /// # Errors
    /// When another process has taken this broker's place.
    pub(crate) async fn keep(
        mut self,
        request: &RegisterBrokerRequest,
        epoch: BrokerEpoch,
        joined: &CancellationToken,
    ) -> Result<(), MembershipError> {
        let beat = Beat {
            controllers: self.controllers.clone(),
            broker_id: request.broker_id,
            epoch,
            published: self.published.clone(),
        };
        let interval = self.session / HEARTBEATS_PER_SESSION;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A heartbeat that is waited for holds up no metadata.
        let mut under_way: Option<JoinHandle<Heard>> = None;
        // The index of the metadata by which this broker takes part.
        let mut takes_part_from = None;
        let mut published = self.published.clone();
        loop {
            if takes_part_from.is_some_and(|index| *published.borrow_and_update() >= index) {
                joined.cancel();
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {
                    beat.clone().send(true, FAREWELL_TIMEOUT).await?;
                    return Ok(());
                }
                changed = self.images.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let image = self.images.borrow_and_update().clone();
                    self.followed.send_replace(image);
                }
                served = published.changed(), if !joined.is_cancelled() => {
                    if served.is_err() {
                        return Ok(());
                    }
                }
                heard = heard(&mut under_way) => {
                    under_way = None;
                    takes_part_from = heard?;
                }
                _ = ticks.tick(), if under_way.is_none() => {
                    under_way = Some(tokio::spawn(beat.clone().send(false, interval)));
                }
            }
        }
    }
}

/// What is heard of a heartbeat: the index of the metadata by which this broker takes part, if it does.
type Heard = Result<Option<u64>, MembershipError>;

/// Waits for what is heard of the heartbeat under way; for ever if there is none.
async fn heard(under_way: &mut Option<JoinHandle<Heard>>) -> Heard {
    match under_way {
        Some(beat) => beat.await.unwrap_or(Ok(None)),
        None => std::future::pending().await,
    }
}

/// Says to every voter that this process lives: whichever leads next has then heard of it.
#[derive(Clone)]
struct Beat {
    controllers: Controllers,
    broker_id: BrokerId,
    epoch: BrokerEpoch,
    published: watch::Receiver<u64>,
}

impl Beat {
    async fn send(self, is_stopping: bool, within: Duration) -> Heard {
        let heartbeat = BrokerHeartbeatRequest {
            broker_id: self.broker_id,
            broker_epoch: self.epoch,
            index: i64::try_from(*self.published.borrow()).unwrap_or(i64::MAX),
            is_stopping,
        };
        match self.controllers.tell_every(&heartbeat, within).await {
            Some(answer) if answer.error_code == ErrorCode::StaleBrokerEpoch => {
                Err(MembershipError::Replaced)
            }
            Some(answer) => {
                let takes_part = answer.error_code.is_none() && !answer.is_fenced;
                Ok(takes_part.then(|| u64::try_from(answer.index).unwrap_or(0)))
            }
            None => {
                let faults = self.controllers.faults();
                warn!(%faults, "no controller that leads hears that this broker lives");
                Ok(None)
            }
        }
    }
}

/// Returns the registration of the process that has opened a data folder and noted there that it tells of itself.
pub(crate) fn registration(
    folder: &DataFolder,
    config: &BrokerConfig,
    addresses: Addresses,
    boot_id: String,
) -> RegisterBrokerRequest {
    let adopted = folder.adoptable().iter().map(|topic| AdoptedTopic {
        topic_id: topic.id,
        name: topic.name.as_str().into(),
        partition_count: topic.partition_count,
        // Every earlier start led in an epoch of its own number.
        leader_epoch: LeaderEpoch(folder.incarnations()),
        configs: topic
            .configs
            .iter()
            .map(|(key, value)| AdoptedConfig {
                key: key.as_str().into(),
                value: value.as_str().into(),
            })
            .collect(),
    });
    RegisterBrokerRequest {
        cluster_id: match folder.acknowledged() {
            0 => Default::default(),
            _ => folder.cluster_id(),
        },
        broker_id: config.id,
        folder_id: folder.id(),
        incarnation: folder.incarnations(),
        incarnation_acknowledged: folder.acknowledged(),
        boot_id: boot_id.into(),
        host: addresses.host,
        port: i32::from(addresses.port),
        internal_host: addresses.internal_host,
        internal_port: i32::from(addresses.internal_port),
        rack: None,
        suspects: Vec::new(),
        adopted: adopted.collect(),
        start: folder.start(),
        starts_known: folder.starts_known(),
        epoch_acknowledged: folder.epoch_acknowledged(),
    }
}

/// Where a broker is reached.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub host: ByteString,
    pub port: u16,
    pub internal_host: ByteString,
    pub internal_port: u16,
}
