//! What a broker says of itself and its cluster: DescribeCluster, and the parts of it in Metadata.
//!
//! Authorized operations are never told, as if not asked for: there is no authorizer.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::AUTHORIZED_OPERATIONS_NOT_ASKED;
use keylane_protocol::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse, ENDPOINT_TYPE_BROKERS,
};
use keylane_protocol::offset::LeaderEpoch;

/// Who answers, as this client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The cluster's id; never empty.
    pub cluster_id: ByteString,
    /// This broker, which is also the controller.
    pub broker_id: BrokerId,
    /// Where this client reaches it.
    pub host: ByteString,
    /// The port there.
    pub port: u16,
    /// The epoch in which this broker leads all of its partitions.
    pub leader_epoch: LeaderEpoch,
}

/// Returns the answer to DescribeCluster.
pub(crate) fn answer(
    request: &DescribeClusterRequest,
    identity: &Identity,
) -> DescribeClusterResponse {
    if request.endpoint_type != ENDPOINT_TYPE_BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType,
            error_message: Some(ByteString::from_static(
                "this is a listener of brokers: ask for the endpoints of brokers (type 1)",
            )),
            ..DescribeClusterResponse::default()
        };
    }
    DescribeClusterResponse {
        cluster_id: identity.cluster_id.clone(),
        controller_id: identity.broker_id,
        brokers: vec![DescribeClusterBroker {
            broker_id: identity.broker_id,
            host: identity.host.clone(),
            port: i32::from(identity.port),
            ..DescribeClusterBroker::default()
        }],
        cluster_authorized_operations: AUTHORIZED_OPERATIONS_NOT_ASKED,
        ..DescribeClusterResponse::default()
    }
}
