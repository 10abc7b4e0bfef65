//! The fields of keys and values in `__consumer_offsets`; which goes with which, and in which versions, stands in the
//! parent module. Fields that Kafka added since 4.0 are tagged, so that older versions pass over them.

use bytes::Bytes;
use bytestring::ByteString;

use crate::group::{Generation, GroupEpoch, MemberEpoch};
use crate::identifiers::{PartitionIndex, TopicId};
use crate::offset::{LeaderEpoch, Offset};
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

message! {
    /// A partition that a group reads.
    pub struct OffsetCommitKey {
        /// The group.
        group: ByteString,
        /// The topic's name.
        topic: ByteString,
        /// The partition.
        partition: PartitionIndex,
    }
}

message! {
    /// How far a group has read a partition. v1 an expiry for each · v2 none again (KIP-211) · v3 leader epoch (KIP-320)
    /// · v4 flexible.
    pub struct OffsetCommitValue {
        /// The offset of the next record to read.
        offset: Offset,
        /// The leader epoch of the last record read; -1 means unknown.
        leader_epoch: LeaderEpoch [3.. ; ignorable] = LeaderEpoch::NONE,
        /// What the client wants to keep with it.
        metadata: ByteString,
        /// When it was committed, in milliseconds since 1970.
        commit_timestamp: i64,
        /// When it expires, in milliseconds since 1970; -1 leaves it to the broker.
        expire_timestamp: i64 [1..=1 ; ignorable] = -1,
    }
    tagged {
        /// The topic's id, if it was committed by id; else zero.
        0: topic_id: TopicId [4.. ; ignorable],
    }
}

message! {
    /// A group.
    pub struct GroupKey {
        /// The group.
        group: ByteString,
    }
}

message! {
    /// A group of the classic protocol. v1 rebalance time-outs · v2 time of the state · v3 static members (KIP-345) · v4
    /// flexible.
    pub struct GroupMetadataValue {
        /// What kind of clients they are, such as `consumer`; empty when only offsets are kept.
        protocol_type: ByteString,
        /// How often the group has been formed anew.
        generation: Generation,
        /// The assignor that the members agreed upon.
        protocol: Option<ByteString>,
        /// The member that assigns.
        leader: Option<ByteString>,
        /// Since when the group is in its state, in milliseconds since 1970; -1 means unknown.
        current_state_timestamp: i64 [2.. ; ignorable] = -1,
        /// The members.
        members: Vec<MemberMetadata>,
    }
}

message! {
    /// A member of a group of the classic protocol.
    pub struct MemberMetadata {
        /// Its id.
        member_id: ByteString,
        /// The id under which it comes back, if it is a static member.
        group_instance_id: Option<ByteString> [3.. ; ignorable],
        /// What the client calls itself.
        client_id: ByteString,
        /// Where it comes from.
        client_host: ByteString,
        /// How long it may take to rejoin, in milliseconds; -1 means as long as its session.
        rebalance_timeout: i32 [1.. ; ignorable] = -1,
        /// How long it may be silent, in milliseconds.
        session_timeout: i32,
        /// What it subscribes to, in the form of the group's protocol.
        subscription: Bytes,
        /// What it was assigned, in the form of the group's protocol.
        assignment: Bytes,
    }
}

message! {
    /// The epoch of a consumer group.
    pub struct ConsumerGroupMetadataValue {
        /// The group epoch.
        epoch: GroupEpoch,
    }
    tagged {
        /// Stands for the metadata of all topics subscribed to; 0 means that it is not known.
        0: metadata_hash: i64 [0..],
    }
}

message! {
    /// The topics that an assignment was made for; Kafka writes none since 4.1.
    pub struct ConsumerGroupPartitionMetadataValue {
        /// The topics.
        topics: Vec<TopicMetadata>,
    }
}

message! {
    /// A topic that an assignment was made for.
    pub struct TopicMetadata {
        /// Its id.
        topic_id: TopicId,
        /// Its name.
        topic_name: ByteString,
        /// How many partitions it had.
        num_partitions: i32,
        /// Where its partitions lay; empty if that was not known.
        partition_metadata: Vec<PartitionMetadata>,
    }
}

