//! This broker as a member of its cluster: it registers, says that it lives, and follows the metadata.
//!
//! ```text
//! register ─▶ note it in the data folder ─▶ follow images from that index on ─▶ served ─▶ heartbeats: unfenced
//! ```
//! A process never serves before it is registered, so whatever its predecessor did is over by then.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use keylane_protocol::cluster::call::{
    AdoptedConfig, AdoptedTopic, BrokerHeartbeatRequest, Call, CallBody, RegisterBrokerRequest,
};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::offset::{BrokerEpoch, LeaderEpoch};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::BrokerConfig;
use crate::controller::service::ControllerHandle;
use crate::folder::DataFolder;
use crate::handler::controller_calls;
use crate::hosting::{Hosting, IndexedImage};

/// How long a call to the controllers may take, all tries together.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait before another try.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How many heartbeats fit into a session.
const HEARTBEATS_PER_SESSION: u32 = 4;

/// Calls the leading controller.
#[derive(Clone)]
pub(crate) struct Controllers {
    /// This broker's own; `None` if it is no voter.
    own: Option<ControllerHandle>,
    config: Arc<BrokerConfig>,
}

impl Controllers {
    pub(crate) fn new(own: Option<ControllerHandle>, config: Arc<BrokerConfig>) -> Self {
        Self { own, config }
    }

    /// Returns this broker's own controller; `None` if it is no voter.
    pub(crate) fn own(&self) -> Option<&ControllerHandle> {
        self.own.as_ref()
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
        loop {
            if let Some(own) = &self.own {
                let answered = controller_calls::answer(own, &self.config, C::KIND, body.clone());
                let answered = timeout_at(deadline, answered).await;
                let answer = answered.map_err(|_| ErrorCode::RequestTimedOut)?;
                let answer = answer.map_err(|_| ErrorCode::InvalidRequest)?;
                let answer =
                    C::Answer::from_bytes(answer).map_err(|_| ErrorCode::InvalidRequest)?;
                if answer.error_code() != ErrorCode::NotController {
                    return Ok(answer);
                }
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(ErrorCode::RequestTimedOut);
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// An answer that may say that another voter leads.
pub(crate) trait Redirected: CallBody {
    /// Returns whether the call was answered, and why not.
    fn error_code(&self) -> ErrorCode;
}

macro_rules! redirected {
    ($($answer:ident),*) => {$(
        impl Redirected for keylane_protocol::cluster::call::$answer {
            fn error_code(&self) -> ErrorCode {
                self.error_code
            }
        }
    )*};
}

redirected!(RegisterBrokerAnswer, BrokerHeartbeatAnswer, ForwardAnswer);

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
            match self.controllers.call(request).await {
                Ok(answer) if answer.error_code.is_none() => break answer,
                Ok(answer) if answer.error_code.is_retriable() => {
                    warn!(error = %answer.error_code.name(), "not registered yet");
                }
                Ok(answer) => {
                    let words = answer.error_message.map(|words| words.to_string());
                    let words = words.unwrap_or_else(|| answer.error_code.name().to_owned());
                    return Err(MembershipError::Refused { words });
                }
                Err(error) => warn!(error = %error.name(), "no controller answers yet"),
            }
            if self.stopping.is_cancelled() {
                return Err(MembershipError::Stopping);
            }
            sleep(RETRY_PAUSE).await;
        };
        if !self.hosting.acknowledge(registered.cluster_id).await {
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
        let mut beat = tokio::time::interval(self.session / HEARTBEATS_PER_SESSION);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
                    self.beat(request, epoch, true).await?;
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
                _ = beat.tick() => takes_part_from = self.beat(request, epoch, false).await?,
            }
        }
    }

    /// Sends a heartbeat; returns the index of metadata by which this broker takes part, if it does.
    async fn beat(
        &self,
        request: &RegisterBrokerRequest,
        epoch: BrokerEpoch,
        is_stopping: bool,
    ) -> Result<Option<u64>, MembershipError> {
        let heartbeat = BrokerHeartbeatRequest {
            broker_id: request.broker_id,
            broker_epoch: epoch,
            index: i64::try_from(*self.published.borrow()).unwrap_or(i64::MAX),
            is_stopping,
        };
        match self.controllers.call(&heartbeat).await {
            Ok(answer) if answer.error_code == ErrorCode::StaleBrokerEpoch => {
                Err(MembershipError::Replaced)
            }
            Ok(answer) => {
                let takes_part = answer.error_code.is_none() && !answer.is_fenced;
                Ok(takes_part.then(|| u64::try_from(answer.index).unwrap_or(0)))
            }
            Err(error) => {
                warn!(error = %error.name(), "no controller hears that this broker lives");
                Ok(None)
            }
        }
    }
}

/// Returns the registration of the process that has opened a data folder.
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
