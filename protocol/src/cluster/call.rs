//! What brokers and routers ask the controllers, and are answered; bodies of calls on the internal link.
//!
//! Every body is a flexible message: additions are tagged fields, which older readers skip. A voter that does not lead
//! answers `NotController` and names who does, as far as it knows. Times are in milliseconds.

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId};
use crate::offset::{BrokerEpoch, LeaderEpoch};
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

/// The format of every body.
const BODY: Format = Format {
    version: 0,
    flexible: true,
};

/// A body of a call or of its answer. Implemented by the declarations of this module only.
pub trait CallBody: Wire {
    /// Returns the body as bytes.
    ///
    /// # Errors
    /// When a text is longer than 32,767 bytes.
    fn to_bytes(&self) -> Result<Bytes, EncodeError> {
        let mut encoder = Encoder::new();
        self.encode_value(&mut encoder, BODY)?;
        let mut segments = encoder.into_segments();
        Ok(match segments.len() {
            0 => Bytes::new(),
            1 => segments.remove(0),
            _ => segments.concat().into(),
        })
    }

    /// Reads a body; its bytes stay slices of the given ones.
    ///
    /// # Errors
    /// When the bytes are not exactly such a body.
    fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let body = Self::decode_value(&mut decoder, BODY)?;
        decoder.finish()?;
        Ok(body)
    }
}

/// The kind of a call of one voter to another, whose body is the quorum's own; above all of [`CallKind`].
pub const RAFT_CALL_KIND: u16 = 100;

