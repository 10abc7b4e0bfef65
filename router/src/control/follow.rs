//! Which broker is asked for metadata, and what becomes of what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane_protocol::cluster::call::{FetchMetadataAnswer, Voter};
use keylane_protocol::cluster::{ApplyError, ClusterImage, Endpoint, RecordsError, decode_records};
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::Fate;
use keylane_protocol::link::handshake::{Hello, Role};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::linked::{Ended, Linked};
use super::{Asks, Known};
use crate::limits::VOTERS_MAX;
use crate::link::Pause;
use crate::link::wire::Wire;

/// Why metadata is not taken; everything is asked for again then.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnfitMetadata {
    #[error("the records cannot be read: {0}")]
    Records(#[from] RecordsError),
    #[error("the records do not follow: {0}")]
    Apply(#[from] ApplyError),
    #[error("the metadata goes back from index {from} to {to}")]
    Back { from: i64, to: i64 },
}

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// `None` if any broker there will do.
    broker: Option<BrokerId>,
    endpoint: Endpoint,
}

/// Follows the metadata.
pub(crate) struct Follower {
    pub(super) asks: Asks,
    brokers: Vec<Endpoint>,
    pub(super) advertise: Option<Endpoint>,
    /// The voters as one of them has told; the image may be older, or not there yet.
    voters: BTreeMap<BrokerId, Endpoint>,
    /// Whom the last answer named.
    leader: Option<Target>,
    /// How many targets were tried.
    turn: usize,
    /// Whether what is known is to be replaced as a whole.
    pub(super) is_unfit: bool,
}

impl Follower {
    pub(crate) fn new(asks: Asks, brokers: Vec<Endpoint>, advertise: Option<Endpoint>) -> Self {
        Self {
            asks,
            brokers,
            advertise,
            voters: BTreeMap::new(),
            leader: None,
            turn: 0,
            is_unfit: false,
        }
    }

