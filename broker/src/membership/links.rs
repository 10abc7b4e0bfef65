//! Links to other brokers on which this one calls them, each dialled when there is something to ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::cluster::Endpoint;
use keylane_protocol::cluster::call::RAFT_CALL_KIND;
use keylane_protocol::identifiers::{BrokerId, ClusterId};
use keylane_protocol::link::handshake::{Hello, Role};
use keylane_protocol::transport::{CallError, LinkCalls};
use tokio::runtime::Handle;

use crate::controller::raft::{PeerError, Peers, Voter};
use crate::limits::RAFT_MEMBERS_MAX;

/// The cluster that this process belongs to, once that is known.
pub(crate) type KnownCluster = Arc<OnceLock<ClusterId>>;

/// Whom to call, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer {
    pub(super) id: BrokerId,
    pub(super) at: Endpoint,
}

/// Links to the voters.
#[derive(Clone)]
pub(crate) struct CallLinks {
    shared: Arc<Shared>,
}

struct Shared {
    own_id: BrokerId,
    role: Role,
    cluster_id: KnownCluster,
    /// Where links are served; `None` where there is nobody to call.
    runtime: Option<Handle>,
    links: Mutex<BTreeMap<Peer, LinkCalls>>,
}

impl CallLinks {
    /// Returns links of a broker, served by the runtime that this is called on. The cluster that the broker belongs to is
    /// said once it is known, so that none of another cluster takes its links.
    pub(crate) fn new(own_id: BrokerId, role: Role, cluster_id: KnownCluster) -> Self {
        let shared = Shared {
            own_id,
            role,
            cluster_id,
            runtime: Handle::try_current().ok(),
            links: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Calls a broker, and no other that may listen there.
    ///
    /// # Errors
    /// When there is no reply within `within`, or none will come.
    pub(super) async fn call(
        &self,
        peer: &Peer,
        kind: u16,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let link = self.link(peer).ok_or(CallError::NeverSent)?;
        link.call(kind, 0, body, within).await
    }

    /// Returns why there is no link to a broker, in words, if there is none.
    pub(super) fn fault(&self, peer: &Peer) -> Option<String> {
        self.link(peer)?.fault()
    }

    fn link(&self, peer: &Peer) -> Option<LinkCalls> {
        let runtime = self.shared.runtime.as_ref()?;
        let links = self.shared.links.lock();
        let mut links = links.unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(peer) {
            return Some(link.clone());
        }
        // Voters that have moved are not called again; the others are dialled anew.
        if links.len() >= RAFT_MEMBERS_MAX {
            links.clear();
        }
        let shared = &self.shared;
        let (own_id, role, cluster_id) =
            (shared.own_id, shared.role, Arc::clone(&shared.cluster_id));
        let wanted_broker_id = peer.id;
        let hello = move || Hello {
            cluster_id: cluster_id.get().copied().unwrap_or(ClusterId::ZERO),
            role,
            node_id: own_id,
            wanted_broker_id,
            name: format!("broker {own_id}").into(),
            ..Hello::default()
        };
        let link = LinkCalls::start(runtime, peer.at.clone(), hello);
        links.insert(peer.clone(), link.clone());
        Some(link)
    }
}

impl Peers for CallLinks {
    async fn call(
        &self,
        voter: &Voter,
        call: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        let at = Endpoint {
            host: voter.host.as_str().into(),
            port: voter.port,
        };
        let id = voter.broker_id;
        let peer = Peer { id, at };
        let reply = CallLinks::call(self, &peer, RAFT_CALL_KIND, call, timeout).await;
        reply.map_err(|error| match error {
            CallError::NeverSent => PeerError::Unreachable {
                reason: self.fault(&peer).unwrap_or_else(|| error.to_string()),
            },
            CallError::Unknown => PeerError::TimedOut,
            CallError::Refused { .. } => PeerError::Unreachable {
                reason: error.to_string(),
            },
        })
    }
}
