//! The leading controller: decides what waits, in order, and makes one proposal of all that it changes.
//!
//! ```text
//! asked ─▶ waiting ─▶ decided on a scratch image: records + answer ─▶ one proposal ─▶ applied ─▶ answers
//! ```
//! A core. There is one proposal at a time, and none before everything earlier is applied; so what is decided on is what
//! the records will follow. What became of a proposal that failed is not known, and its answers say so.

use std::collections::VecDeque;
use std::sync::Arc;

use keylane_protocol::cluster::call::RegisterBrokerRequest;
use keylane_protocol::cluster::{
    BrokerFenceChanged, ClusterFounded, ClusterImage, MetadataRecord, RouterRegistered,
    RouterRemoved, TopicDeleted,
};
use keylane_protocol::identifiers::{BrokerId, ClusterId, TopicId};
use keylane_protocol::offset::BrokerEpoch;

use super::configs::{self, ConfigChanges, ConfigChangesError};
use super::new_topic::{CreateTopicError, NewTopic, TopicRules};
use super::partitions::{self, MorePartitions, MorePartitionsError};
use super::registration::{RegisterError, register};
use super::{election, routers};

/// A proposal takes no further request once its records are so many; a single request may have more.
const RECORDS_PER_PROPOSAL: usize = 4_096;

/// What a controller is asked to change.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// To begin a cluster.
    Found(ClusterId),
    /// To register a process of a broker, which votes on the metadata or does not.
    RegisterBroker {
        request: Box<RegisterBrokerRequest>,
        votes: bool,
    },
    /// To let a broker take part that has caught up.
    Unfence(BrokerId, BrokerEpoch),
    /// To exclude a broker that is silent, or wants to end.
    Fence(BrokerId, BrokerEpoch),
    /// To register a router.
    RegisterRouter(RouterRegistered),
    /// To forget a router.
    RemoveRouter(BrokerId, BrokerEpoch),
    /// To create a topic under an id, or to check whether that is possible.
    CreateTopic {
        new: NewTopic,
        id: TopicId,
        validate_only: bool,
    },
    /// To give a topic more partitions, or to check whether that is possible.
    CreatePartitions {
        more: MorePartitions,
        validate_only: bool,
    },
    /// To change settings of a topic, or to check whether that is possible.
    ChangeConfigs {
        changes: ConfigChanges,
        validate_only: bool,
    },
    /// To delete a topic.
    DeleteTopic(TopicToDelete),
}

/// Which topic to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicToDelete {
    Named(String),
    WithId(TopicId),
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is so, or was so already.
    Done,
    /// The broker is registered.
    Registered(BrokerEpoch),
    /// The topic exists from now on, or would.
    Created(Vec<MetadataRecord>),
    /// The topic is gone.
    Deleted { name: String, id: TopicId },
}

