//! What a classic group is asked, what it answers, and what it wants done. No wire formats: the handlers translate.

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

/// What a client tells of one protocol that it can divide the work by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: ByteString,
    /// What the leader needs to know of the member; opaque here.
    pub metadata: Bytes,
}

/// Where a member is, as DescribeGroups shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberClient {
    /// What the client calls itself.
    pub id: ByteString,
    /// The address it comes from.
    pub host: ByteString,
}

/// A wish to be a member of the group's next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The id that the member was given; empty if it has none.
    pub member_id: ByteString,
    /// The name of a static member (KIP-345).
    pub instance_id: Option<ByteString>,
    /// The random part of the id that the member gets if it has none. Nobody may guess it.
    pub new_id_suffix: ByteString,
    /// Who asks.
    pub client: MemberClient,
    /// A member that is silent for so long is removed.
    pub session_timeout_ms: i32,
    /// How long the others wait for this member in a rebalance; the session timeout where the version has none.
    pub rebalance_timeout_ms: i32,
    /// The kind of work, such as `consumer`; the same for all members.
    pub protocol_type: ByteString,
    /// What the member supports, the best first.
    pub protocols: Vec<Protocol>,
    /// Why the client joins (KIP-800); for the log.
    pub reason: Option<ByteString>,
    /// Whether the version lets a new member be sent away with an id first (KIP-394: JoinGroup 4 and above).
    pub takes_member_id: bool,
    /// Whether the version lets a leader be told that assignments stay as they are (KIP-814: JoinGroup 9 and above).
    pub takes_skip_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member's id.
    pub member_id: ByteString,
    /// The name of a static member.
    pub instance_id: Option<ByteString>,
    /// What it told of the protocol that was chosen.
    pub metadata: Bytes,
}

/// A generation, told to one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The id of the member that is told.
    pub member_id: ByteString,
    /// The generation's number.
    pub generation: i32,
    /// The kind of work (KIP-559).
    pub protocol_type: Option<ByteString>,
    /// The protocol that was chosen (KIP-559).
    pub protocol: Option<ByteString>,
    /// The id of the member that is to divide the work.
    pub leader: ByteString,
    /// Whether the leader is to leave the assignments as they are (KIP-814).
    pub skip_assignment: bool,
    /// All members, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// Why a JoinGroup did not lead to a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// What the client is told.
    pub error: ErrorCode,
    /// The id to join with next, when `error` is MEMBER_ID_REQUIRED; otherwise the one the client said, or empty.
    pub member_id: ByteString,
}

/// The answer to a [`JoinRequest`].
pub type JoinAnswer = Result<Joined, JoinRefused>;

/// Who a request says it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberClaim<'a> {
    /// The member's id; empty for none.
    pub member_id: &'a str,
    /// The name of a static member.
    pub instance_id: Option<&'a str>,
    /// The generation that the member is in; −1 for none.
    pub generation: i32,
}

/// A wish for the member's assignment; the leader's brings everybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The member's id.
    pub member_id: ByteString,
    /// The name of a static member.
    pub instance_id: Option<ByteString>,
    /// The generation of the member's last [`Joined`].
    pub generation: i32,
    /// The kind of work as the member knows it; `None` if the version does not say.
    pub protocol_type: Option<ByteString>,
    /// The protocol as the member knows it; `None` if the version does not say.
    pub protocol: Option<ByteString>,
    /// What each member gets, by its id; empty from all but the leader.
    pub assignments: Vec<(ByteString, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The kind of work (KIP-559).
    pub protocol_type: Option<ByteString>,
    /// The protocol that was chosen (KIP-559).
    pub protocol: Option<ByteString>,
    /// What the leader gave the member; opaque here.
    pub assignment: Bytes,
}

/// The answer to a [`SyncRequest`].
pub type SyncAnswer = Result<Synced, ErrorCode>;

/// A member that is to be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The member's id; empty if it is meant by its `instance_id`.
    pub member_id: ByteString,
    /// The name of a static member.
    pub instance_id: Option<ByteString>,
    /// Why it leaves (KIP-800); for the log.
    pub reason: Option<ByteString>,
}

/// One member in a [`GroupMetadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// The member's id.
    pub member_id: ByteString,
    /// The name of a static member.
    pub instance_id: Option<ByteString>,
    /// Where the member was when it joined.
    pub client: MemberClient,
    /// How long a session without a word lasts.
    pub session_timeout_ms: i32,
    /// How long the others wait for this member in a rebalance.
    pub rebalance_timeout_ms: i32,
    /// What it told of the protocol that was chosen.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

/// What of a group is a record: a generation with its assignments. The time of the change is the shell's to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The kind of work; `None` if there was never a member.
    pub protocol_type: Option<ByteString>,
    /// The generation's number.
    pub generation: i32,
    /// The protocol that was chosen; `None` if there is no member.
    pub protocol: Option<ByteString>,
    /// The id of the member that divided the work.
    pub leader: Option<ByteString>,
    /// The members.
    pub members: Vec<MemberMetadata>,
}

/// A record on its way, by its place among all of this group since it was made or recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistId(pub u64);

/// What made a rebalance begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceCause {
    /// A member is new.
    NewMember,
    /// A member joins again: the leader, or one that tells something else of itself.
    MemberRejoined,
    /// A static member came back, and things are not as they were.
    StaticMemberReturned,
    /// A member left.
    MemberLeft,
    /// A member was silent for its session timeout.
    SessionExpired,
    /// Members did not ask for their assignment.
    SyncOverdue,
    /// The assignments could not be stored.
    NotPersisted,
}

/// What the shell has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answer a JoinGroup.
    AnswerJoin(T, JoinAnswer),
    /// Answer a SyncGroup.
    AnswerSync(T, SyncAnswer),
    /// Append a record, and say what became of it: `on_persisted` or `on_persist_failed`, in the order of the ids.
    Persist(PersistId, GroupMetadata),
    /// Say in the log that a rebalance began.
    RebalanceBegan {
        /// The generation that ends.
        generation: i32,
        /// What made it begin.
        cause: RebalanceCause,
        /// The member that it is about; empty if there are several, or none.
        member_id: ByteString,
        /// What the client said about it, cut if it is long.
        client_reason: Option<ByteString>,
    },
}

/// How a group is; the names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// There is no member.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Members have joined and wait for their assignments.
    CompletingRebalance,
    /// All members can have their assignments.
    Stable,
    /// The group is not here any longer.
    Dead,
}

impl GroupState {
    /// Returns Kafka's name of the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// How the group is.
    pub state: GroupState,
    /// The kind of work; empty if there was never a member.
    pub protocol_type: ByteString,
    /// The protocol that was chosen; empty unless the group is stable.
    pub protocol: ByteString,
    /// The members. What they told of themselves is empty unless the group is stable.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member's id.
    pub member_id: ByteString,
    /// The name of a static member.
    pub instance_id: Option<ByteString>,
    /// Where the member is.
    pub client: MemberClient,
    /// What it told of the protocol that was chosen.
    pub metadata: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}
