//! What the first runtime does besides serving: it opens and ends the broker in order.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::folder::DataFolder;
use crate::limits::LINKS_MAX;
use crate::partition::Partition;
use crate::server::{self, BrokerState, Handover, Speech};
use crate::shard::request::ShardRequest;
use keylane_protocol::transport::ConnectionSlots;

/// What is left to close when all threads have ended.
#[derive(Clone, Default)]
pub(super) struct Closing {
    parts: Arc<Mutex<(Option<DataFolder>, Vec<Partition>)>>,
}

impl Closing {
    pub(super) fn put_folder(&self, folder: DataFolder) {
        self.lock().0 = Some(folder);
    }

    fn put_partitions(&self, partitions: Vec<Partition>) {
        self.lock().1.extend(partitions);
    }

    pub(super) fn take(&self) -> Option<(DataFolder, Vec<Partition>)> {
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
pub(super) struct Lead {
    pub broker: Arc<BrokerState>,
    pub handovers: Vec<mpsc::Sender<Handover>>,
    pub closing: Closing,
    /// Cancelled when this broker takes part in its cluster.
    pub joined: CancellationToken,
}

/// Where connections come in.
pub(super) struct Listeners {
    /// For clients.
    pub kafka: TcpListener,
    /// For routers and other brokers.
    pub internal: TcpListener,
}

impl Lead {
    /// Accepts links at once, and clients when the broker takes part in its cluster; ends it in order when it is
    /// stopped.
    pub(super) async fn run(self, listeners: Listeners) {
        let links = ConnectionSlots::new(LINKS_MAX, LINKS_MAX);
        let accepting = self.accept(listeners.internal, Speech::Link, links.clone());
        tokio::spawn(accepting);
        let broker = &self.broker;
        tokio::select! {
            () = self.joined.cancelled() => {}
            () = broker.stopping.cancelled() => {}
        }
        let limits = &broker.config.clients;
        let slots =
            ConnectionSlots::new(limits.connections_max, limits.connections_per_address_max);
        self.accept(listeners.kafka, Speech::Kafka, slots.clone())
            .await;
        let none_left = async {
            slots.none_left().await;
            links.none_left().await;
        };
        if timeout(limits.stop_timeout, none_left).await.is_err() {
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

    fn accept(
        &self,
        listener: TcpListener,
        speech: Speech,
        slots: ConnectionSlots,
    ) -> impl Future<Output = ()> + use<> {
        let (handovers, stopping) = (self.handovers.clone(), self.broker.stopping.clone());
        let refused = self.broker.meters.of(speech).refused.clone();
        async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    server::accept((listener, speech, refused), slots, handovers, stopping).await
                }
                Err(error) => warn!(%error, ?speech, "the listener cannot be used"),
            }
        }
    }
}
