//! Numbers that count within a consumer group, each its own type so that none can be taken for another.
//!
//! Classic groups have a generation. Groups of KIP-848 have three epochs: the group's grows with every change of members,
//! subscriptions or partitions; an assignment carries the group's epoch it was made for; a member's epoch is that of the
//! assignment it has come to. OffsetCommit sends generation or member epoch in one field, which stays a bare number.

number! {
    /// How often the members of a classic group have been settled; -1 means none, which a commit without a group has too.
    Generation(i32)
}

number! {
    /// How often what a group of KIP-848 has to share out has changed; also which of these an assignment was made for.
    GroupEpoch(i32)
}

number! {
    /// The assignment that a member of a group of KIP-848 has come to. In a heartbeat 0, -1 and -2 are what the member
    /// is about to do.
    MemberEpoch(i32)
}

impl Generation {
    /// Not a member's.
    pub const NONE: Self = Self(-1);
}

impl MemberEpoch {
    /// Not a member's.
    pub const NONE: Self = Self(-1);

    /// In a heartbeat: the member joins.
    pub const JOINING: Self = Self(0);

    /// In a heartbeat: the member leaves for good.
    pub const LEAVING: Self = Self(-1);

    /// In a heartbeat: the static member leaves and will come back under its instance id.
    pub const LEAVING_FOR_NOW: Self = Self(-2);
}
