//! What a running router tells of itself to the process it runs in.
//!
//! It keeps nothing of the router alive: a router that has ended says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::control::Known;
use crate::server::Shared;
use crate::skew::topic::TopicWatch;
use keylane_protocol::cluster::TopicImage;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::meters::NodeState;
use keylane_protocol::transport::Pulse;

/// Looks at a running router from outside; clones look at the same one.
#[derive(Clone, Debug)]
pub struct Probe {
    parts: Arc<ProbeParts>,
}

/// What a router has seen of the keys of a topic that exists.
#[derive(Clone, Debug)]
pub struct TopicSkew {
    /// The topic's name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partition_count: i32,
    /// What was seen.
    pub watch: TopicWatch,
}

/// What a probe looks at.
pub(crate) struct ProbeParts {
    pub(crate) node: String,
    pub(crate) shared: Weak<Shared>,
    /// One for each runtime.
    pub(crate) pulses: Vec<Pulse>,
}

impl std::fmt::Debug for ProbeParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.node)
    }
}

impl TopicSkew {
    fn of(shared: &Shared, topic: &TopicImage) -> Option<Self> {
        Some(Self {
            name: topic.name.to_string(),
            id: topic.id,
            partition_count: topic.partition_count(),
            watch: shared.watching.topic(topic.id)?,
        })
    }
}

impl Probe {
    pub(crate) fn new(parts: ProbeParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Returns what this router is called in metrics.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.parts.node
    }

    /// Tells whether the router serves clients. One that is cut off from the controllers, and has an image, does.
    ///
    /// # Errors
    /// When it does not: why, in words.
    pub fn readiness(&self) -> Result<(), String> {
        let Some(shared) = self.parts.shared.upgrade() else {
            return Err("it has stopped".to_owned());
        };
        if shared.stopping.is_cancelled() {
            return Err("it is being stopped".to_owned());
        }
        if !Known::is_founded(&shared.controllers.known().borrow()) {
            return Err(
                "it has not found its cluster: none of --brokers has told it what there is"
                    .to_owned(),
            );
        }
        match shared.is_listening.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("it does not listen for clients".to_owned()),
        }
    }

    /// Sets the gauges that are not kept up by what they measure: to be called before they are shown.
    pub fn refresh(&self) {
        let Some(shared) = self.parts.shared.upgrade() else {
            return;
        };
        let index = shared.controllers.known().borrow().index;
        shared.meters.state.show(&NodeState {
            is_ready: self.readiness().is_ok(),
            request_bytes: shared.requests.usage(),
            answer_bytes: shared.answers.usage(),
            image_index: u64::try_from(index).unwrap_or(0),
            silence: shared.controllers.silence(),
        });
    }

    /// Returns what was seen of the keys of all topics, by name.
    #[must_use]
    pub fn skews(&self) -> Vec<TopicSkew> {
        let Some(shared) = self.parts.shared.upgrade() else {
            return Vec::new();
        };
        let image = shared.controllers.known().borrow().image.clone();
        let topics = shared.watching.topics();
        let topics = topics.into_iter().filter_map(|id| image.topic(id));
        let skews = topics.filter_map(|topic| TopicSkew::of(&shared, topic));
        let mut skews: Vec<TopicSkew> = skews.collect();
        skews.sort_by(|one, other| one.name.cmp(&other.name));
        skews
    }

    /// Returns what was seen of the keys of a topic; `None` if nothing was.
    #[must_use]
    pub fn skew(&self, topic: &str) -> Option<TopicSkew> {
        let shared = self.parts.shared.upgrade()?;
        let image = shared.controllers.known().borrow().image.clone();
        TopicSkew::of(&shared, image.topic_named(topic)?)
    }

    /// Waits until every runtime of the router has answered.
    pub async fn answers(&self) {
        for pulse in &self.parts.pulses {
            pulse.felt().await;
        }
    }
}
