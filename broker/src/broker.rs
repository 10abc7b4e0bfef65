//! Starting and ending a broker: folder, partitions, threads, listener, in this order, and back.

mod error;
mod founding;
mod lead;
mod member;
mod opened;
mod recalling;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use bytestring::ByteString;
use keylane_protocol::cluster::call::RegisterBrokerRequest;
use keylane_protocol::config::ClientLimits;
use keylane_protocol::identifiers::ClusterId;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use error::{BrokerFailure, StartError, StopError};

use self::lead::{Closing, Lead, Listeners};
use self::member::{Member, VoterFiles, VoterParts, boot_id};
use self::opened::{Opened, listen};
use crate::clock::Uptime;
use crate::config::BrokerConfig;
use crate::connection::RequestBudget;
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::entropy::IdSource;
use crate::folder::DataFolder;
use crate::hosting::{HostingThread, WorkQueue, write_index};
use crate::limits::{CONNECTIONS_HANDED_OVER_MAX, SHARD_MAILBOX_MAX};
use crate::log::writer::{Writer, WriterHandle};
use crate::membership::{self, Addresses, Controllers};
use crate::meters::Meters;
use crate::partition::Partition;
use crate::partitions::PartitionMaker;
use crate::probe::{Looks, Probe, ProbeParts};
use crate::readers::Readers;
use crate::server::{self, BrokerState, Handover};
use crate::shard::Shard;
use crate::shard::reports::{OfflineSwitch, ReportToShards, Reports};
use crate::shard::request::ShardRequest;
use crate::shard::run::ShardTask;
use crate::threads::{self, Ending};
use crate::topics::TopicsImage;
use keylane_protocol::transport::{BytePool, Pulse, ReceiveBudget};

/// A running broker. Dropping it without [`Broker::stop`] ends it as a crash would.
pub struct Broker {
    address: SocketAddr,
    internal_address: SocketAddr,
    /// Cancelled to end well.
    stopping: CancellationToken,
    /// Cancelled when this broker has left its cluster, and calls no other node any more.
    left: CancellationToken,
    /// Cancelled to end at once.
    aborting: CancellationToken,
    ending: Ending,
    threads: Vec<JoinHandle<()>>,
    writer: Option<Writer>,
    closing: Closing,
    /// One for each runtime.
    pulses: Vec<Pulse>,
    /// There once everything is started.
    probe: Option<Probe>,
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

    /// Returns the address of the internal listener, which routers and other brokers dial.
    #[must_use]
    pub fn internal_address(&self) -> SocketAddr {
        self.internal_address
    }

