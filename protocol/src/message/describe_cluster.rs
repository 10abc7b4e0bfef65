//! DescribeCluster (key 60), versions 0 to 2: the brokers of the cluster (KIP-700).
//!
//! v1 kind of endpoint (KIP-919) · v2 fenced brokers (KIP-1073). Flexible from the start. Clients use it in place of
//! Metadata when they want to know what they may do with the cluster.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::BrokerId;
use crate::message::AUTHORIZED_OPERATIONS_NOT_ASKED;

exchange!(DescribeCluster: DescribeClusterRequest => DescribeClusterResponse);

/// The endpoints of brokers.
pub const ENDPOINT_TYPE_BROKERS: i8 = 1;

/// The endpoints of controllers.
pub const ENDPOINT_TYPE_CONTROLLERS: i8 = 2;

message! {
    /// Asks for the brokers of the cluster.
    pub struct DescribeClusterRequest {
        /// Whether to tell what the principal may do with the cluster.
        include_cluster_authorized_operations: bool,
        /// Which endpoints to tell.
        endpoint_type: i8 [1..] = ENDPOINT_TYPE_BROKERS,
        /// Whether to tell fenced brokers too.
        include_fenced_brokers: bool [2..],
    }
}

message! {
    /// Names the brokers of the cluster.
    pub struct DescribeClusterResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong with the request.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString>,
        /// Which endpoints these are.
        endpoint_type: i8 [1..] = ENDPOINT_TYPE_BROKERS,
        /// The cluster's id.
        cluster_id: ByteString,
        /// The controller, one of the brokers listed; -1 for unknown.
        controller_id: BrokerId = BrokerId::NONE,
        /// The brokers.
        brokers: Vec<DescribeClusterBroker>,
        /// What the principal may do with the cluster, one bit per operation.
        cluster_authorized_operations: i32 = AUTHORIZED_OPERATIONS_NOT_ASKED,
    }
}

message! {
    /// A broker of the cluster.
    pub struct DescribeClusterBroker {
        /// Its id.
        broker_id: BrokerId,
        /// Its host name or address.
        host: ByteString,
        /// Its port.
        port: i32,
        /// Its rack, if it has one.
        rack: Option<ByteString>,
        /// Whether it is kept from serving.
        is_fenced: bool [2..],
    }
}

impl DescribeClusterRequest {
    /// Returns the answer of a listener that has no such endpoints; `None` if it has them: it is one of brokers.
    #[must_use]
    pub fn refusal(&self) -> Option<DescribeClusterResponse> {
        let text = "this is a listener of brokers: ask for the endpoints of brokers (type 1)";
        (self.endpoint_type != ENDPOINT_TYPE_BROKERS).then(|| DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType,
            error_message: Some(ByteString::from_static(text)),
            ..DescribeClusterResponse::default()
        })
    }
}
