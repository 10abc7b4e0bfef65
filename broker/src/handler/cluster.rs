//! What a broker says of itself and its cluster: DescribeCluster, and the parts of it in Metadata.
//!
//! Authorized operations are never told, as if not asked for: there is no authorizer.

use bytestring::ByteString;
use keylane_protocol::cluster::{BrokerImage, ClusterImage};
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::AUTHORIZED_OPERATIONS_NOT_ASKED;
use keylane_protocol::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

/// Who answers, as this client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The cluster's id; never empty.
    pub cluster_id: ByteString,
    /// This broker. Every broker passes on what only a controller can do, so it is named as the controller.
    pub broker_id: BrokerId,
    /// Where this client reaches it.
    pub host: ByteString,
    /// The port there.
    pub port: u16,
}

/// A broker as clients are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub id: BrokerId,
    pub host: ByteString,
    pub port: i32,
    pub rack: Option<ByteString>,
    pub is_fenced: bool,
}

/// Returns the brokers of the cluster in the order of their ids, this one at the address at which the client reached it.
pub(crate) fn nodes(image: &ClusterImage, identity: &Identity) -> Vec<Node> {
    let node = |broker: &BrokerImage| {
        let is_self = broker.id == identity.broker_id;
        let (host, port) = match is_self {
            true => (identity.host.clone(), identity.port),
            false => (broker.endpoint.host.clone(), broker.endpoint.port),
        };
        Node {
            id: broker.id,
            host,
            port: i32::from(port),
            rack: broker.rack.clone(),
            is_fenced: broker.is_fenced && !is_self,
        }
    };
    image.brokers().map(|broker| node(broker)).collect()
}

/// Returns the answer to DescribeCluster.
pub(crate) fn answer(
    request: &DescribeClusterRequest,
    identity: &Identity,
    image: &ClusterImage,
) -> DescribeClusterResponse {
    if let Some(refusal) = request.refusal() {
        return refusal;
    }
    let told = |node: &Node| request.include_fenced_brokers || !node.is_fenced;
    let nodes = nodes(image, identity).into_iter().filter(told);
    DescribeClusterResponse {
        cluster_id: identity.cluster_id.clone(),
        controller_id: identity.broker_id,
        brokers: nodes
            .map(|node| DescribeClusterBroker {
                broker_id: node.id,
                host: node.host,
                port: node.port,
                rack: node.rack,
                is_fenced: node.is_fenced,
            })
            .collect(),
        cluster_authorized_operations: AUTHORIZED_OPERATIONS_NOT_ASKED,
        ..DescribeClusterResponse::default()
    }
}
