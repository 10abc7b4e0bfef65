//! Starting and ending a broker: folder, partitions, threads, listener, in this order, and back.

mod error;
mod lead;
mod opened;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use bytestring::ByteString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use error::{BrokerFailure, StartError, StopError};

use self::lead::{Closing, Lead};
use self::opened::{Opened, listen};
use crate::clock::Uptime;
use crate::config::BrokerConfig;
use crate::connection::{AnswerBudget, ReceiveBudget, RequestBudget};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::handler::init_producer_id::ProducerIds;
use crate::limits::{CONNECTIONS_HANDED_OVER_MAX, SHARD_MAILBOX_MAX};
use crate::log::writer::{Writer, WriterHandle};
use crate::partition::Partition;
use crate::partitions::PartitionMaker;
use crate::readers::Readers;
use crate::server::{self, BrokerState, Handover};
use crate::shard::Shard;
use crate::shard::reports::{OfflineSwitch, ReportToShards, Reports};
use crate::shard::request::ShardRequest;
use crate::shard::run::ShardTask;
use crate::threads::{self, Ending};
use crate::topic_registry::{TopicRegistry, WorkQueue, write_index};
use crate::topics::rules::TopicRules;

/// A running broker. Dropping it without [`Broker::stop`] ends it as a crash would.
pub struct Broker {
    address: SocketAddr,
    /// Cancelled to end well.
    stopping: CancellationToken,
    /// Cancelled to end at once.
    aborting: CancellationToken,
    ending: Ending,
    threads: Vec<JoinHandle<()>>,
    writer: Option<Writer>,
    closing: Closing,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Broker")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Waits for a broker's failure, in another thread than the one that stops it.
#[derive(Clone, Debug)]
pub struct FailureWatch {
    ending: Ending,
}

impl FailureWatch {
    /// Blocks until the broker fails, and returns why; `None` when it was stopped.
    #[must_use]
    pub fn wait(&self) -> Option<BrokerFailure> {
        self.ending.wait().map(|reason| BrokerFailure { reason })
    }

    /// Returns why the broker failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<BrokerFailure> {
        self.ending.failure().map(|reason| BrokerFailure { reason })
    }
}

impl Broker {
    /// Returns the address of the Kafka listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Blocks until the broker fails, and returns why; it must then be dropped.
    #[must_use]
    pub fn wait_for_failure(&self) -> Option<BrokerFailure> {
        self.failure_watch().wait()
    }

    /// Returns what waits for a failure while somebody else owns the broker.
    #[must_use]
    pub fn failure_watch(&self) -> FailureWatch {
        FailureWatch {
            ending: self.ending.clone(),
        }
    }
}

