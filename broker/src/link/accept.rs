//! How a link begins: the handshake, within a time limit.

use std::net::SocketAddr;
use std::sync::Arc;

use keylane_protocol::identifiers::ClusterId;
use keylane_protocol::link::handshake::Welcome;
use keylane_protocol::link::limits::CREDIT_BYTES;
use keylane_protocol::transport::link::{HandshakeError, LinkReader, LinkWriter, receive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::{Link, LinkError};
use crate::limits::LINK_HANDSHAKE_TIMEOUT;
use crate::server::BrokerState;

/// Serves a connection of the internal listener to its end.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, broker: Arc<BrokerState>) {
    let (read_half, write_half) = stream.into_split();
    let mut reader = LinkReader::new(read_half);
    let mut writer = LinkWriter::new(write_half);
    let welcome = welcome(&broker);
    let received = receive(&mut reader, &mut writer, &welcome);
    let received = tokio::select! {
        received = timeout(LINK_HANDSHAKE_TIMEOUT, received) => received,
        () = broker.stopping.cancelled() => return,
    };
    let (hello, agreed) = match received {
        Ok(Ok(agreed)) => agreed,
        Ok(Err(error @ HandshakeError::HasRefused(_))) => {
            warn!(%peer, %error, "a link was refused");
            return;
        }
        Ok(Err(error)) => {
            debug!(%peer, error = &error as &dyn std::error::Error, "no link came about");
            return;
        }
        Err(_) => {
            debug!(%peer, "a peer did not introduce itself in time");
            return;
        }
    };
    info!(%peer, name = %hello.name, role = ?hello.role, node = hello.node_id.0, "link opened");
    let link = Link::new(broker, reader, writer, (&hello, &agreed));
    match link.run().await {
        Ok(()) => info!(%peer, name = %hello.name, "link closed"),
        Err(error @ (LinkError::Violation(_) | LinkError::Encode(_))) => {
            warn!(%peer, name = %hello.name, %error, "link closed");
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            info!(%peer, name = %hello.name, error, "link lost");
        }
    }
}

/// Returns what this broker says of itself now. Its cluster is not told before it is known for good.
fn welcome(broker: &BrokerState) -> Welcome {
    let image = broker.topics.load();
    let cluster = image.cluster();
    let raft_node_id = broker.controllers.own().map(|own| own.quorum().node_id());
    let registered = cluster.broker(broker.config.id);
    Welcome {
        cluster_id: match cluster.cluster_id() {
            Some(cluster_id) => cluster_id,
            None => broker.folder_cluster_id.unwrap_or(ClusterId::ZERO),
        },
        broker_id: broker.config.id,
        raft_node_id: raft_node_id.unwrap_or(0),
        broker_epoch: registered.map(|broker| broker.epoch).unwrap_or_default(),
        credit_bytes: u32::try_from(CREDIT_BYTES).expect("16 MiB fit"),
        name: format!("broker {}", broker.config.id).into(),
        message_bytes_max: broker.config.topic_defaults.message_bytes_max,
        ..Welcome::default()
    }
}
