//! DescribeCluster: the routers of the cluster, as in Metadata (KIP-700).
//!
//! Authorized operations are never told, as if not asked for: there is no authorizer.

use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use crate::advertise::{Advertised, Node};

/// Returns the answer.
#[must_use]
pub fn answer(
    request: &DescribeClusterRequest,
    advertised: &Advertised,
    image: &ClusterImage,
) -> DescribeClusterResponse {
    if let Some(refusal) = request.refusal() {
        return refusal;
    }
    let cluster_id = image.cluster_id().map(|id| id.to_string());
    DescribeClusterResponse {
        cluster_id: cluster_id.unwrap_or_default().into(),
        controller_id: advertised.leader().id,
        brokers: advertised.nodes().iter().map(described).collect(),
        ..DescribeClusterResponse::default()
    }
}

fn described(node: &Node) -> DescribeClusterBroker {
    DescribeClusterBroker {
        broker_id: node.id,
        host: node.host(),
        port: node.port(),
        rack: None,
        is_fenced: false,
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::error_code::ErrorCode;
    use keylane_protocol::message::AUTHORIZED_OPERATIONS_NOT_ASKED;
    use keylane_protocol::message::describe_cluster::ENDPOINT_TYPE_CONTROLLERS;

    use super::*;
    use crate::plan::metadata::tests::advertised_three;

    #[test]
    fn the_cluster_consists_of_its_routers() {
        let (cluster, advertised) = advertised_three("a");
        let answer = answer(
            &DescribeClusterRequest::default(),
            &advertised,
            &cluster.image(),
        );
        assert_eq!(answer.brokers.len(), 3);
        assert!(answer.brokers.iter().all(|node| node.broker_id.is_router()));
        let mut ids = answer.brokers.iter().map(|node| node.broker_id);
        assert!(ids.any(|id| id == answer.controller_id));
        assert_eq!(answer.cluster_id.len(), 22);
        let operations = answer.cluster_authorized_operations;
        assert_eq!(operations, AUTHORIZED_OPERATIONS_NOT_ASKED);
    }

    #[test]
    fn controllers_are_not_told() {
        let (cluster, advertised) = advertised_three("a");
        let request = DescribeClusterRequest {
            endpoint_type: ENDPOINT_TYPE_CONTROLLERS,
            ..DescribeClusterRequest::default()
        };
        let answer = answer(&request, &advertised, &cluster.image());
        assert_eq!(answer.error_code, ErrorCode::MismatchedEndpointType);
        assert!(answer.brokers.is_empty());
    }
}
