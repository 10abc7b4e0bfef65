//! Kafka's error codes up to version 4.3, with their meaning and whether a client may try again.
//!
//! A code that is not listed is kept as [`ErrorCode::Other`], so that nothing is lost when a newer peer answers.
//! Retriable means what Kafka's Java client means by it: the same request may succeed later, unchanged, after
//! metadata was refreshed. Which codes an API may answer with is in that API's file under `message`.

use std::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $kind:ident;)*) => {
        /// What an answer says about the outcome; 0 is success.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code this crate does not know; never retriable.
            Other(i16),
        }

        impl ErrorCode {
            /// Every code listed here, in ascending order.
            pub const LISTED: &[Self] = &[$(Self::$variant),*];

            /// Returns the number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// Returns the code of a number on the wire.
            #[must_use]
            pub const fn from_code(code: i16) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// Returns Kafka's name of the code, `"OTHER"` if it is not listed.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(_) => "OTHER",
                }
            }

            /// Returns whether the same request may succeed later.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => error_codes!(@is_retriable $kind),)*
                    Self::Other(_) => false,
                }
            }
        }
    };
    (@is_retriable retriable) => { true };
    (@is_retriable permanent) => { false };
}

error_codes! {
    /// Something the server did not expect.
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", permanent;
    /// No error.
    #[default]
    None = 0, "NONE", permanent;
    /// The offset lies outside what the partition holds.
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", permanent;
    /// The batch fails its checksum, has a wrong size, or is otherwise damaged.
    CorruptMessage = 2, "CORRUPT_MESSAGE", retriable;
    /// The broker has no such topic or partition, or has not heard of it yet.
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", retriable;
    /// The fetch size makes no sense.
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", permanent;
    /// The partition has no leader at the moment.
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", retriable;
    /// The broker neither leads nor, where that would do, follows the partition.
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", retriable;
    /// The request was not done in the time it was given; its outcome is unknown.
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", retriable;
    /// The broker is not reachable.
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", permanent;
    /// The replica asked for is not available.
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", retriable;
    /// A batch is larger than the topic allows.
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", permanent;
    /// The controller that sent this has been replaced.
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", permanent;
    /// The text stored with a committed offset is too long.
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", permanent;
    /// The connection broke before the answer arrived; clients use it among themselves.
    NetworkException = 13, "NETWORK_EXCEPTION", retriable;
    /// The coordinator is still loading its state.
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", retriable;
    /// No coordinator is available.
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", retriable;
    /// Another broker is the coordinator.
    NotCoordinator = 16, "NOT_COORDINATOR", retriable;
    /// The topic's name is not allowed, or the topic may not be written to.
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", permanent;
    /// A batch is larger than a segment.
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", permanent;
    /// Fewer replicas are in sync than the topic asks for; nothing was written.
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", retriable;
    /// The batch was written, then too few replicas stayed in sync.
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", retriable;
    /// The number of acknowledgements is neither 0, 1 nor -1.
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", permanent;
    /// The group has moved on to another generation.
    IllegalGeneration = 22, "ILLEGAL_GENERATION", permanent;
    /// The member's protocols do not fit those of the group.
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", permanent;
    /// The group's id is not allowed.
    InvalidGroupId = 24, "INVALID_GROUP_ID", permanent;
    /// The coordinator does not know the member.
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", permanent;
    /// The session timeout lies outside the range the broker allows.
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", permanent;
    /// The group is rebalancing; join again.
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", permanent;
    /// The offsets to commit do not fit into one batch.
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", permanent;
    /// The principal may not do this with the topic.
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", permanent;
    /// The principal may not do this with the group.
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", permanent;
    /// The principal may not do this with the cluster.
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", permanent;
    /// A record's timestamp lies too far from the broker's clock.
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", permanent;
    /// The broker does not offer this SASL mechanism.
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", permanent;
    /// The request does not fit the state of authentication.
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", permanent;
    /// The broker does not speak this version of the API.
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", permanent;
    /// A topic of this name exists.
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", permanent;
    /// The number of partitions is not allowed.
    InvalidPartitions = 37, "INVALID_PARTITIONS", permanent;
    /// The replication factor is below 1 or above the number of brokers.
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", permanent;
    /// The assignment of replicas is not allowed.
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", permanent;
    /// A configuration's name or value is not allowed.
    InvalidConfig = 40, "INVALID_CONFIG", permanent;
    /// Another node is the controller.
    NotController = 41, "NOT_CONTROLLER", retriable;
    /// The request contradicts itself or cannot be read.
    InvalidRequest = 42, "INVALID_REQUEST", permanent;
    /// The format of the stored records cannot serve this request.
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", permanent;
    /// A policy of the broker forbids this.
    PolicyViolation = 44, "POLICY_VIOLATION", permanent;
    /// The batch's sequence does not follow the last one written.
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", permanent;
    /// The batch's sequence was written before and is no longer remembered.
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", permanent;
    /// The producer's epoch is older than one the broker has seen.
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", permanent;
    /// The transaction is in a state that does not allow this.
    InvalidTxnState = 48, "INVALID_TXN_STATE", permanent;
    /// The producer id does not belong to this transactional id.
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", permanent;
    /// The transaction timeout is longer than the broker allows.
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", permanent;
    /// Another operation on the same transaction has not ended.
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", retriable;
    /// The transaction coordinator that sent this has been replaced.
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", permanent;
    /// The principal may not use this transactional id.
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", permanent;
    /// Security is switched off on the broker.
    SecurityDisabled = 54, "SECURITY_DISABLED", permanent;
    /// The operation was not tried because another of the same request failed.
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", permanent;
    /// The broker's disk failed while it used the log.
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", retriable;
    /// The broker has no such log folder.
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", permanent;
    /// The credentials are wrong.
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", permanent;
    /// The broker remembers nothing of this producer id.
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", permanent;
    /// The partition is being moved.
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", permanent;
    /// Delegation tokens are switched off.
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", permanent;
    /// The broker has no such delegation token.
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", permanent;
    /// The principal neither owns nor may renew the token.
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", permanent;
    /// Tokens cannot be requested over this kind of connection.
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", permanent;
    /// The principal may not do this with the token.
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", permanent;
    /// The delegation token has expired.
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", permanent;
    /// The type of principal is not supported.
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", permanent;
    /// The group still has members.
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", permanent;
    /// There is no such group.
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", permanent;
    /// The broker does not know the fetch session.
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", retriable;
    /// The epoch of the fetch session is not the one expected.
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", retriable;
    /// The leader does not offer the listener this request came in by.
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", retriable;
    /// Topics cannot be deleted on this broker.
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", permanent;
    /// The leader epoch in the request is older than the broker's.
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", retriable;
    /// The leader epoch in the request is newer than the broker's.
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", retriable;
    /// The client cannot read the compression of the partition.
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", permanent;
    /// The broker has registered again since.
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", permanent;
    /// A new leader cannot answer for its offsets yet.
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", retriable;
    /// Join again with the member id in the answer (KIP-394).
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", permanent;
    /// The preferred leader is not available.
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", retriable;
    /// The group has as many members as it may have.
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", permanent;
    /// Another member has taken the static member's id.
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", permanent;
    /// None of the replicas that may lead is available.
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", retriable;
    /// The partition has the leader it should have.
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", retriable;
    /// The partition is not being moved.
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", permanent;
    /// The group is subscribed to the topic whose offsets should go.
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", permanent;
    /// A record breaks a rule of its topic; retrying will not help.
    InvalidRecord = 87, "INVALID_RECORD", permanent;
    /// Offsets of an open transaction are not settled yet.
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", retriable;
    /// A quota is used up for the moment.
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", retriable;
    /// A newer producer has taken over the transactional id.
    ProducerFenced = 90, "PRODUCER_FENCED", permanent;
    /// The resource named does not exist.
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", permanent;
    /// The request names one resource twice.
    DuplicateResource = 92, "DUPLICATE_RESOURCE", permanent;
    /// The credential offered is too weak or not allowed.
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", permanent;
    /// Sender and receiver disagree about the voters.
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", permanent;
    /// The feature level is not allowed.
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", permanent;
    /// The feature level could not be changed.
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", permanent;
    /// The principal of a forwarded request cannot be read.
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", permanent;
    /// There is no such snapshot.
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", permanent;
    /// The position lies outside the snapshot.
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", permanent;
    /// The broker has no topic of this id.
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", retriable;
    /// Another broker with this id is registered.
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", permanent;
    /// No broker of this id is registered.
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", permanent;
    /// The partition's log belongs to a topic of another id.
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", retriable;
    /// The request is meant for another cluster.
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", permanent;
    /// There is no such transactional id.
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", permanent;
    /// The fetch session mixes topic names and topic ids.
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", retriable;
    /// A replica to be taken in may not be in sync.
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", permanent;
    /// The change was made, and the leader changed with it.
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", permanent;
    /// The offset lives in tiered storage only.
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", permanent;
    /// The member's epoch is fenced: give up all partitions and join again (KIP-848).
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", permanent;
    /// The static member's id is still in use.
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", permanent;
    /// The group's coordinator does not offer this assignor.
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", permanent;
    /// The member's epoch is old: try again with the new one (KIP-848).
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", permanent;
    /// The request reached a listener of the wrong kind.
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", permanent;
    /// This kind of listener cannot be described.
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", permanent;
    /// There is no controller of this id.
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", permanent;
    /// The telemetry subscription is not known.
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", permanent;
    /// The telemetry sent is too large.
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", permanent;
    /// The controller refuses the broker's registration.
    InvalidRegistration = 119, "INVALID_REGISTRATION", permanent;
    /// The transaction must be aborted; the producer may go on after that (KIP-890).
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", permanent;
    /// The record's delivery is not in a state that allows this (KIP-932).
    InvalidRecordState = 121, "INVALID_RECORD_STATE", permanent;
    /// The broker does not know the share session.
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", retriable;
    /// The epoch of the share session is not the one expected.
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", retriable;
    /// The epoch of the share group's state is old.
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", permanent;
    /// The voter's key is not that of the receiving replica.
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", permanent;
    /// The voter is one already.
    DuplicateVoter = 126, "DUPLICATE_VOTER", permanent;
    /// The voter is none.
    VoterNotFound = 127, "VOTER_NOT_FOUND", permanent;
    /// The regular expression cannot be used.
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", permanent;
    /// The client's metadata is too old: start again from the first addresses (KIP-1102).
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", permanent;
    /// The streams topology cannot be used.
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", permanent;
    /// The epoch of the streams topology is not allowed.
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", permanent;
    /// The epoch of the streams topology is old.
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", permanent;
    /// The broker holds as many share sessions as it may.
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", retriable;
}

