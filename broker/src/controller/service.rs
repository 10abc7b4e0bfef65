//! The task around the controller's core: hears who lives, brings what is asked to the core, and the core's proposals to
//! the quorum.
//!
//! [`ControllerHandle`] is how the rest of the broker reaches it. What Kafka's requests mean is in `forwarded`, what
//! brokers and routers ask in `calls`.

use std::sync::Arc;
use std::time::Duration;

use keylane_protocol::cluster::{ClusterImage, encode_records};
use keylane_protocol::identifiers::{BrokerId, ClusterId, TopicId};
use keylane_protocol::offset::BrokerEpoch;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::core::{Answer, Ask, AskError, ControllerCore, Decided, Effect};
use super::liveness::Liveness;
use super::new_topic::TopicRules;
use super::raft::{Leadership, ProposeError, Quorum};
use super::replica::MetadataView;
use crate::clock::Uptime;
use crate::entropy::IdSource;
use crate::limits::CONTROLLER_ASKS_WAITING_MAX;

/// How long the controller waits before it proposes again after a proposal of unknown outcome.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A message to the task.
enum Message {
    Ask(Ask, Whom),
    CreateTopic {
        new: super::new_topic::NewTopic,
        validate_only: bool,
        whom: Whom,
    },
    Hear(BrokerId, BrokerEpoch),
}

/// Who is answered.
type Whom = oneshot::Sender<Decided>;

/// How the controller behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControllerSettings {
    /// What bounds and completes new topics.
    pub rules: TopicRules,
    /// A broker or router that is silent for so long takes no part.
    pub session: Duration,
    /// While the last acknowledgement of a quorum is younger than this, nobody else leads.
    pub lease: Duration,
}

/// Reaches the controller of this voter.
#[derive(Clone)]
pub(crate) struct ControllerHandle {
    messages: mpsc::Sender<Message>,
    quorum: Arc<Quorum>,
    view: MetadataView,
    lease: Duration,
}

impl ControllerHandle {
    /// Has something decided; returns when that is known by all who need to know.
    pub(crate) async fn ask(&self, ask: Ask) -> Decided {
        self.send(|whom| Message::Ask(ask, whom)).await
    }

    /// Has a topic created under a new id.
    pub(crate) async fn create_topic(
        &self,
        new: super::new_topic::NewTopic,
        validate_only: bool,
    ) -> Decided {
        let message = |whom| Message::CreateTopic {
            new,
            validate_only,
            whom,
        };
        self.send(message).await
    }

    async fn send(&self, message: impl FnOnce(Whom) -> Message) -> Decided {
        let (whom, decided) = oneshot::channel();
        if self.messages.send(message(whom)).await.is_err() {
            return Err(AskError::NotController);
        }
        decided.await.unwrap_or(Err(AskError::Unknown))
    }

    /// Notes that a node lives.
    pub(crate) async fn hear(&self, node: BrokerId, epoch: BrokerEpoch) {
        // A task that has ended leads nothing.
        let _ = self.messages.send(Message::Hear(node, epoch)).await;
    }

    /// Returns the metadata of this voter.
    pub(crate) fn view(&self) -> &MetadataView {
        &self.view
    }

    /// Returns the broker that leads the controllers, as far as is known.
    pub(crate) fn leader(&self) -> BrokerId {
        let leadership = self.quorum.leadership();
        let leader = leadership.borrow().leader.clone();
        leader.map_or(BrokerId::NONE, |(_, voter)| voter.broker_id)
    }

    /// Returns whether this voter leads and nobody else can by now, so that its image is the newest.
    pub(crate) fn leads(&self) -> bool {
        let acknowledged = self.quorum.acknowledged_ago();
        self.quorum.leadership().borrow().is_ready
            && acknowledged.is_some_and(|ago| ago < self.lease)
    }

    /// Returns the quorum.
    pub(crate) fn quorum(&self) -> &Quorum {
        &self.quorum
    }
}

/// The task.
pub(crate) struct ControllerTask {
    core: ControllerCore<Whom>,
    liveness: Liveness,
    ids: IdSource,
    uptime: Uptime,
    quorum: Arc<Quorum>,
    view: MetadataView,
    messages: mpsc::Receiver<Message>,
    leadership: watch::Receiver<Leadership>,
    /// The proposal under way; an empty one makes sure that everything before it is applied.
    proposal: Option<JoinHandle<Result<u64, ProposeError>>>,
    /// Whether the proposal under way is such an empty one.
    is_barrier: bool,
}

impl ControllerTask {
    /// Returns the task and how to reach it.
    pub(crate) fn new(
        quorum: Arc<Quorum>,
        view: MetadataView,
        settings: &ControllerSettings,
        ids: IdSource,
    ) -> (Self, ControllerHandle) {
        let (sender, messages) = mpsc::channel(CONTROLLER_ASKS_WAITING_MAX);
        let handle = ControllerHandle {
            messages: sender,
            quorum: Arc::clone(&quorum),
            view: view.clone(),
            lease: settings.lease,
        };
        let uptime = Uptime::start();
        let session_ms = u64::try_from(settings.session.as_millis()).unwrap_or(u64::MAX);
        let task = Self {
            core: ControllerCore::new(settings.rules, CONTROLLER_ASKS_WAITING_MAX),
            liveness: Liveness::new(session_ms, uptime.now_ms()),
            ids,
            uptime,
            leadership: quorum.leadership(),
            quorum,
            view,
            messages,
            proposal: None,
            is_barrier: false,
        };
        (task, handle)
    }

