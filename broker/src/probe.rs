//! What a running broker tells of itself to the process it runs in.
//!
//! It keeps nothing of the broker alive: a broker that has ended says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use keylane_protocol::identifiers::{PartitionIndex, TopicName};
use tokio_util::sync::CancellationToken;

use crate::log::TopicPartition;
use crate::log::space::SpaceBudget;
use crate::log::writer::WriterHandle;
use crate::meters::PartitionTable;
use crate::partition::counters::PartitionNumbers;
use crate::partitions::PartitionMaker;
use crate::server::BrokerState;
use crate::threads::Ending;
use crate::topic_settings::Durability;
use keylane_protocol::meters::{NodeState, number};
use keylane_protocol::transport::Pulse;

/// Looks at a running broker from outside; clones look at the same one.
#[derive(Clone, Debug)]
pub struct Probe {
    parts: Arc<ProbeParts>,
}

/// What a probe looks at.
pub(crate) struct ProbeParts {
    pub node: String,
    pub state: Weak<BrokerState>,
    pub looks: Looks,
    /// Cancelled when the broker takes part in its cluster.
    pub joined: CancellationToken,
    pub ending: Ending,
    /// One for each runtime.
    pub pulses: Vec<Pulse>,
}

/// How to look at what is not part of the broker's state; keeps no thread alive.
pub(crate) struct Looks {
    writer_queue: Box<dyn Fn() -> usize + Send + Sync>,
    space: Arc<SpaceBudget>,
    table: Arc<PartitionTable>,
}

impl Looks {
    pub(crate) fn new(writer: &WriterHandle, maker: &PartitionMaker) -> Self {
        Self {
            writer_queue: writer.queue_length(),
            space: Arc::clone(&maker.space),
            table: Arc::clone(&maker.table),
        }
    }
}

/// What is counted of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReading {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// What an acknowledged record survives; `None` while the topic is not known, or no longer.
    pub durability: Option<Durability>,
    /// The numbers.
    pub numbers: PartitionNumbers,
}

impl std::fmt::Debug for ProbeParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.node)
    }
}

impl Probe {
    pub(crate) fn new(parts: ProbeParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Returns what this broker is called in metrics.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.parts.node
    }

    /// Tells whether the broker serves clients.
    ///
    /// # Errors
    /// When it does not: why, in words.
    pub fn readiness(&self) -> Result<(), String> {
        let parts = &self.parts;
        if let Some(reason) = parts.ending.failure() {
            return Err(reason);
        }
        let Some(state) = parts.state.upgrade() else {
            return Err("it has stopped".to_owned());
        };
        if state.stopping.is_cancelled() {
            return Err("it is being stopped".to_owned());
        }
        if !parts.joined.is_cancelled() {
            return Err("it has not joined its cluster yet".to_owned());
        }
        match state.topics.load().cluster().broker(state.config.id) {
            Some(registered) if registered.is_fenced => Err(
                "its cluster does without it: no controller has heard of it for a session"
                    .to_owned(),
            ),
            Some(_) => Ok(()),
            None => Err("its cluster does not know it".to_owned()),
        }
    }

    /// Returns how many sub-batches of routers were dropped before they had a place in a log, since their client had gone
    /// or had given them up; 0 once the broker has stopped.
    #[must_use]
    pub fn dropped_sub_batches(&self) -> u64 {
        let state = self.parts.state.upgrade();
        state.map_or(0, |state| state.dropped_sub_batches.load(Ordering::Relaxed))
    }

    /// Sets the gauges that are not kept up by what they measure: to be called before they are shown.
    pub fn refresh(&self) {
        let Some(state) = self.parts.state.upgrade() else {
            return;
        };
        let (looks, observed) = (&self.parts.looks, &state.meters.observed);
        observed.partitions.set(number(looks.table.count()));
        let shards = state.shards.iter();
        let in_shards = shards.map(|shard| shard.max_capacity() - shard.capacity());
        observed.queue_shard.set(number(in_shards.sum()));
        observed.queue_writer.set(number((looks.writer_queue)()));
        observed.queue_reader.set(number(state.readers.waiting()));
        observed.state.show(&NodeState {
            is_ready: self.readiness().is_ok(),
            request_bytes: state.request_budget.usage(),
            answer_bytes: state.answers.usage(),
            image_index: state.topics.load().index(),
            silence: state.controllers.silence(),
        });
        let room_bytes = usize::try_from(looks.space.room_bytes()).unwrap_or(usize::MAX);
        observed.room_bytes.set(number(room_bytes));
        observed.dropped.absolute(self.dropped_sub_batches());
        let own = state.controllers.own();
        let leads = own.is_some_and(|own| own.leads());
        observed.leads.set(f64::from(u8::from(leads)));
    }

    /// Returns what is counted of each partition that the broker has.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionReading> {
        let state = self.parts.state.upgrade();
        let topics = state.map(|state| state.topics.load_full());
        let durability = |id: TopicPartition| {
            let topic = topics.as_ref()?.with_id(id.topic_id)?;
            Some(topic.settings.durability)
        };
        let rows = self.parts.looks.table.rows().into_iter();
        rows.map(|(id, topic, counters)| PartitionReading {
            topic,
            partition: id.partition,
            durability: durability(id),
            numbers: counters.numbers(),
        })
        .collect()
    }

    /// Waits until every runtime of the broker has answered: none of them ever waits for a disk.
    pub async fn answers(&self) {
        for pulse in &self.parts.pulses {
            pulse.felt().await;
        }
    }
}
