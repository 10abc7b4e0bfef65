//! ConsumerGroupHeartbeat (key 68), versions 0 to 1: all that a member of a group of KIP-848 says and hears.
//!
//! v1 subscription by regular expression, and the member makes its own id (KIP-1082). Flexible from version 0 on. A member
//! that joins sends everything; after that `None` and -1 stand for what has not changed since its last heartbeat, and the
//! answer has an assignment only when that has changed. GROUP_ID_NOT_FOUND is fatal to clients.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::MemberEpoch;
use crate::identifiers::{PartitionIndex, TopicId};
use crate::primitive::wire::{Format, Wire, decode_nullable, encode_nullable};
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder};

exchange!(ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse);

message! {
    /// Says that a member is alive, and what has changed with it.
    pub struct ConsumerGroupHeartbeatRequest {
        /// The group.
        group_id: ByteString,
        /// The member's id, a UUID that it makes when it starts and keeps; in version 0 empty to be given one.
        member_id: ByteString,
        /// The member's epoch; [`MemberEpoch::JOINING`], [`MemberEpoch::LEAVING`] or [`MemberEpoch::LEAVING_FOR_NOW`].
        member_epoch: MemberEpoch,
        /// The name under which a static member comes back; `None` for a dynamic one, or if it is known.
        instance_id: Option<ByteString>,
        /// The member's rack; `None` for none, or if it is known.
        rack_id: Option<ByteString>,
        /// How long the member may take to give up partitions, in milliseconds; -1 if it is known.
        rebalance_timeout_ms: i32 = -1,
        /// The names of the topics to read; `None` if they are known.
        subscribed_topic_names: Option<Vec<ByteString>>,
        /// Topics to read by an expression in the syntax of RE2/J, besides those named; `None` if it is known or there is
        /// none, empty to take it back.
        subscribed_topic_regex: Option<ByteString> [1..],
        /// Who assigns: `uniform` or `range` among others; `None` if it is known, or to leave it to the coordinator.
        server_assignor: Option<ByteString>,
        /// The partitions the member has; `None` if they are known.
        topic_partitions: Option<Vec<TopicPartitions>>,
    }
}

message! {
    /// Tells a member its epoch, and its assignment.
    pub struct ConsumerGroupHeartbeatResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, UNKNOWN_MEMBER_ID,
        /// TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED, INVALID_REQUEST, GROUP_ID_NOT_FOUND,
        /// GROUP_MAX_SIZE_REACHED, FENCED_MEMBER_EPOCH, UNRELEASED_INSTANCE_ID, UNSUPPORTED_ASSIGNOR,
        /// INVALID_REGULAR_EXPRESSION (from version 1 on).
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString>,
        /// The member's id.
        member_id: Option<ByteString>,
        /// The member's epoch.
        member_epoch: MemberEpoch,
        /// When to send the next heartbeat, in milliseconds from this answer on.
        heartbeat_interval_ms: i32,
        /// All partitions that the member may read at once; `None` if they have not changed.
        assignment: Option<Assignment>,
    }
}

message! {
    /// The partitions of a member.
    pub struct Assignment {
        /// The topics.
        topic_partitions: Vec<TopicPartitions>,
    }
}

message! {
    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's id.
        topic_id: TopicId,
        /// The partitions.
        partitions: Vec<PartitionIndex>,
    }
}

impl Wire for Option<Assignment> {
    fn size_min(_: Format) -> usize {
        1
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encode_nullable(self.as_ref(), encoder, format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        decode_nullable(decoder, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn no_assignment_is_told_from_an_empty_one_by_the_byte_before_it() {
        let answer = |assignment| ConsumerGroupHeartbeatResponse {
            assignment,
            ..ConsumerGroupHeartbeatResponse::default()
        };
        let (nothing_new, nothing) = (answer(None), answer(Some(Assignment::default())));
        for (response, end) in [(&nothing_new, &[255, 0][..]), (&nothing, &[1, 1, 0, 0])] {
            let mut encoder = Encoder::new();
            response.encode(1, &mut encoder).expect("encodes");
            let bytes = encoder.into_segments().concat();
            assert!(bytes.ends_with(end), "{bytes:?}");
            let read = ConsumerGroupHeartbeatResponse::decode(&mut Decoder::new(bytes.into()), 1);
            assert_eq!(read.as_ref(), Ok(response));
        }
    }
}
