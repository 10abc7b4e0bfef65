//! What connections share, and how they come in: one listener, connections handed to the runtimes in turn.
//!
//! At a connection limit a new connection is closed at once, so that what exists keeps being served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytestring::ByteString;
use keylane_protocol::identifiers::ClusterId;
use metrics::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::BrokerConfig;
use crate::connection::{self, RequestBudget};
use crate::handler::cluster::Identity;
use crate::handler::init_producer_id::ProducerIds;
use crate::link;
use crate::log::TopicPartition;
use crate::membership::Controllers;
use crate::meters::Meters;
use crate::partition::waiting::ConnectionId;
use crate::shard::request::ShardRequest;
use crate::topics::TopicsImage;
use keylane_protocol::transport::{BytePool, ConnectionSlots, ReceiveBudget, Slot};

/// How long to wait after accepting failed, which it does when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Names of those who wait for records and are no connections begin here; connections are counted from 1.
const WATCHERS_FROM: u64 = 1 << 63;

/// Everything that all connections of a broker share.
pub(crate) struct BrokerState {
    pub config: Arc<BrokerConfig>,
    pub topics: Arc<ArcSwap<TopicsImage>>,
    /// The index of the metadata up to which this broker serves.
    pub published: watch::Receiver<u64>,
    pub controllers: Controllers,
    pub shards: Vec<mpsc::Sender<ShardRequest>>,
    pub readers: crate::readers::Readers,
    pub producer_ids: Arc<ProducerIds>,
    pub request_budget: RequestBudget,
    pub receive_budget: ReceiveBudget,
    pub answers: BytePool,
    pub meters: Arc<Meters>,
    /// The address of the Kafka listener.
    pub address: SocketAddr,
    /// Counts those who wait for records and are no connections.
    pub watchers: AtomicU64,
    /// Sub-batches of routers whose client had gone before they had a place in a log.
    pub dropped_sub_batches: AtomicU64,
    /// The cluster that the data folder belonged to when it was opened.
    pub folder_cluster_id: Option<ClusterId>,
    /// Cancelled when no further request may be read.
    pub stopping: CancellationToken,
    /// Cancelled when this broker has left its cluster.
    pub left: CancellationToken,
}

impl BrokerState {
    /// Returns which shard owns a partition: always the same, and neighbours spread.
    pub(crate) fn shard_of(&self, partition: TopicPartition) -> usize {
        shard_of(partition, self.shards.len())
    }

    /// Waits until this broker serves according to the metadata up to an index, or stops.
    pub(crate) async fn published(&self, index: u64) {
        let mut published = self.published.clone();
        tokio::select! {
            _ = published.wait_for(|at| *at >= index) => {}
            () = self.stopping.cancelled() => {}
        }
    }

    /// Returns a new name for who waits for records and is no connection.
    pub(crate) fn watcher(&self) -> ConnectionId {
        ConnectionId(WATCHERS_FROM + self.watchers.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns how a client that reached `local` sees this broker.
    pub(crate) fn identity(&self, local: SocketAddr) -> Identity {
        let (host, port) = match &self.config.advertise {
            Some(address) => (address.host.clone(), address.port),
            None => (ByteString::from(local.ip().to_string()), local.port()),
        };
        let cluster_id = self.topics.load().cluster().cluster_id();
        Identity {
            cluster_id: cluster_id.unwrap_or_default().to_string().into(),
            broker_id: self.config.id,
            host,
            port,
        }
    }

    /// Tells the shards that a connection waits for nothing any more: it was answered, or has gone.
    pub(crate) async fn forget_connection(&self, id: ConnectionId) {
        for shard in &self.shards {
            let _ = shard.send(ShardRequest::Forget(id)).await;
        }
    }
}

/// Returns which of `shards` owns a partition.
pub(crate) fn shard_of(partition: TopicPartition, shards: usize) -> usize {
    let id = u128::from_be_bytes(partition.topic_id.0);
    let index = u128::from(partition.partition.0.unsigned_abs());
    let folded = (id ^ id >> 64) & u128::from(u64::MAX);
    let place = (folded + index) % u128::try_from(shards).expect("a count fits");
    usize::try_from(place).expect("below the count")
}

/// What is spoken at a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speech {
    /// Kafka's protocol.
    Kafka,
    /// The internal link.
    Link,
}

/// A connection on its way to the runtime that will serve it.
pub(crate) struct Handover {
    speech: Speech,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    id: ConnectionId,
    slot: Slot,
}

/// Accepts connections until the broker stops.
pub(crate) async fn accept(
    (listener, speech, refused): (TcpListener, Speech, Counter),
    slots: ConnectionSlots,
    runtimes: Vec<mpsc::Sender<Handover>>,
    stopping: CancellationToken,
) {
    let mut next_id = 0;
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
            speech,
            stream,
            peer,
            id: ConnectionId(next_id),
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
    broker: Arc<BrokerState>,
) {
    while let Some(handover) = handed_over.recv().await {
        let Ok(stream) = TcpStream::from_std(handover.stream) else {
            continue;
        };
        let (id, peer, slot) = (handover.id, handover.peer, handover.slot);
        debug!(connection = id.0, %peer, speech = ?handover.speech, "connection accepted");
        let broker = Arc::clone(&broker);
        let meters = broker.meters.of(handover.speech);
        let entered = meters.enter();
        tokio::spawn(async move {
            match handover.speech {
                Speech::Kafka => connection::serve(stream, peer, id, broker).await,
                Speech::Link => link::serve(stream, peer, broker).await,
            }
            drop((slot, entered));
        });
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::identifiers::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn neighbouring_partitions_spread_over_the_shards() {
        for shards in 1..5 {
            let owners: std::collections::BTreeSet<usize> = (0..8)
                .map(|index| {
                    let partition = TopicPartition {
                        topic_id: TopicId([0xff; 16]),
                        partition: PartitionIndex(index),
                    };
                    shard_of(partition, shards)
                })
                .collect();
            assert_eq!(owners.len(), shards);
        }
    }
}