impl Broker {
    /// Starts a broker: opens its data folder, recovers its partitions and begins to listen. Blocks until it serves.
    ///
    /// # Errors
    /// When the configuration, the listener or the data folder cannot be used; nothing is left running then.
    pub fn start(config: BrokerConfig) -> Result<Self, StartError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Self::start_on(config, &disk)
    }

    /// Starts a broker whose data folder lies on `disk`, which may be a simulated one.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_on(config: BrokerConfig, disk: &Arc<dyn Disk>) -> Result<Self, StartError> {
        config.validate()?;
        let (listener, address) = listen(config.listen)?;
        let ending = Ending::default();
        let opened = Opened::open(&config, disk)?;
        if config.insecure {
            warn!(
                "nothing is encrypted or authenticated: whoever reaches this listener can read and write everything"
            );
        }
        let mut broker = Self {
            address,
            stopping: CancellationToken::new(),
            aborting: CancellationToken::new(),
            ending,
            threads: Vec::new(),
            writer: None,
            closing: Closing::default(),
        };
        let durability = config.topic_defaults.durability;
        // From here on dropping `broker` ends what was started.
        broker
            .spawn(config, opened, listener)
            .map_err(|source| StartError::Thread { source })?;
        info!(%address, %durability, "broker started");
        Ok(broker)
    }

    fn spawn(
        &mut self,
        config: BrokerConfig,
        opened: Opened,
        listener: TcpListener,
    ) -> io::Result<()> {
        let Opened {
            folder,
            image,
            partitions,
            maker,
            ids,
        } = opened;
        let (disk, layout) = (Arc::clone(folder.disk()), folder.layout().clone());
        let reports: Vec<Arc<Reports>> = (0..maker.shard_count).map(|_| Arc::default()).collect();
        let switch = OfflineSwitch {
            shards: reports.as_slice().into(),
            ending: self.ending.clone(),
        };
        let sink = ReportToShards(switch.clone());
        let space = Arc::clone(&maker.space);
        let (writer, writer_handle) =
            Writer::start(Arc::clone(&disk), layout.clone(), Arc::clone(&space), sink)?;
        self.writer = Some(writer);
        let topics = Arc::new(ArcSwap::from_pointee(image));
        let (readers, reader_threads) = Readers::start(&disk, &layout, &topics)?;
        self.threads.extend(reader_threads);
        let queue = WorkQueue::new();
        let (mailboxes, shards) = shards(&config, &reports, &writer_handle, &maker, &queue);
        let cluster_id = ByteString::from(folder.cluster_id().to_string());
        let state = Arc::new(BrokerState {
            cluster_id,
            leader_epoch: maker.leader_epoch,
            topics: Arc::clone(&topics),
            topic_changes: queue.topic_changes(),
            shards: mailboxes.clone(),
            readers: readers.clone(),
            producer_ids: ProducerIds::new(maker.leader_epoch.0),
            request_budget: RequestBudget::new(
                config.limits.request_bytes_total_max,
                config.limits.connection_request_bytes_max,
            ),
            answers: AnswerBudget::new(config.limits.fetch_bytes_total_max),
            receive_budget: ReceiveBudget::new(config.limits.request_bytes_total_max),
            stopping: self.stopping.clone(),
            config,
        });
        let registry = TopicRegistry {
            folder,
            rules: topic_rules(&state.config),
            image: topics,
            shards: mailboxes,
            maker,
            space,
            writer: writer_handle,
            readers,
            ids,
            switch,
        };
        let closing = self.closing.clone();
        self.threads.push(threads::spawn("topics", move || {
            let folder = registry.run(queue);
            closing.put_folder(folder);
        })?);
        self.spawn_runtimes(&state, shards, partitions, listener)
    }

    fn spawn_runtimes(
        &mut self,
        state: &Arc<BrokerState>,
        shards: Vec<ShardTask>,
        partitions: Vec<Partition>,
        listener: TcpListener,
    ) -> io::Result<()> {
        let (handovers, handed_over): (Vec<_>, Vec<_>) = shards
            .iter()
            .map(|_| mpsc::channel::<Handover>(CONNECTIONS_HANDED_OVER_MAX))
            .unzip();
        let ended = CancellationToken::new();
        let leader = Lead {
            broker: Arc::clone(state),
            handovers,
            closing: self.closing.clone(),
        };
        let mut leading = Some(leader.run(listener, partitions));
        let runtimes = shards.into_iter().zip(handed_over).enumerate();
        for (index, (shard, handed_over)) in runtimes {
            let broker = Arc::clone(state);
            let (leading, ended) = (leading.take(), ended.clone());
            let work = async move {
                tokio::spawn(shard.run());
                tokio::spawn(server::serve_handed_over(handed_over, broker));
                match leading {
                    Some(leading) => {
                        leading.await;
                        ended.cancel();
                    }
                    None => ended.cancelled().await,
                }
            };
            let aborting = self.aborting.clone();
            let main = async move {
                tokio::select! {
                    biased;
                    () = aborting.cancelled() => {}
                    () = work => {}
                }
            };
            let name = format!("runtime-{index}");
            self.threads.push(threads::spawn_runtime(&name, main)?);
        }
        Ok(())
    }

    /// Ends a broker well: no further request is read, what is under way is answered, everything is synced and noted.
    ///
    /// # Errors
    /// When it had failed before, or fails in the end; what was acknowledged is safe all the same.
    pub fn stop(mut self) -> Result<(), StopError> {
        self.stopping.cancel();
        self.join();
        if let Some(reason) = self.ending.failure() {
            return Err(StopError::Failed { reason });
        }
        let Some((folder, partitions)) = self.closing.take() else {
            return Err(StopError::Unfinished);
        };
        for seal in partitions.into_iter().flat_map(Partition::into_seals) {
            write_index(&folder, &seal).map_err(|source| StopError::Disk { source })?;
        }
        folder
            .close()
            .map_err(|source| StopError::Disk { source })?;
        info!("broker stopped");
        Ok(())
    }

    /// Waits for all threads; the writer's ends when nobody can reach it any more.
    fn join(&mut self) {
        threads::join(std::mem::take(&mut self.threads));
        if let Some(writer) = self.writer.take() {
            writer.join();
        }
        self.ending.stop();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.aborting.cancel();
        self.join();
    }
}

fn shards(
    config: &BrokerConfig,
    reports: &[Arc<Reports>],
    writer: &WriterHandle,
    maker: &PartitionMaker,
    queue: &WorkQueue,
) -> (Vec<mpsc::Sender<ShardRequest>>, Vec<ShardTask>) {
    let uptime = Uptime::start();
    reports
        .iter()
        .map(|reports| {
            let (mailbox, messages) = mpsc::channel(SHARD_MAILBOX_MAX);
            let task = ShardTask {
                shard: Shard::new(uptime, config.limits.tail_bytes_per_shard),
                mailbox: messages,
                reports: Arc::clone(reports),
                writer: writer.clone(),
                space: Arc::clone(&maker.space),
                background: queue.background(),
                is_full: false,
            };
            (mailbox, task)
        })
        .unzip()
}

fn topic_rules(config: &BrokerConfig) -> TopicRules {
    TopicRules {
        default_partitions: config.default_partitions,
        defaults: config.topic_defaults,
        partitions_max: config.limits.partitions_max,
        broker_id: config.id.0,
    }
}
