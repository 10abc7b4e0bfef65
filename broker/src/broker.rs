//! Starting and ending a broker: folder, partitions, threads, listener, in this order, and back.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytestring::ByteString;
use keylane_protocol::offset::LeaderEpoch;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Uptime;
use crate::config::{BrokerConfig, InvalidConfig};
use crate::connection::{AnswerBudget, ReceiveBudget, RequestBudget};
use crate::disk::real::RealDisk;
use crate::disk::{Disk, DiskError};
use crate::entropy::IdSource;
use crate::folder::{DataFolder, OpenError};
use crate::handler::init_producer_id::ProducerIds;
use crate::limits::{CONNECTIONS_HANDED_OVER_MAX, Limits, SHARD_MAILBOX_MAX};
use crate::log::space::SpaceBudget;
use crate::log::writer::{Writer, WriterHandle};
use crate::partition::Partition;
use crate::partition::producer_state::ProducerLimits;
use crate::partitions::{PartitionMaker, RecoverError};
use crate::readers::Readers;
use crate::server::{self, BrokerState, ConnectionSlots, Handover};
use crate::shard::Shard;
use crate::shard::reports::{OfflineSwitch, ReportToShards, Reports};
use crate::shard::request::ShardRequest;
use crate::shard::run::ShardTask;
use crate::threads::{self, Ending};
use crate::topic_registry::{TopicRegistry, WorkQueue, write_index};
use crate::topics::{TopicRules, TopicsImage};

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

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// Somebody listens there already.
    #[error(
        "{address} is in use: is another broker running? Stop it, or choose another port (0 takes a free one)"
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The listener could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// What lies in the data folder cannot be served.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A thread could not be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// Why a broker did not end well; what was acknowledged is safe all the same.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// It had failed before.
    #[error("the broker had failed before: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// The disk failed when the clean end was noted; the next start recovers as after a crash.
    #[error("the clean stop could not be noted in the data folder: {source}")]
    Disk {
        /// What the disk reports.
        source: DiskError,
    },
    /// A thread ended early; the next start recovers as after a crash.
    #[error("the broker's threads did not end in order")]
    Unfinished,
}

/// Why a broker ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker failed: {reason}")]
pub struct BrokerFailure {
    /// What happened, and what to do.
    pub reason: String,
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
        let (readers, reader_threads) = Readers::start(&disk, &layout)?;
        self.threads.extend(reader_threads);
        let queue = WorkQueue::new();
        let (mailboxes, shards) = shards(&config, &reports, &writer_handle, &maker, &queue);
        let cluster_id = ByteString::from(folder.cluster_id().to_string());
        let topics = Arc::new(ArcSwap::from_pointee(image));
        let state = Arc::new(BrokerState {
            cluster_id,
            leader_epoch: maker.leader_epoch,
            topics: Arc::clone(&topics),
            topic_changes: queue.topic_changes(),
            shards: mailboxes.clone(),
            readers,
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

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { address },
        _ => StartError::Listen { address, source },
    })
}

/// A data folder that was opened and recovered.
struct Opened {
    folder: DataFolder,
    image: TopicsImage,
    partitions: Vec<Partition>,
    maker: PartitionMaker,
    ids: IdSource,
}

impl Opened {
    fn open(config: &BrokerConfig, disk: &Arc<dyn Disk>) -> Result<Self, StartError> {
        let root = &config.data_folder;
        let mut ids = IdSource::from_system();
        let folder = DataFolder::open(Arc::clone(disk), root, config.id, ids.folder_ids())?;
        let space = disk.space(root).map_err(|source| OpenError::Disk {
            folder: root.clone(),
            source,
        })?;
        let maker = PartitionMaker {
            shard_count: match config.runtimes {
                0 => threads::default_runtimes(),
                count => count,
            },
            leader_epoch: LeaderEpoch(folder.incarnations()),
            producer_limits: producer_limits(&config.limits),
            space: Arc::new(SpaceBudget::new(config.space_reserve_bytes, space)),
        };
        let (image, partitions) = maker.recover(&folder, &config.topic_defaults)?;
        Ok(Self {
            folder,
            image,
            partitions,
            maker,
            ids,
        })
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

fn producer_limits(limits: &Limits) -> ProducerLimits {
    ProducerLimits {
        producers_max: limits.producers_per_partition_max,
        expiry_ms: millis(limits.producer_expiry),
        idle_ms_min: millis(Limits::PRODUCER_IDLE_MIN.min(limits.producer_expiry)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is left to close when all threads have ended.
#[derive(Clone, Default)]
struct Closing {
    parts: Arc<Mutex<(Option<DataFolder>, Vec<Partition>)>>,
}

impl Closing {
    fn put_folder(&self, folder: DataFolder) {
        self.lock().0 = Some(folder);
    }

    fn put_partitions(&self, partitions: Vec<Partition>) {
        self.lock().1.extend(partitions);
    }

    fn take(&self) -> Option<(DataFolder, Vec<Partition>)> {
        let mut parts = self.lock();
        let partitions = std::mem::take(&mut parts.1);
        parts.0.take().map(|folder| (folder, partitions))
    }

    fn lock(&self) -> MutexGuard<'_, (Option<DataFolder>, Vec<Partition>)> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Closing")
    }
}

/// What the first runtime does besides serving.
struct Lead {
    broker: Arc<BrokerState>,
    handovers: Vec<mpsc::Sender<Handover>>,
    closing: Closing,
}

impl Lead {
    /// Gives the partitions to their shards, accepts connections, and ends the broker in order when it is stopped.
    async fn run(self, listener: TcpListener, partitions: Vec<Partition>) {
        let broker = &self.broker;
        for partition in partitions {
            let shard = &broker.shards[broker.shard_of(partition.id())];
            let _ = shard.send(ShardRequest::Open(Box::new(partition))).await;
        }
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, "the listener cannot be used");
                return;
            }
        };
        let limits = &broker.config.limits;
        let slots =
            ConnectionSlots::new(limits.connections_max, limits.connections_per_address_max);
        server::accept(
            listener,
            slots.clone(),
            self.handovers,
            broker.stopping.clone(),
        )
        .await;
        if timeout(limits.stop_timeout, slots.none_left())
            .await
            .is_err()
        {
            warn!("connections with requests under way were closed");
        }
        for shard in &broker.shards {
            let (stopped, until_stopped) = oneshot::channel();
            if shard.send(ShardRequest::Stop { stopped }).await.is_ok()
                && let Ok(partitions) = until_stopped.await
            {
                self.closing.put_partitions(partitions);
            }
        }
    }
}