/// Why it was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(transparent)]
    CreateTopic(#[from] CreateTopicError),
    #[error(transparent)]
    CreatePartitions(#[from] MorePartitionsError),
    #[error(transparent)]
    ChangeConfigs(#[from] ConfigChangesError),
    #[error("there is no topic {name:?}")]
    UnknownName { name: String },
    #[error("there is no topic with the id {id}")]
    UnknownId { id: TopicId },
    #[error("the node {id} is not registered in epoch {epoch}")]
    Stale { id: BrokerId, epoch: BrokerEpoch },
    #[error("router {id} lives at another address: {reason}")]
    Router { id: BrokerId, reason: String },
    #[error("the cluster has been founded already")]
    Founded,
    #[error("too much waits for the controller: try again")]
    Busy,
    #[error("this voter does not lead the controllers")]
    NotController,
    #[error("whether it was done is not known: look, and try again")]
    Unknown,
}

/// What somebody is answered.
pub(crate) type Decided = Result<Answer, AskError>;

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<T> {
    /// Propose these records, and report the outcome.
    Propose(Vec<MetadataRecord>),
    /// Answer whoever asked.
    Answer(T, Decided),
}

/// The state of the leading controller; `T` says whom to answer.
#[derive(Debug)]
pub(crate) struct ControllerCore<T> {
    rules: TopicRules,
    waiting_max: usize,
    /// The image on which decisions are made; `None` while this voter does not lead, or has not applied everything.
    image: Option<Arc<ClusterImage>>,
    waiting: VecDeque<(T, Ask)>,
    /// Answers to give when the proposal under way is applied.
    proposed: Option<Vec<(T, Decided)>>,
}

impl<T> ControllerCore<T> {
    /// Returns the controller of a voter that does not lead; at most `waiting_max` requests wait.
    pub(crate) fn new(rules: TopicRules, waiting_max: usize) -> Self {
        Self {
            rules,
            waiting_max,
            image: None,
            waiting: VecDeque::new(),
            proposed: None,
        }
    }

    /// Returns whether this voter leads and has applied everything before.
    pub(crate) fn is_leading(&self) -> bool {
        self.image.is_some()
    }

    /// This voter leads, has applied everything that was proposed before, and this is the image.
    pub(crate) fn on_leading(&mut self, image: Arc<ClusterImage>, effects: &mut Vec<Effect<T>>) {
        self.image = Some(image);
        self.decide(effects);
    }

    /// This voter leads no longer; what became of the proposal under way is not known.
    pub(crate) fn on_following(&mut self, effects: &mut Vec<Effect<T>>) {
        self.image = None;
        let proposed = self.proposed.take().into_iter().flatten();
        effects.extend(proposed.map(|(whom, _)| Effect::Answer(whom, Err(AskError::Unknown))));
        let waiting = self.waiting.drain(..);
        effects.extend(waiting.map(|(whom, _)| Effect::Answer(whom, Err(AskError::NotController))));
    }

    /// Somebody asks.
    pub(crate) fn on_ask(&mut self, whom: T, ask: Ask, effects: &mut Vec<Effect<T>>) {
        if !self.is_leading() {
            effects.push(Effect::Answer(whom, Err(AskError::NotController)));
        } else if self.waiting.len() >= self.waiting_max {
            effects.push(Effect::Answer(whom, Err(AskError::Busy)));
        } else {
            self.waiting.push_back((whom, ask));
            self.decide(effects);
        }
    }

    /// The proposal under way is applied, and this is the image.
    pub(crate) fn on_applied(&mut self, image: Arc<ClusterImage>, effects: &mut Vec<Effect<T>>) {
        let proposed = self.proposed.take().into_iter().flatten();
        effects.extend(proposed.map(|(whom, decided)| Effect::Answer(whom, decided)));
        if self.is_leading() {
            self.image = Some(image);
            self.decide(effects);
        }
    }

    /// Decides what waits, unless a proposal is under way.
    fn decide(&mut self, effects: &mut Vec<Effect<T>>) {
        let Some(image) = &self.image else {
            return;
        };
        while self.proposed.is_none() && !self.waiting.is_empty() {
            let mut scratch = ClusterImage::clone(image);
            let (mut records, mut answers) = (Vec::new(), Vec::new());
            while records.len() < RECORDS_PER_PROPOSAL
                && let Some((whom, ask)) = self.waiting.pop_front()
            {
                let decided = decide_one(&self.rules, &scratch, ask).map(|(changes, answer)| {
                    for record in &changes {
                        let applied = scratch.apply(record);
                        assert_eq!(applied, Ok(()), "what is decided can follow");
                    }
                    records.extend(changes);
                    answer
                });
                answers.push((whom, decided));
            }
            if records.is_empty() {
                let answers = answers.into_iter();
                effects.extend(answers.map(|(whom, decided)| Effect::Answer(whom, decided)));
            } else {
                self.proposed = Some(answers);
                effects.push(Effect::Propose(records));
            }
        }
    }
}

type Decision = (Vec<MetadataRecord>, Answer);

fn decide_one(rules: &TopicRules, image: &ClusterImage, ask: Ask) -> Result<Decision, AskError> {
    match ask {
        Ask::Found(cluster_id) => match image.cluster_id() {
            Some(_) => Err(AskError::Founded),
            None => Ok((vec![ClusterFounded { cluster_id }.into()], Answer::Done)),
        },
        Ask::RegisterBroker { request, votes } => {
            let (records, epoch) = register(image, &request, votes)?;
            Ok((records, Answer::Registered(epoch)))
        }
        Ask::Unfence(id, epoch) => fence(image, id, epoch, false),
        Ask::Fence(id, epoch) => fence(image, id, epoch, true),
        Ask::RegisterRouter(router) => Ok((routers::register(image, router)?, Answer::Done)),
        Ask::RemoveRouter(id, epoch) => {
            let is_known = image.router(id).is_some_and(|router| router.epoch == epoch);
            let removed = RouterRemoved { router_id: id }.into();
            Ok((
                is_known.then_some(removed).into_iter().collect(),
                Answer::Done,
            ))
        }
        Ask::CreateTopic {
            new,
            id,
            validate_only,
        } => {
            let records = rules.create(image, &new, id)?;
            let changes = unless(validate_only, records.clone());
            Ok((changes, Answer::Created(records)))
        }
        Ask::CreatePartitions {
            more,
            validate_only,
        } => {
            let records = partitions::add(rules, image, &more)?;
            Ok((unless(validate_only, records), Answer::Done))
        }
        Ask::ChangeConfigs {
            changes,
            validate_only,
        } => {
            let records = configs::change(rules, image, &changes)?;
            Ok((unless(validate_only, records), Answer::Done))
        }
        Ask::DeleteTopic(topic) => delete(image, topic),
    }
}

/// Returns what is to be changed: nothing, if it was only to be checked.
fn unless(validate_only: bool, records: Vec<MetadataRecord>) -> Vec<MetadataRecord> {
    if validate_only { Vec::new() } else { records }
}

fn fence(
    image: &ClusterImage,
    id: BrokerId,
    epoch: BrokerEpoch,
    is_fenced: bool,
) -> Result<Decision, AskError> {
    let broker = image.broker(id).filter(|broker| broker.epoch == epoch);
    let broker = broker.ok_or(AskError::Stale { id, epoch })?;
    if broker.is_fenced == is_fenced {
        return Ok((Vec::new(), Answer::Done));
    }
    let change = BrokerFenceChanged {
        broker_id: id,
        broker_epoch: epoch,
        is_fenced,
    };
    let mut records = vec![change.into()];
    records.extend(match is_fenced {
        true => election::without(image, id),
        false => election::with(image, id),
    });
    Ok((records, Answer::Done))
}

fn delete(image: &ClusterImage, topic: TopicToDelete) -> Result<Decision, AskError> {
    let found = match &topic {
        TopicToDelete::Named(name) => image.topic_named(name),
        TopicToDelete::WithId(id) => image.topic(*id),
    };
    let Some(found) = found else {
        return Err(match topic {
            TopicToDelete::Named(name) => AskError::UnknownName { name },
            TopicToDelete::WithId(id) => AskError::UnknownId { id },
        });
    };
    let (topic_id, name) = (found.id, found.name.to_string());
    let deleted = Answer::Deleted { name, id: topic_id };
    Ok((vec![TopicDeleted { topic_id }.into()], deleted))
}
