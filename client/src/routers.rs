//! Connections to routers that all routed producers of a client share, so that a thousand small ones open no thousand
//! sockets and their requests leave in common writes.
//!
//! A connection is dialled when somebody has something to send. When it breaks, all its producers move to the next: to
//! another router first, then through the addresses the client was given. Each has a number of its own, which tells
//! producers that their sessions ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use keylane_protocol::api::ApiKey;
use keylane_protocol::identifiers::BrokerId;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::Inner;
use crate::connection::{Connection, ConnectionSettings, Connections};
use crate::limits::{BACKOFF_MAX, SHARED_REQUESTS_WAITING_MAX};

/// The shared connections of a client.
#[derive(Debug)]
pub(crate) struct Routers {
    slots: Vec<Arc<RouterSlot>>,
    turn: AtomicUsize,
}

/// One of them, whichever router it leads to at the time.
#[derive(Debug)]
pub(crate) struct RouterSlot {
    connections: Connections,
    current: watch::Sender<Option<RouterLink>>,
    serials: AtomicU64,
    is_dialling: AtomicBool,
    /// Spreads clients over the routers that are left when one has gone.
    turn: usize,
}

/// A connection to a router.
#[derive(Clone, Debug)]
pub(crate) struct RouterLink {
    /// Tells it from those before.
    pub(crate) serial: u64,
    pub(crate) connection: Connection,
    router: BrokerId,
}

impl Routers {
    /// Returns so many connections, of which none is dialled yet.
    pub(crate) fn new(count: usize, settings: &ConnectionSettings, seed: u64) -> Self {
        let settings = ConnectionSettings {
            requests_waiting_max: SHARED_REQUESTS_WAITING_MAX,
            ..settings.clone()
        };
        let slot = |index: usize| {
            let seed = seed.wrapping_add(index as u64);
            Arc::new(RouterSlot {
                connections: Connections::new(settings.clone(), seed),
                current: watch::Sender::new(None),
                serials: AtomicU64::new(1),
                is_dialling: AtomicBool::new(false),
                turn: usize::try_from(seed % 1024).unwrap_or(0),
            })
        };
        Self {
            slots: (0..count).map(slot).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Returns the connection that the next producer is to use: each in turn.
    pub(crate) fn join(&self) -> Arc<RouterSlot> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.slots[turn % self.slots.len()])
    }
}

/// Returns whether what was dialled takes routed batches.
pub(crate) fn is_router(connection: &Connection) -> bool {
    [ApiKey::RoutedProduce, ApiKey::InitRoutedProducer]
        .into_iter()
        .all(|key| connection.speaks(key))
}

impl RouterSlot {
    /// Returns the connection if there is one that works.
    pub(crate) fn ready(&self) -> Option<RouterLink> {
        let current = self.current.borrow().clone();
        current.filter(|link| link.connection.is_alive())
    }

    /// Returns what tells of each new connection.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<RouterLink>> {
        self.current.subscribe()
    }

    /// Dials unless that is being done; subscribers are told when there is a connection.
    pub(crate) fn want(self: &Arc<Self>, client: &Arc<Inner>) {
        if !self.is_dialling.swap(true, Ordering::AcqRel) {
            tokio::spawn(dial(Arc::clone(self), Arc::clone(client)));
        }
    }
}

/// Dials routers in turn until one answers or nobody is left who wants it.
async fn dial(slot: Arc<RouterSlot>, client: Arc<Inner>) {
    let left = slot.current.borrow().as_ref().map(|link| link.router);
    while slot.current.receiver_count() > 0 {
        if let Some((router, connection)) = dial_any(&slot, &client, left).await {
            let link = RouterLink {
                serial: slot.serials.fetch_add(1, Ordering::Relaxed),
                connection,
                router,
            };
            slot.is_dialling.store(false, Ordering::Release);
            slot.current.send_replace(Some(link));
            return;
        }
        // The routers may be others by now.
        let generation = client.metadata.view().generation;
        if let Err(error) = client.metadata.refresh(generation, false).await {
            tracing::debug!(%error, "metadata not refreshed");
        }
        sleep(BACKOFF_MAX / 4).await;
    }
    slot.is_dialling.store(false, Ordering::Release);
}

/// Dials each address once, that of the router whose connection broke last.
async fn dial_any(
    slot: &RouterSlot,
    client: &Inner,
    left: Option<BrokerId>,
) -> Option<(BrokerId, Connection)> {
    for (router, address) in client.metadata.routers(slot.turn, left) {
        match slot.connections.connect(router, &address).await {
            Ok(connection) if is_router(&connection) => return Some((router, connection)),
            Ok(_) => tracing::debug!(%address, "this is no router that takes routed batches"),
            Err(error) => tracing::debug!(%error, "router not reached"),
        }
    }
    None
}