    /// Works until nobody can reach it any more.
    pub(crate) async fn run(mut self) {
        let interval = Duration::from_millis(self.liveness.look_interval_ms());
        let mut look = tokio::time::interval(interval);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.on_leadership();
        loop {
            tokio::select! {
                outcome = outcome(&mut self.proposal) => self.on_outcome(outcome).await,
                changed = self.leadership.changed() => match changed {
                    Ok(()) => self.on_leadership(),
                    Err(_) => return,
                },
                message = self.messages.recv() => match message {
                    Some(message) => self.on_message(message),
                    None => return,
                },
                _ = look.tick() => self.look(),
            }
        }
    }

    fn on_message(&mut self, message: Message) {
        let mut effects = Vec::new();
        match message {
            Message::Ask(ask, whom) => self.core.on_ask(whom, ask, &mut effects),
            Message::CreateTopic {
                new,
                validate_only,
                whom,
            } => {
                let id: TopicId = self.ids.topic_id();
                let ask = Ask::CreateTopic {
                    new,
                    id,
                    validate_only,
                };
                self.core.on_ask(whom, ask, &mut effects);
            }
            Message::Hear(node, epoch) => {
                let now_ms = self.uptime.now_ms();
                self.liveness.hear(node, epoch, now_ms);
            }
        }
        self.carry_out(effects);
    }

    fn on_leadership(&mut self) {
        let is_ready = self.leadership.borrow_and_update().is_ready;
        if is_ready && !self.core.is_leading() && self.proposal.is_none() {
            self.pass_barrier();
        } else if !is_ready && self.core.is_leading() {
            info!("this voter leads the controllers no longer");
            self.follow();
        }
    }

    fn lead(&mut self) {
        info!("this voter leads the controllers");
        let mut effects = Vec::new();
        self.core.on_leading(self.view.image().1, &mut effects);
        self.carry_out(effects);
    }

    fn follow(&mut self) {
        let mut effects = Vec::new();
        self.core.on_following(&mut effects);
        self.carry_out(effects);
    }

    /// The proposal under way is applied, or nobody knows: then an empty one behind it shows.
    async fn on_outcome(&mut self, outcome: Result<u64, ProposeError>) {
        self.proposal = None;
        let was_barrier = std::mem::take(&mut self.is_barrier);
        match outcome {
            Ok(_) if was_barrier => self.lead(),
            Ok(_) => {
                let mut effects = Vec::new();
                self.core.on_applied(self.view.image().1, &mut effects);
                self.carry_out(effects);
            }
            Err(error) => {
                warn!(%error, "a change of the metadata may have been made or not");
                self.follow();
                if matches!(error, ProposeError::Stopped) {
                    return;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
                self.on_leadership();
            }
        }
    }

    /// Proposes nothing, behind everything that was proposed before: a voter that leads again in the same term, or did not
    /// hear what became of a proposal, has then applied all of it.
    fn pass_barrier(&mut self) {
        self.is_barrier = true;
        self.propose(Vec::new());
    }

    fn propose(&mut self, records: Vec<keylane_protocol::cluster::MetadataRecord>) {
        let quorum = Arc::clone(&self.quorum);
        self.proposal = Some(tokio::spawn(async move {
            match encode_records(&records) {
                Ok(payload) => quorum.propose(payload).await,
                Err(error) => {
                    warn!(%error, "a change of the metadata cannot be written");
                    Err(ProposeError::TooLarge { bytes: usize::MAX })
                }
            }
        }));
    }

    fn carry_out(&mut self, effects: Vec<Effect<Whom>>) {
        for effect in effects {
            match effect {
                Effect::Propose(records) => self.propose(records),
                // Who asked may have gone; what was decided stands.
                Effect::Answer(whom, decided) => drop(whom.send(decided)),
            }
        }
    }

    /// Fences brokers and forgets routers that are silent, if this voter leads.
    fn look(&mut self) {
        let now_ms = self.uptime.now_ms();
        self.liveness.look(now_ms);
        if !self.core.is_leading() {
            return;
        }
        let (_, image) = self.view.image();
        let nodes = living(&image);
        self.liveness
            .retain(|id| image.broker(id).is_some() || image.router(id).is_some());
        let mut effects = Vec::new();
        for (node, epoch) in self.liveness.silent(nodes.into_iter(), now_ms) {
            warn!(
                node = node.0,
                "silent for a session: it takes part no longer"
            );
            let ask = match node.is_router() {
                true => Ask::RemoveRouter(node, epoch),
                false => Ask::Fence(node, epoch),
            };
            let (whom, _) = oneshot::channel();
            self.core.on_ask(whom, ask, &mut effects);
        }
        self.carry_out(effects);
    }
}

/// Returns whom the image takes for alive.
fn living(image: &ClusterImage) -> Vec<(BrokerId, BrokerEpoch)> {
    let brokers = image.brokers().filter(|broker| !broker.is_fenced);
    let brokers = brokers.map(|broker| (broker.id, broker.epoch));
    let routers = image.routers().map(|router| (router.id, router.epoch));
    brokers.chain(routers).collect()
}

/// Waits for the outcome of the proposal under way; for ever if there is none.
async fn outcome(
    proposal: &mut Option<JoinHandle<Result<u64, ProposeError>>>,
) -> Result<u64, ProposeError> {
    match proposal {
        Some(proposal) => proposal.await.unwrap_or(Err(ProposeError::Stopped)),
        None => std::future::pending().await,
    }
}

/// Founds a cluster, unless there is one.
///
/// # Errors
/// When nobody can tell whether it was founded.
pub(crate) async fn found(
    controller: &ControllerHandle,
    cluster_id: ClusterId,
) -> Result<(), AskError> {
    match controller.ask(Ask::Found(cluster_id)).await {
        Ok(Answer::Done) | Err(AskError::Founded) => Ok(()),
        Ok(_) => Err(AskError::Unknown),
        Err(error) => Err(error),
    }
}