macro_rules! calls {
    ($($(#[$doc:meta])* $kind:literal => $name:ident: $request:ident => $answer:ident,)*) => {
        /// What is asked: the kind of a call on the internal link.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum CallKind {
            $($(#[$doc])* $name = $kind,)*
        }

        impl CallKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the kind of a number; `None` for one that is not known.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($kind => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Returns the kind's number.
            #[must_use]
            pub fn number(self) -> u16 {
                self as u16
            }
        }

        $(
            impl CallBody for $request {}
            impl CallBody for $answer {}
            impl Call for $request {
                const KIND: CallKind = CallKind::$name;
                type Answer = $answer;
            }
        )*

        /// Decodes the body of a request and of an answer of any kind; for fuzzing.
        pub(crate) fn decode_any(kind: u16, bytes: &Bytes) {
            match kind {
                $($kind => {
                    again::<$request>(bytes);
                    again::<$answer>(bytes);
                })*
                _ => {}
            }
        }
    };
}

/// A request to a controller.
pub trait Call: CallBody {
    /// Its kind.
    const KIND: CallKind;
    /// What it is answered with.
    type Answer: CallBody;
}

calls! {
    /// A broker's process has begun.
    1 => RegisterBroker: RegisterBrokerRequest => RegisterBrokerAnswer,
    /// A broker lives; sent to every voter.
    2 => BrokerHeartbeat: BrokerHeartbeatRequest => BrokerHeartbeatAnswer,
    /// What has changed since an index; held until something has.
    3 => FetchMetadata: FetchMetadataRequest => FetchMetadataAnswer,
    /// A Kafka request that only the leading controller can answer.
    4 => Forward: ForwardRequest => ForwardAnswer,
    /// A router lives; registers it if it is new. Sent to every voter.
    5 => RouterHeartbeat: RouterHeartbeatRequest => RouterHeartbeatAnswer,
    /// Who the voters are, and who leads.
    6 => DescribeQuorum: DescribeQuorumRequest => DescribeQuorumAnswer,
}

/// Checks that what is decoded is encoded and decoded to the same.
fn again<B: CallBody + PartialEq + std::fmt::Debug>(bytes: &Bytes) {
    if let Ok(body) = B::from_bytes(bytes.clone()) {
        let encoded = body.to_bytes().expect("what was decoded can be encoded");
        assert_eq!(B::from_bytes(encoded).as_ref(), Ok(&body));
    }
}

message! {
    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic.
        topic_id: TopicId,
        /// The partitions.
        partitions: Vec<PartitionIndex>,
    }
}

message! {
    /// A topic of a data folder from before there were controllers, which becomes one of the cluster.
    pub struct AdoptedTopic {
        /// Its id.
        topic_id: TopicId,
        /// Its name.
        name: ByteString,
        /// How many partitions it has; all of them lie in the folder.
        partition_count: i32,
        /// The highest leader epoch in use.
        leader_epoch: LeaderEpoch,
        /// What is configured for it.
        configs: Vec<AdoptedConfig>,
    }
}

message! {
    /// A config of a topic.
    pub struct AdoptedConfig {
        /// Kafka's key.
        key: ByteString,
        /// The value.
        value: ByteString,
    }
}

message! {
    /// Registers a process of a broker; the process before it is over.
    pub struct RegisterBrokerRequest {
        /// The cluster that the data folder belongs to; zero if to none yet.
        cluster_id: ClusterId,
        /// The broker.
        broker_id: BrokerId,
        /// Its data folder.
        folder_id: FolderId,
        /// How often the folder has been opened, this time included.
        incarnation: i32,
        /// The last incarnation whose registration was acknowledged; 0 for none. It tells what `epoch_acknowledged`
        /// does where that is not known.
        incarnation_acknowledged: i32,
        /// The operating system's id of its own start.
        boot_id: ByteString,
        /// Where clients reach it.
        host: ByteString,
        /// The port there.
        port: i32,
        /// Where brokers and routers reach it.
        internal_host: ByteString,
        /// The port there.
        internal_port: i32,
        /// What fails together with it.
        rack: Option<ByteString>,
        /// Partitions whose records here cannot be relied on.
        suspects: Vec<TopicPartitions>,
    }
    tagged {
        /// Topics that the folder had before it had a cluster with controllers.
        0: adopted: Vec<AdoptedTopic> [0..],
        /// This start; zero from a version that drew none.
        1: start: StartId [0..],
        /// The last start whose registration was acknowledged, and those since that may have registered without hearing
        /// of it, this one included: who names the one that the controllers know is no older copy of the folder.
        2: starts_known: Vec<StartId> [0..],
        /// The registration that was acknowledged last; -1 if that is not known.
        3: epoch_acknowledged: BrokerEpoch [0..] = BrokerEpoch::NONE,
    }
}

message! {
    /// A broker is registered, or why not.
    pub struct RegisterBrokerAnswer {
        /// Whether it is registered.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<ByteString>,
        /// Who leads the controllers; -1 if that is not known.
        controller_id: BrokerId = BrokerId::NONE,
        /// The cluster it belongs to from now on.
        cluster_id: ClusterId,
        /// Its registration.
        broker_epoch: BrokerEpoch = BrokerEpoch::NONE,
        /// The index of the metadata that holds the registration.
        index: i64,
    }
}

message! {
    /// A broker lives.
    pub struct BrokerHeartbeatRequest {
        /// The broker.
        broker_id: BrokerId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// The index of the metadata up to which it has applied everything.
        index: i64,
        /// Whether it wants to end, and so to be fenced.
        is_stopping: bool,
    }
}

message! {
    /// What a broker is told about itself.
    pub struct BrokerHeartbeatAnswer {
        /// `NotController` from a voter that has noted the heartbeat and does not lead; `StaleBrokerEpoch` if the
        /// broker has been registered anew since.
        error_code: ErrorCode,
        /// Who leads the controllers; -1 if that is not known.
        controller_id: BrokerId = BrokerId::NONE,
        /// Whether it is fenced.
        is_fenced: bool,
        /// The index of the newest metadata.
        index: i64,
    }
}

message! {
    /// Asks for what has changed.
    pub struct FetchMetadataRequest {
        /// The index up to which everything is known; 0 for nothing.
        index: i64,
        /// How long to wait for a change.
        wait_ms: i32,
    }
}

message! {
    /// Changes, or everything.
    pub struct FetchMetadataAnswer {
        /// Whether it can be told.
        error_code: ErrorCode,
        /// Who leads the controllers; -1 if that is not known.
        controller_id: BrokerId = BrokerId::NONE,
        /// The index that the records lead to.
        index: i64,
        /// Whether the records make the whole image, not what changes since the index asked for.
        is_snapshot: bool,
        /// The records, encoded; `None` if there are none.
        records: Option<Bytes>,
    }
}

message! {
    /// A Kafka request as a broker or router has received it.
    pub struct ForwardRequest {
        /// Which API.
        api_key: i16,
        /// Its version.
        api_version: i16,
        /// Who asks, as authenticated; empty for nobody.
        principal: ByteString,
        /// The client's id.
        client_id: Option<ByteString>,
        /// The client's address.
        client_host: ByteString,
        /// The request's body in that version.
        body: Option<Bytes>,
    }
}

message! {
    /// The answer to a Kafka request, to be passed on.
    pub struct ForwardAnswer {
        /// Whether the request was looked at.
        error_code: ErrorCode,
        /// Who leads the controllers; -1 if that is not known.
        controller_id: BrokerId = BrokerId::NONE,
        /// The index of the metadata that holds what it has changed.
        index: i64,
        /// The response's body in the version of the request.
        body: Option<Bytes>,
    }
}

message! {
    /// A router lives.
    pub struct RouterHeartbeatRequest {
        /// Its id.
        router_id: BrokerId,
        /// Where clients reach it.
        host: ByteString,
        /// The port there.
        port: i32,
        /// Whether it ends, and so is to be removed.
        is_stopping: bool,
    }
}

message! {
    /// What a router is told about itself.
    pub struct RouterHeartbeatAnswer {
        /// `NotController` from a voter that has noted the heartbeat and does not lead.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<ByteString>,
        /// Who leads the controllers; -1 if that is not known.
        controller_id: BrokerId = BrokerId::NONE,
        /// The index of the newest metadata.
        index: i64,
    }
}

message! {
    /// Asks for the voters.
    pub struct DescribeQuorumRequest {
        /// Whether to tell how far each voter follows, which only the leader knows.
        include_progress: bool,
    }
    tagged {
        /// The broker whose last registration to tell; -1 for none.
        0: registered_id: BrokerId [0..] = BrokerId::NONE,
    }
}

message! {
    /// The registration of a broker that a voter has seen last, which need not be the last one.
    pub struct SeenRegistration {
        /// The broker's data folder.
        folder_id: FolderId,
        /// How often the folder had been opened.
        incarnation: i32,
        /// The start that registered; zero if none is known.
        start: StartId,
        /// The registration; -1 for none.
        broker_epoch: BrokerEpoch = BrokerEpoch::NONE,
    }
}

message! {
    /// The voters.
    pub struct DescribeQuorumAnswer {
        /// The cluster; zero before it is founded.
        cluster_id: ClusterId,
        /// Who leads; -1 if that is not known.
        controller_id: BrokerId = BrokerId::NONE,
        /// The term of the leadership.
        term: i64,
        /// The index of the newest metadata that this voter has applied.
        index: i64,
        /// All voters; none before the quorum is made.
        voters: Vec<Voter>,
        /// The node of the quorum that answers.
        node_id: u64,
        /// The voters that the configuration of the one who answers lists, whose nodes it does not know.
        listed: Vec<Voter>,
    }
    tagged {
        /// What was asked for of a broker.
        0: registered: SeenRegistration [0..],
    }
}

message! {
    /// A voter.
    pub struct Voter {
        /// Its broker id.
        broker_id: BrokerId,
        /// Where brokers and routers reach it.
        internal_host: ByteString,
        /// The port there.
        internal_port: i32,
        /// The index up to which the leader knows it to follow; -1 if the one asked does not lead.
        index: i64,
        /// Its node in the quorum; 0 if that is not known.
        node_id: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::sample::{Choices, Sample};
    use proptest::prelude::*;

    fn check<B: CallBody + Sample + PartialEq + std::fmt::Debug>(choices: &[u8]) {
        let body = B::sample(&mut Choices(choices), BODY);
        let bytes = body.to_bytes().expect("texts are short");
        assert_eq!(B::from_bytes(bytes), Ok(body));
    }

    proptest! {
        #[test]
        fn bodies_are_read_as_they_were_written(choices in prop::collection::vec(any::<u8>(), 0..256)) {
            check::<RegisterBrokerRequest>(&choices);
            check::<RegisterBrokerAnswer>(&choices);
            check::<BrokerHeartbeatRequest>(&choices);
            check::<BrokerHeartbeatAnswer>(&choices);
            check::<FetchMetadataRequest>(&choices);
            check::<FetchMetadataAnswer>(&choices);
            check::<ForwardRequest>(&choices);
            check::<ForwardAnswer>(&choices);
            check::<RouterHeartbeatRequest>(&choices);
            check::<RouterHeartbeatAnswer>(&choices);
            check::<DescribeQuorumRequest>(&choices);
            check::<DescribeQuorumAnswer>(&choices);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            for kind in CallKind::ALL {
                decode_any(kind.number(), &Bytes::copy_from_slice(&bytes));
            }
        }
    }

    #[test]
    fn every_kind_has_its_number() {
        for &kind in CallKind::ALL {
            assert_eq!(CallKind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(CallKind::from_number(0), None);
    }
}
