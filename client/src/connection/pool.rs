//! One connection per broker, made when first needed and again after it broke, with pauses between failures.
//!
//! Each producer and each reader has its own set, so that a long poll never stands in the way of a produce request.
//! Whoever finds a broker being dialled waits for that attempt instead of dialling too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use keylane_protocol::identifiers::BrokerId;
use tokio::time::{Instant, sleep_until};

use super::{Connection, ConnectionError, ConnectionSettings};
use crate::address::BrokerAddress;
use crate::backoff::Backoff;

/// Connections by broker.
#[derive(Debug)]
pub(crate) struct Connections {
    settings: ConnectionSettings,
    seed: u64,
    slots: Mutex<BTreeMap<BrokerId, Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    current: Mutex<Option<Connection>>,
    dialling: tokio::sync::Mutex<Dialling>,
}

#[derive(Debug)]
struct Dialling {
    backoff: Backoff,
    not_before: Instant,
}

impl Connections {
    pub(crate) fn new(settings: ConnectionSettings, seed: u64) -> Self {
        Self {
            settings,
            seed,
            slots: Mutex::default(),
        }
    }

    /// Returns the broker's connection if there is one that works.
    pub(crate) fn ready(&self, broker: BrokerId) -> Option<Connection> {
        self.slot(broker).ready()
    }

    /// Returns the broker's connection, dialling if there is none; after a failure only once the pause is over.
    pub(crate) async fn connect(
        &self,
        broker: BrokerId,
        address: &BrokerAddress,
    ) -> Result<Connection, ConnectionError> {
        let slot = self.slot(broker);
        let is_there = |connection: &Connection| connection.address() == address;
        if let Some(connection) = slot.ready().filter(is_there) {
            return Ok(connection);
        }
        let mut dialling = slot.dialling.lock().await;
        if let Some(connection) = slot.ready().filter(is_there) {
            return Ok(connection);
        }
        sleep_until(dialling.not_before).await;
        match Connection::open(address.clone(), self.settings.clone()).await {
            Ok(connection) => {
                dialling.backoff.reset();
                // A connection that breaks at once must not be redialled in a tight loop.
                dialling.not_before = Instant::now() + crate::limits::BACKOFF_FIRST;
                *slot.lock() = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                dialling.not_before = Instant::now() + dialling.backoff.after_failure();
                tracing::debug!(%broker, %address, %error, "broker not reached");
                Err(error)
            }
        }
    }

    fn slot(&self, broker: BrokerId) -> Arc<Slot> {
        let mut slots = self
            .slots
            .lock()
            .expect("no code panics while it holds this lock");
        let seed = self.seed.wrapping_add(u64::from(broker.0.unsigned_abs()));
        Arc::clone(
            slots
                .entry(broker)
                .or_insert_with(|| Arc::new(Slot::new(seed))),
        )
    }
}

impl Slot {
    fn new(seed: u64) -> Self {
        Self {
            current: Mutex::default(),
            dialling: tokio::sync::Mutex::new(Dialling {
                backoff: Backoff::new(seed),
                not_before: Instant::now(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.current
            .lock()
            .expect("no code panics while it holds this lock")
    }

    fn ready(&self) -> Option<Connection> {
        self.lock().clone().filter(Connection::is_alive)
    }
}
