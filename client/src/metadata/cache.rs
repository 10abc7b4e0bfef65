//! Asks brokers for metadata, one request at a time for everyone who waits, and publishes the snapshots.
//!
//! A caller names the generation that disappointed it; if a newer one is there by its turn, nothing is asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, InvalidTopicName, TopicName};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use tokio::time::{Instant, sleep_until};

use super::view::{ClusterView, TopicView};
use crate::address::BrokerAddress;
use crate::backoff::Backoff;
use crate::connection::{Connection, ConnectionError, Connections};
use crate::limits::UNKNOWN_TOPIC_PATIENCE;

/// Why nothing is known of the cluster or of a topic.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataError {
    /// The name cannot be that of a topic.
    #[error(transparent)]
    InvalidName(#[from] InvalidTopicName),
    /// No broker could be reached.
    #[error("no broker of the cluster can be reached; the last one tried: {last}")]
    Unreachable {
        /// What the last attempt met with.
        last: ConnectionError,
    },
    /// The cluster does not know the topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// The cluster refuses to tell about the topic.
    #[error("topic {topic:?} cannot be used: {code}")]
    TopicRefused {
        /// The topic's name.
        topic: String,
        /// What the cluster says.
        code: ErrorCode,
    },
}

impl MetadataError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { last } => last.is_retriable(),
            Self::InvalidName(_) | Self::UnknownTopic { .. } => false,
            Self::TopicRefused { code, .. } => code.is_retriable(),
        }
    }
}

/// The client's metadata; shared by all its producers, readers and admin calls.
#[derive(Debug)]
pub(crate) struct MetadataCache {
    bootstrap: Vec<BrokerAddress>,
    connections: Connections,
    view: ArcSwap<ClusterView>,
    /// The topics that every request asks for, and whether they were ever found: those are in use.
    wanted: Mutex<BTreeMap<Arc<str>, bool>>,
    asking: tokio::sync::Mutex<Asking>,
}

#[derive(Debug)]
struct Asking {
    backoff: Backoff,
    not_before: Instant,
}

impl MetadataCache {
    pub(crate) fn new(bootstrap: Vec<BrokerAddress>, connections: Connections, seed: u64) -> Self {
        Self {
            bootstrap,
            connections,
            view: ArcSwap::default(),
            wanted: Mutex::default(),
            asking: tokio::sync::Mutex::new(Asking {
                backoff: Backoff::new(seed),
                not_before: Instant::now(),
            }),
        }
    }

    pub(crate) fn view(&self) -> Arc<ClusterView> {
        self.view.load_full()
    }

    /// Returns a topic that exists, asking for it if need be, patiently if it may just have been created.
    pub(crate) async fn topic(
        &self,
        name: &str,
        may_create: bool,
    ) -> Result<Arc<TopicView>, MetadataError> {
        TopicName::new(name)?;
        self.wanted().entry(Arc::from(name)).or_insert(false);
        let patience = Instant::now() + UNKNOWN_TOPIC_PATIENCE;
        let mut view = self.view();
        let mut is_asked = false;
        loop {
            let topic = view.topics.get(name);
            if let Some(topic) = topic.filter(|topic| !topic.partitions.is_empty()) {
                self.wanted().insert(Arc::clone(&topic.name), true);
                return Ok(Arc::clone(topic));
            }
            let code = topic.map_or(ErrorCode::None, |topic| topic.error);
            let may_appear = code.is_none() || code.is_retriable();
            if is_asked && (!may_appear || Instant::now() >= patience) {
                self.forget(name);
                return Err(refusal(name, code));
            }
            view = self.refresh(view.generation, may_create).await?;
            is_asked = true;
        }
    }

    /// Returns a view newer than `seen`, asking for one unless somebody else just did.
    pub(crate) async fn refresh(
        &self,
        seen: u64,
        may_create: bool,
    ) -> Result<Arc<ClusterView>, MetadataError> {
        let mut asking = self.asking.lock().await;
        let view = self.view();
        if view.generation > seen {
            return Ok(view);
        }
        sleep_until(asking.not_before).await;
        match self.ask(may_create).await {
            Ok(response) => {
                let next = Arc::new(self.view().after(&response));
                self.view.store(Arc::clone(&next));
                let is_settled = next.topics.values().all(|topic| topic.error.is_none());
                if is_settled {
                    asking.backoff.reset();
                }
                asking.not_before = Instant::now() + asking.backoff.after_failure();
                Ok(next)
            }
            Err(last) => {
                asking.not_before = Instant::now() + asking.backoff.after_failure();
                Err(MetadataError::Unreachable { last })
            }
        }
    }