    /// Follows until the router stops.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        let mut pause = Pause::default();
        let mut failures_in_a_row = 0;
        loop {
            let target = self.next_target();
            let attempt = self.attempt(&target, &stopping).await;
            match attempt {
                Ok(Ended::Stopped) => return,
                Ok(Ended::Redirected(leader)) => {
                    self.leader = self.target_of(leader).filter(|leader| *leader != target);
                    failures_in_a_row += 1;
                }
                Ok(Ended::Lost(error)) => {
                    info!(endpoint = %target.endpoint, error, "the metadata is not followed any more there");
                    (pause, failures_in_a_row) = (Pause::default(), 0);
                }
                Err(error) => {
                    debug!(endpoint = %target.endpoint, error, "no metadata from there");
                    failures_in_a_row += 1;
                }
            }
            if stopping.is_cancelled() {
                return;
            }
            // Once around without an answer, there is none for the moment; nor if each names another as the leader.
            let all = self.targets().len();
            if failures_in_a_row >= all {
                if failures_in_a_row == all && self.leader.is_none() {
                    warn!("no broker answers for the controllers; the metadata stays as it is");
                }
                let paused = sleep(pause.next());
                refuse_while(&mut self.asks, paused).await;
            }
        }
    }

    async fn attempt(
        &mut self,
        target: &Target,
        stopping: &CancellationToken,
    ) -> Result<Ended, String> {
        let hello = self.hello(target);
        let dialled = async {
            tokio::select! {
                () = stopping.cancelled() => None,
                dialled = Wire::dial(&target.endpoint, &hello) => Some(dialled),
            }
        };
        match refuse_while(&mut self.asks, dialled).await {
            None => Ok(Ended::Stopped),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok((wire, welcome))) => {
                debug!(broker = welcome.broker_id.0, endpoint = %target.endpoint, "asks for metadata");
                let linked = Linked::new(self, wire, &welcome, Instant::now());
                Ok(linked.run(stopping).await)
            }
        }
    }

    fn hello(&self, target: &Target) -> Hello {
        let cluster_id = self.known().image.cluster_id();
        Hello {
            cluster_id: cluster_id.unwrap_or_default(),
            role: Role::Router,
            wanted_broker_id: target.broker.unwrap_or(BrokerId::NONE),
            name: "a router".into(),
            ..Hello::default()
        }
    }

    pub(super) fn known(&self) -> Known {
        self.asks.publish.borrow().clone()
    }

    /// Returns where to ask next: whom the last answer named, else everybody in turn.
    fn next_target(&mut self) -> Target {
        if let Some(leader) = self.leader.take() {
            return leader;
        }
        let targets = self.targets();
        let target = targets[self.turn % targets.len()].clone();
        self.turn = self.turn.wrapping_add(1);
        target
    }

    /// Returns everybody who may know: the brokers of the image, the voters, those configured; each address once.
    fn targets(&self) -> Vec<Target> {
        let known = self.known();
        let living = known.image.brokers().filter(|broker| !broker.is_fenced);
        let mut targets: Vec<Target> = living
            .map(|broker| Target {
                broker: Some(broker.id),
                endpoint: broker.internal.clone(),
            })
            .collect();
        for endpoint in self.voters.values().chain(&self.brokers) {
            if targets.iter().all(|target| target.endpoint != *endpoint) {
                targets.push(Target {
                    broker: None,
                    endpoint: endpoint.clone(),
                });
            }
        }
        targets
    }

    /// Tells whether it is known where a broker is.
    pub(super) fn knows(&self, broker: BrokerId) -> bool {
        self.target_of(broker).is_some()
    }

    /// Takes what a voter says of where all are.
    pub(super) fn on_voters(&mut self, voters: &[Voter]) {
        let voters = voters.iter().take(VOTERS_MAX);
        let placed = voters.filter_map(|voter| {
            let endpoint = Endpoint::new(&voter.internal_host, voter.internal_port)?;
            Some((voter.broker_id, endpoint))
        });
        self.voters = placed.collect();
    }

    fn target_of(&self, broker: BrokerId) -> Option<Target> {
        let known = self.known();
        let registered = known.image.broker(broker).map(|found| &found.internal);
        let endpoint = registered.or_else(|| self.voters.get(&broker))?;
        Some(Target {
            broker: Some(broker),
            endpoint: endpoint.clone(),
        })
    }

    /// Returns the index from which changes are asked for; 0 for everything.
    pub(super) fn index(&self) -> i64 {
        match self.is_unfit {
            true => 0,
            false => self.asks.publish.borrow().index,
        }
    }

    /// Takes what a controller says has changed since `asked`.
    pub(super) fn take(
        &mut self,
        asked: i64,
        answer: &FetchMetadataAnswer,
    ) -> Result<(), UnfitMetadata> {
        let known = self.known();
        if answer.index < asked {
            let (from, to) = (asked, answer.index);
            return Err(UnfitMetadata::Back { from, to });
        }
        self.asks.hear();
        let Some(records) = &answer.records else {
            return Ok(());
        };
        let records = decode_records(records)?;
        let is_whole = answer.is_snapshot || asked == 0;
        let before = match is_whole {
            true => Arc::default(),
            false => known.image,
        };
        let image: ClusterImage = before.with(&records)?;
        self.is_unfit = false;
        debug!(
            index = answer.index,
            records = records.len(),
            is_whole,
            "metadata"
        );
        self.asks.publish.send_replace(Known {
            index: answer.index,
            image: Arc::new(image),
        });
        Ok(())
    }
}

/// Refuses what is asked of the controllers until a future is done: there is no link to them.
async fn refuse_while<F: Future>(asks: &mut Asks, until: F) -> F::Output {
    let mut until = std::pin::pin!(until);
    loop {
        tokio::select! {
            done = &mut until => return done,
            Some(ask) = asks.waiting.recv() => {
                let _ = ask.answer.send(Err(Fate::NeverSent));
            }
        }
    }
}
