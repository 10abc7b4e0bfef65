//! What must be there before the first thread: the listener's port, and a data folder that was opened and recovered.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use super::error::StartError;
use crate::config::BrokerConfig;
use crate::controller::raft::store::{Store, StoreSettings};
use crate::disk::Disk;
use crate::entropy::IdSource;
use crate::folder::{DataFolder, OpenError};
use crate::limits::Limits;
use crate::log::space::SpaceBudget;
use crate::partition::producer_state::ProducerLimits;
use crate::partitions::{PartitionMaker, RecoveredLogs};
use crate::threads;

pub(super) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
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

/// A data folder that was opened and recovered, and knows that the controllers are told of this start.
pub(super) struct Opened {
    pub folder: DataFolder,
    /// What the folder holds of the controllers.
    pub store: Store,
    pub recovered: RecoveredLogs,
    pub maker: PartitionMaker,
    pub ids: IdSource,
}

impl Opened {
    pub(super) fn open(config: &BrokerConfig, disk: &Arc<dyn Disk>) -> Result<Self, StartError> {
        let root = &config.data_folder;
        let mut ids = IdSource::from_system();
        let mut folder = DataFolder::open(Arc::clone(disk), root, config.id, ids.folder_ids())?;
        let store = Store::open(disk, root, folder.node_id(), StoreSettings::default())?;
        let failed = |source| OpenError::Disk {
            folder: root.clone(),
            source,
        };
        let space = disk.space(root).map_err(failed)?;
        let maker = PartitionMaker {
            shard_count: match config.runtimes {
                0 => threads::default_runtimes(),
                count => count,
            },
            producer_limits: producer_limits(&config.limits),
            space: Arc::new(SpaceBudget::new(config.space_reserve_bytes, space)),
            table: Arc::default(),
        };
        let recovered = maker.recover(&folder)?;
        // From here on nothing but the registration is to come, which may be heard by others only.
        folder.tell().map_err(failed)?;
        Ok(Self {
            folder,
            store,
            recovered,
            maker,
            ids,
        })
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