    /// Returns a connection to any broker, for requests that every broker answers.
    pub(crate) async fn any_broker(&self) -> Result<Connection, MetadataError> {
        let mut last = ConnectionError::ShutDown;
        for (broker, address) in self.candidates() {
            match self.connections.connect(broker, &address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(MetadataError::Unreachable { last })
    }

    /// Returns a connection to one broker, for requests that only it answers.
    pub(crate) async fn broker(&self, broker: BrokerId) -> Result<Connection, ConnectionError> {
        let view = self.view();
        let address = view.brokers.get(&broker);
        let address = address.ok_or(ConnectionError::UnknownBroker { broker: broker.0 })?;
        self.connections.connect(broker, address).await
    }

    /// Returns where to look for a router: the one that is named as leader first, the others in turn, then the addresses
    /// given at the start. The one whose connection has just broken comes last of its kind.
    pub(crate) fn routers(
        &self,
        turn: usize,
        left: Option<BrokerId>,
    ) -> Vec<(BrokerId, BrokerAddress)> {
        let view = self.view();
        let known = view.brokers.iter();
        let mut known: Vec<_> = known.map(|(&id, address)| (id, address.clone())).collect();
        if !known.is_empty() {
            let turns = turn % known.len();
            known.rotate_left(turns);
        }
        let mut partitions = view.topics.values().flat_map(|topic| &topic.partitions);
        let leader = partitions.find_map(|partition| partition.leader);
        known.sort_by_key(|&(id, _)| (Some(id) == left, Some(id) != leader));
        let bootstrap = self.bootstrap.iter().enumerate();
        let mut bootstrap: Vec<_> = bootstrap
            .map(|(index, address)| (bootstrap_id(index), address.clone()))
            .collect();
        bootstrap.sort_by_key(|&(id, _)| Some(id) == left);
        known.extend(bootstrap);
        known
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, bool>> {
        self.wanted
            .lock()
            .expect("no code panics while it holds this lock")
    }

    /// Stops asking for a topic that never existed, lest a later request create it. One that did is still asked for:
    /// whoever uses it has to learn when it is back.
    fn forget(&self, name: &str) {
        let mut wanted = self.wanted();
        if wanted.get(name) == Some(&false) {
            wanted.remove(name);
        }
    }

    async fn ask(&self, may_create: bool) -> Result<MetadataResponse, ConnectionError> {
        let request = self.request(may_create);
        let mut last = ConnectionError::ShutDown;
        for (broker, address) in self.candidates() {
            let answer = match self.connections.connect(broker, &address).await {
                Ok(connection) => connection.call(&request).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn request(&self, may_create: bool) -> MetadataRequest {
        let wanted = self.wanted();
        let topic = |name: &Arc<str>| MetadataRequestTopic {
            name: Some(ByteString::from(&**name)),
            ..Default::default()
        };
        MetadataRequest {
            topics: Some(wanted.keys().map(topic).collect()),
            allow_auto_topic_creation: may_create,
            ..Default::default()
        }
    }

    /// Returns whom to ask: brokers with a working connection, other brokers, then the addresses given at the start.
    fn candidates(&self) -> Vec<(BrokerId, BrokerAddress)> {
        let view = self.view();
        let known = view.brokers.iter();
        let known = known.map(|(&broker, address)| (broker, address.clone()));
        let (mut first, rest): (Vec<_>, Vec<_>) =
            known.partition(|&(broker, _)| self.connections.ready(broker).is_some());
        first.extend(rest);
        let bootstrap = self.bootstrap.iter().enumerate();
        first.extend(bootstrap.map(|(index, address)| (bootstrap_id(index), address.clone())));
        first
    }
}

/// Stands for an address of the bootstrap list; negative, as no broker's id is.
fn bootstrap_id(index: usize) -> BrokerId {
    BrokerId(-2 - i32::try_from(index).unwrap_or(0))
}

fn refusal(name: &str, code: ErrorCode) -> MetadataError {
    let topic = name.to_owned();
    match code {
        ErrorCode::None | ErrorCode::UnknownTopicOrPartition => {
            MetadataError::UnknownTopic { topic }
        }
        code => MetadataError::TopicRefused { topic, code },
    }
}