    /// Returns what looks at the broker while somebody else owns it.
    ///
    /// # Panics
    /// Never: there is no broker outside this crate that is not started.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone().expect("it is there once it is started")
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
        let (kafka, address) = listen(config.listen)?;
        let (internal, internal_address) = listen(config.internal_listen)?;
        let listeners = Listeners { kafka, internal };
        let ending = Ending::default();
        let opened = Opened::open(&config, disk)?;
        if config.insecure {
            warn!(
                "nothing is encrypted or authenticated: whoever reaches this listener can read and write everything"
            );
        }
        let mut broker = Self {
            address,
            internal_address,
            stopping: CancellationToken::new(),
            left: CancellationToken::new(),
            aborting: CancellationToken::new(),
            ending,
            threads: Vec::new(),
            writer: None,
            closing: Closing::default(),
            pulses: Vec::new(),
            probe: None,
        };
        let durability = config.topic_defaults.durability;
        // From here on dropping `broker` ends what was started.
        broker.spawn(&Arc::new(config), opened, listeners)?;
        info!(%address, %internal_address, %durability, "broker started");
        Ok(broker)
    }

    fn spawn(
        &mut self,
        config: &Arc<BrokerConfig>,
        opened: Opened,
        listeners: Listeners,
    ) -> Result<(), StartError> {
        let (folder, maker, mut ids, store) =
            (opened.folder, opened.maker, opened.ids, opened.store);
        let switch = OfflineSwitch::new(maker.shard_count, &self.ending);
        let view = Arc::new(ArcSwap::from_pointee(TopicsImage::default()));
        let meters = Arc::new(Meters::new(&node(config)));
        let (writer, readers, looks) =
            self.spawn_disk((&folder, &maker, &switch, &view), &meters)?;
        let queue = WorkQueue::new();
        let (mailboxes, shards) =
            shards(config, &switch.shards, (&writer, &maker, &queue), &meters);
        let (publish, published) = watch::channel(0);
        let member = Member {
            registration: self.registration(&folder, config),
            found: found_cluster(&folder, config, &mut ids),
            voter: config.is_voter().then_some(VoterParts { store, ids }),
            config: Arc::clone(config),
            hosting: queue.hosting(),
            published: published.clone(),
            producer_ids: Arc::default(),
            joined: CancellationToken::new(),
            stopping: self.stopping.clone(),
            switch: switch.clone(),
        };
        let (producer_ids, joined) = (Arc::clone(&member.producer_ids), member.joined.clone());
        let (controllers, until_joined) = self.spawn_member(member)?;
        let (request_budget, receive_budget, answers) = budgets(&config.clients);
        let state = BrokerState {
            config: Arc::clone(config),
            topics: Arc::clone(&view),
            published,
            controllers,
            shards: mailboxes.clone(),
            readers: readers.clone(),
            producer_ids,
            request_budget,
            receive_budget,
            answers,
            meters,
            address: self.address,
            watchers: AtomicU64::new(0),
            dropped_sub_batches: AtomicU64::new(0),
            folder_cluster_id: (folder.acknowledged() > 0).then(|| folder.cluster_id()),
            stopping: self.stopping.clone(),
            left: self.left.clone(),
        };
        let hosting = HostingThread {
            broker_id: config.id,
            was_acknowledged: folder.acknowledged() > 0,
            folder,
            recovered: opened.recovered,
            open: BTreeMap::new(),
            defaults: config.topic_defaults,
            view,
            published: publish,
            shards: mailboxes,
            maker,
            writer,
            readers,
            switch,
        };
        self.spawn_hosting(hosting, queue)?;
        self.spawn_runtimes(&Arc::new(state), shards, (joined, looks), listeners)?;
        until_joined.recv().unwrap_or_else(|_| Err(self.refused()))
    }

    /// Starts the threads that write and read segments.
    fn spawn_disk(
        &mut self,
        (folder, maker, switch, view): DiskParts<'_>,
        meters: &Meters,
    ) -> io::Result<(WriterHandle, Readers, Looks)> {
        let (disk, layout) = (folder.disk(), folder.layout());
        let sink = ReportToShards(switch.clone());
        let space = Arc::clone(&maker.space);
        let counted = meters.writer.clone();
        let (writer, handle) =
            Writer::start(Arc::clone(disk), layout.clone(), space, sink, counted)?;
        self.writer = Some(writer);
        let (readers, threads) = Readers::start(disk, layout, view, &meters.waits.reader)?;
        self.threads.extend(threads);
        let looks = Looks::new(&handle, maker);
        Ok((handle, readers, looks))
    }

    fn spawn_hosting(&mut self, hosting: HostingThread, queue: WorkQueue) -> io::Result<()> {
        let closing = self.closing.clone();
        let thread = threads::spawn("hosting", move || {
            let folder = hosting.run(queue);
            closing.put_folder(folder);
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Returns why the broker does not start whose threads have ended.
    fn refused(&self) -> StartError {
        StartError::Refused {
            reason: self.ending.failure().unwrap_or_default(),
        }
    }

    /// Starts the runtime on which this broker is a voter and a member of its cluster; returns how to reach the
    /// controllers, and what tells whether the broker has joined.
    fn spawn_member(
        &mut self,
        member: Member,
    ) -> Result<(Controllers, Receiver<Result<(), StartError>>), StartError> {
        let (started, until_started) = sync_channel(1);
        let (tell_joined, until_joined) = sync_channel(1);
        let aborting = self.aborting.clone();
        let files = VoterFiles::default();
        let (used, left) = (files.clone(), self.left.clone());
        let (pulse, answering) = Pulse::new();
        self.pulses.push(pulse);
        let main = async move {
            tokio::spawn(answering);
            tokio::select! {
                biased;
                () = aborting.cancelled() => {}
                () = member.run(&used, started, tell_joined) => {}
            }
            left.cancel();
        };
        // Nobody else may have the folder before nothing can write to it any more.
        let thread = threads::spawn_runtime_then("member", main, move || files.until_closed())?;
        self.threads.push(thread);
        let controllers = until_started.recv().unwrap_or_else(|_| Err(self.refused()));
        Ok((controllers?, until_joined))
    }

    fn registration(&self, folder: &DataFolder, config: &BrokerConfig) -> RegisterBrokerRequest {
        let (bound, internal) = (self.address, self.internal_address);
        let (host, port) = match &config.advertise {
            Some(address) => (address.host.clone(), address.port),
            None => (bound.ip().to_string().into(), bound.port()),
        };
        let (internal_host, internal_port) = match config.own_voter() {
            Some(voter) => (ByteString::from(voter.host.as_str()), voter.port),
            // Every address of this machine, of which clients are told one.
            None if internal.ip().is_unspecified() => (host.clone(), internal.port()),
            None => (internal.ip().to_string().into(), internal.port()),
        };
        let addresses = Addresses {
            internal_host,
            internal_port,
            host,
            port,
        };
        membership::registration(folder, config, addresses, boot_id())
    }

    fn spawn_runtimes(
        &mut self,
        state: &Arc<BrokerState>,
        shards: Vec<ShardTask>,
        (joined, looks): (CancellationToken, Looks),
        listeners: Listeners,
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
            joined: joined.clone(),
        };
        let mut leading = Some(leader.run(listeners));
        let runtimes = shards.into_iter().zip(handed_over).enumerate();
        for (index, (shard, handed_over)) in runtimes {
            let broker = Arc::clone(state);
            let (leading, ended) = (leading.take(), ended.clone());
            let (pulse, answering) = Pulse::new();
            self.pulses.push(pulse);
            let work = async move {
                tokio::spawn(answering);
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
        self.probe = Some(Probe::new(ProbeParts {
            node: node(&state.config),
            looks,
            state: Arc::downgrade(state),
            joined,
            ending: self.ending.clone(),
            pulses: self.pulses.clone(),
        }));
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

/// Returns what a broker is called in metrics.
fn node(config: &BrokerConfig) -> String {
    format!("broker-{}", config.id)
}

/// What the threads work with that write and read segments.
type DiskParts<'a> = (
    &'a DataFolder,
    &'a PartitionMaker,
    &'a OfflineSwitch,
    &'a Arc<ArcSwap<TopicsImage>>,
);

fn budgets(limits: &ClientLimits) -> (RequestBudget, ReceiveBudget, BytePool) {
    let all = limits.request_bytes_total_max;
    (
        RequestBudget::new(all, limits.connection_request_bytes_max),
        ReceiveBudget::new(all),
        BytePool::new(limits.fetch_bytes_total_max),
    )
}

fn shards(
    config: &BrokerConfig,
    reports: &[Arc<Reports>],
    (writer, maker, queue): (&WriterHandle, &PartitionMaker, &WorkQueue),
    meters: &Arc<Meters>,
) -> (Vec<mpsc::Sender<ShardRequest>>, Vec<ShardTask>) {
    let uptime = Uptime::start();
    reports
        .iter()
        .map(|reports| {
            let (mailbox, messages) = mpsc::channel(SHARD_MAILBOX_MAX);
            let task = ShardTask {
                shard: Shard::new(
                    uptime,
                    config.limits.tail_bytes_per_shard,
                    Arc::clone(meters),
                ),
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

/// Returns the id of the cluster to found with a folder that belongs to none yet; zero if its voters are to make it.
fn found_cluster(
    folder: &DataFolder,
    config: &BrokerConfig,
    ids: &mut IdSource,
) -> Option<ClusterId> {
    let is_member = folder.acknowledged() > 0;
    let before = folder.cluster_id();
    // A folder from before there were controllers keeps the id that its clients know.
    let id = match before == ClusterId::ZERO && config.voters.is_empty() {
        true => ids.cluster_id(),
        false => before,
    };
    (!is_member).then_some(id)
}