message! {
    /// Where a partition lay.
    pub struct PartitionMetadata {
        /// The partition.
        partition: PartitionIndex,
        /// The racks of its replicas.
        racks: Vec<ByteString>,
    }
}

message! {
    /// A member of a consumer group.
    pub struct MemberKey {
        /// The group.
        group: ByteString,
        /// The member's id.
        member_id: ByteString,
    }
}

message! {
    /// A member of a consumer group.
    pub struct ConsumerGroupMemberMetadataValue {
        /// The id under which it comes back, if it is a static member.
        instance_id: Option<ByteString>,
        /// Its rack.
        rack_id: Option<ByteString>,
        /// What the client calls itself.
        client_id: ByteString,
        /// Where it comes from.
        client_host: ByteString,
        /// The topics it subscribes to by name.
        subscribed_topic_names: Vec<ByteString>,
        /// The topics it subscribes to by pattern.
        subscribed_topic_regex: Option<ByteString>,
        /// How long it may take to give up partitions, in milliseconds.
        rebalance_timeout_ms: i32 = -1,
        /// The assignor it asks for.
        server_assignor: Option<ByteString>,
    }
    tagged {
        /// What else there is of a member that speaks the classic protocol.
        0: classic_member_metadata: Option<ClassicMemberMetadata> [0..],
    }
}

message! {
    /// What a member told that speaks the classic protocol in a consumer group.
    pub struct ClassicMemberMetadata {
        /// How long it may be silent, in milliseconds.
        session_timeout_ms: i32,
        /// The assignors it offers.
        supported_protocols: Vec<ClassicProtocol>,
    }
}

message! {
    /// An assignor of the classic protocol.
    pub struct ClassicProtocol {
        /// Its name.
        name: ByteString,
        /// The subscription in its form.
        metadata: Bytes,
    }
}

message! {
    /// The epoch that an assignment was made for.
    pub struct ConsumerGroupTargetAssignmentMetadataValue {
        /// The assignment epoch.
        assignment_epoch: GroupEpoch,
    }
    tagged {
        /// When it was made, in milliseconds since 1970; 0 means unknown.
        0: assignment_timestamp: i64 [0.. ; ignorable],
    }
}

message! {
    /// What a member is to have.
    pub struct ConsumerGroupTargetAssignmentMemberValue {
        /// The partitions.
        topic_partitions: Vec<TargetPartitions>,
    }
}

message! {
    /// Partitions of a topic that a member is to have.
    pub struct TargetPartitions {
        /// The topic.
        topic_id: TopicId,
        /// The partitions.
        partitions: Vec<PartitionIndex>,
    }
}

message! {
    /// What a member has.
    pub struct ConsumerGroupCurrentMemberAssignmentValue {
        /// The epoch it has reached.
        member_epoch: MemberEpoch,
        /// The epoch before, with which it comes again if the answer was lost.
        previous_member_epoch: MemberEpoch,
        /// Its state, by Kafka's number.
        state: i8,
        /// What it has.
        assigned_partitions: Vec<CurrentPartitions>,
        /// What it must give up.
        partitions_pending_revocation: Vec<CurrentPartitions>,
    }
}

message! {
    /// Partitions of a topic that a member has.
    pub struct CurrentPartitions {
        /// The topic.
        topic_id: TopicId,
        /// The partitions.
        partitions: Vec<PartitionIndex>,
    }
    tagged {
        /// In which epoch each partition was assigned, in the order of the partitions (KIP-1251).
        0: assignment_epochs: Option<Vec<MemberEpoch>> [0..],
    }
}

/// A structure that may be null begins with a byte: -1 for null, else 1.
impl Wire for Option<ClassicMemberMetadata> {
    fn size_min(format: Format) -> usize {
        i8::size_min(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        match self {
            None => (-1_i8).encode_value(encoder, format),
            Some(value) => {
                1_i8.encode_value(encoder, format)?;
                value.encode_value(encoder, format)
            }
        }
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        match i8::decode_value(decoder, format)? {
            ..0 => Ok(None),
            _ => ClassicMemberMetadata::decode_value(decoder, format).map(Some),
        }
    }
}
