//! What a deployment may want to change about classic groups, and what bounds them.

use crate::limits;

/// Times and bounds of every classic group of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSettings {
    /// The shortest session timeout a member may ask for. Kafka's `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: u64,
    /// The longest session timeout a member may ask for. Kafka's `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: u64,
    /// How long an empty group waits for further members, each time that some came; 0 means not at all. Kafka's
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: u64,
    /// A new member's JoinGroup waits no longer than this. The member does not know its id, so it cannot say that it
    /// lives, and if it has gone nobody else can say so.
    pub new_member_timeout_ms: u64,
    /// The shortest rebalance timeout, whatever a member asks for: a group must not spin on a member that asks for none.
    pub rebalance_timeout_min_ms: u64,
    /// What a member has besides its session timeout to come back, when the link that it was heard through is lost.
    pub link_lost_grace_ms: u64,
    /// The most members, with those who were given an id and have not joined yet. At the bound further ones are refused
    /// with GROUP_MAX_SIZE_REACHED. Kafka's `group.max.size`.
    pub members_max: usize,
    /// The most bytes that all members of a group tell of themselves. At the bound further ones are refused with
    /// GROUP_MAX_SIZE_REACHED.
    pub metadata_bytes_max: usize,
    /// The most bytes of a group's assignments; the leader that sends more is refused with UNKNOWN_SERVER_ERROR.
    pub assignment_bytes_max: usize,
}

impl Default for ClassicSettings {
    fn default() -> Self {
        const SECOND_MS: u64 = 1_000;
        const MINUTE_MS: u64 = 60 * SECOND_MS;
        Self {
            session_timeout_min_ms: 6 * SECOND_MS,
            session_timeout_max_ms: 30 * MINUTE_MS,
            initial_rebalance_delay_ms: 3 * SECOND_MS,
            new_member_timeout_ms: 5 * MINUTE_MS,
            rebalance_timeout_min_ms: SECOND_MS,
            link_lost_grace_ms: 10 * SECOND_MS,
            members_max: limits::GROUP_MEMBERS_MAX,
            metadata_bytes_max: limits::GROUP_METADATA_BYTES_MAX,
            assignment_bytes_max: limits::GROUP_ASSIGNMENT_BYTES_MAX,
        }
    }
}
