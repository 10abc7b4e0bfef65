//! What connections share, and how they come in: one listener, connections handed to the runtimes in turn.
//!
//! Nobody is served before there is an image of the cluster; who comes earlier waits in the listener's queue. At a
//! connection limit a new connection is closed at once, so that what exists keeps being served.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use metrics::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::budget::RequestBudget;
use crate::config::RouterConfig;
use crate::control::Controllers;
use crate::meters::Meters;
use crate::runtime::Runtime;
use crate::session;
use crate::watching::Watching;
use keylane_protocol::transport::{BytePool, ConnectionSlots, ReceiveBudget, Slot};

/// How long to wait after accepting failed, which it does when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that all connections of a router share.
pub(crate) struct Shared {
    pub(crate) config: RouterConfig,
    pub(crate) controllers: Controllers,
    pub(crate) requests: RequestBudget,
    pub(crate) received: ReceiveBudget,
    pub(crate) answers: BytePool,
    pub(crate) meters: Meters,
    pub(crate) watching: Watching,
    /// Whether clients are accepted.
    pub(crate) is_listening: AtomicBool,
    /// Cancelled when no further request may be read.
    pub(crate) stopping: CancellationToken,
}

/// A connection on its way to the runtime that will serve it.
pub(crate) struct Handover {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    id: u64,
    slot: Slot,
}

/// Accepts connections until the router stops.
pub(crate) async fn accept(
    (listener, refused): (TcpListener, Counter),
    slots: ConnectionSlots,
    runtimes: Vec<mpsc::Sender<Handover>>,
    stopping: CancellationToken,
) {
    let mut next_id: u64 = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(slot) = slots.take(peer.ip()) else {
            refused.increment(1);
            debug!(%peer, "a connection was closed at once: too many connections");
            continue;
        };
        let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else {
            continue;
        };
        let runtime = &runtimes[usize::try_from(next_id).unwrap_or(0) % runtimes.len()];
        next_id += 1;
        let handover = Handover {
            stream,
            peer,
            id: next_id,
            slot,
        };
        if runtime.send(handover).await.is_err() {
            return;
        }
    }
}

/// Serves the connections that a runtime is given, each in a task of its own.
pub(crate) async fn serve_handed_over(
    mut handed_over: mpsc::Receiver<Handover>,
    runtime: Rc<Runtime>,
) {
    while let Some(handover) = handed_over.recv().await {
        let Ok(stream) = TcpStream::from_std(handover.stream) else {
            continue;
        };
        debug!(connection = handover.id, peer = %handover.peer, "connection accepted");
        let slot = handover.slot;
        let serving = session::serve(stream, handover.peer, handover.id, Rc::clone(&runtime));
        tokio::task::spawn_local(async move {
            serving.await;
            drop(slot);
        });
    }
}