impl ErrorCode {
    /// Returns whether the code says that nothing went wrong.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

/// Kafka's name and the number, such as `NOT_LEADER_OR_FOLLOWER (6)`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_keeps_its_value() {
        for number in i16::MIN..=i16::MAX {
            assert_eq!(ErrorCode::from_code(number).code(), number);
        }
    }

    #[test]
    fn codes_are_listed_without_gaps_up_to_kafka_4_3() {
        let numbers: Vec<i16> = ErrorCode::LISTED.iter().map(|code| code.code()).collect();
        assert_eq!(numbers, (-1..=133).collect::<Vec<i16>>());
    }

    #[test]
    fn retriable_codes_are_those_of_the_java_client() {
        let retriable: Vec<i16> = ErrorCode::LISTED
            .iter()
            .filter(|code| code.is_retriable())
            .map(|code| code.code())
            .collect();
        assert_eq!(
            retriable,
            [
                2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80,
                83, 84, 88, 89, 100, 103, 106, 122, 123, 133
            ]
        );
        assert!(!ErrorCode::Other(9999).is_retriable());
    }

    #[test]
    fn codes_are_shown_with_name_and_number() {
        let shown = ErrorCode::NotLeaderOrFollower.to_string();
        assert_eq!(shown, "NOT_LEADER_OR_FOLLOWER (6)");
        assert_eq!(ErrorCode::Other(999).to_string(), "OTHER (999)");
    }
}
