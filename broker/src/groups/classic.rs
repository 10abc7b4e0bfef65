//! One classic consumer group: who is a member, in which generation, and what each of them is given.
//!
//! ```text
//!           first join              all have joined             the leader's assignments are durable
//! Empty ───────────────▶ Preparing ───────────────▶ Completing ───────────────────────────▶ Stable
//!   ▲                    │  ▲   ▲     (generation + 1)  │ somebody comes, goes, changes         │
//!   └── nobody is left ──┘  │   └───────────────────────┘                                       │
//!                           └───────────────────────────────────────────────────────────────────┘
//! ```
//! A core without I/O, clock and randomness: the caller gives the time, and the random part of a new member's id. An
//! assignment is told to nobody before its record is durable. Answers leave as effects; `T` says whom to answer. What
//! is not in a record (timers, parked requests, ids given to those who have not joined) ends with this process: a
//! recovered group gives every member a full session to come back. Read `join` next, then `barrier`, `sync`.

mod asked;
mod barrier;
mod deadlines;
mod join;
mod leave;
mod life;
mod member;
mod members;
mod replacements;
mod settings;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

pub use asked::{
    DescribedMember, Effect, GroupDescription, GroupMetadata, GroupState, JoinAnswer, JoinRefused,
    JoinRequest, Joined, JoinedMember, Leaving, MemberClaim, MemberClient, MemberMetadata,
    PersistId, Protocol, RebalanceCause, SyncAnswer, SyncRequest, Synced,
};
pub use settings::ClassicSettings;

use deadlines::{Deadlines, Timer};
use member::{Member, Parked, Terms};
use members::Members;
use replacements::Replacements;

/// What the members of a group are waiting for.
#[derive(Debug)]
enum Phase {
    Empty,
    Preparing(Barrier),
    /// With the assignments whose record is on its way, if the leader has sent them.
    Completing(Option<Assigning>),
    Stable,
    Dead,
}

/// Whom those who have joined wait for.
#[derive(Debug)]
enum Barrier {
    /// The group was empty: for members that come soon after the first, at most until `ends_ms`.
    Initial { ends_ms: u64, somebody_came: bool },
    /// For the members that are known.
    Rejoin,
}

/// Assignments that count when their record is durable.
#[derive(Debug)]
struct Assigning {
    persist: PersistId,
    assignments: BTreeMap<ByteString, Bytes>,
}

/// A classic consumer group.
#[derive(Debug)]
pub struct ClassicGroup<T> {
    settings: ClassicSettings,
    phase: Phase,
    generation: i32,
    protocol_type: Option<ByteString>,
    protocol: Option<ByteString>,
    leader: Option<ByteString>,
    members: Members<T>,
    /// The ids given to those who are to join again with them.
    pending: BTreeSet<ByteString>,
    /// The members of this generation that have not asked for their assignment.
    unsynced: BTreeSet<ByteString>,
    replacements: Replacements,
    deadlines: Deadlines,
    persists: u64,
}

impl<T> ClassicGroup<T> {
    /// Returns a group that nobody has joined.
    #[must_use]
    pub fn new(settings: ClassicSettings) -> Self {
        Self {
            settings,
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Members::new(),
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            replacements: Replacements::default(),
            deadlines: Deadlines::default(),
            persists: 0,
        }
    }

    /// Returns the group of a record; each member has a full session to be heard of. Of two members with one id or one
    /// static name, which no group writes, the first counts.
    #[must_use]
    pub fn recovered(metadata: GroupMetadata, settings: ClassicSettings, now_ms: u64) -> Self {
        let mut group = Self::new(settings);
        group.generation = metadata.generation.max(0);
        group.protocol_type = metadata.protocol_type;
        group.protocol = metadata.protocol;
        group.leader = metadata.leader;
        for member in metadata.members {
            let instance_id = member.instance_id.as_ref();
            if group.members.get(&member.member_id).is_some()
                || instance_id.is_some_and(|name| group.members.of_instance(name).is_some())
            {
                continue;
            }
            let terms = Terms::recovered(&member, group.protocol.as_ref());
            let place = group.members.take_place();
            let id = member.member_id.clone();
            group.members.insert(Member {
                id: member.member_id,
                instance_id: member.instance_id,
                client: member.client,
                place,
                generation: group.generation,
                is_new: false,
                assignment: member.assignment,
                terms,
                parked: None,
            });
            group.arm(&id, now_ms);
        }
        if !group.members.is_empty() {
            group.phase = Phase::Stable;
        }
        group
    }

    /// Returns how the group is.
    #[must_use]
    pub fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing(_) => GroupState::PreparingRebalance,
            Phase::Completing(_) => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
            Phase::Dead => GroupState::Dead,
        }
    }

    /// Returns the number of the last generation; 0 if there was none.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Returns the kind of work; `None` if there was never a member.
    #[must_use]
    pub fn protocol_type(&self) -> Option<&ByteString> {
        self.protocol_type.as_ref()
    }

    /// Returns whether nobody is a member or about to be one: the group can be forgotten if it has no offsets.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        matches!(self.phase, Phase::Empty | Phase::Dead) && self.pending.is_empty()
    }

    /// Returns the group as DescribeGroups shows it.
    #[must_use]
    pub fn describe(&self) -> GroupDescription {
        let is_stable = matches!(self.phase, Phase::Stable);
        let protocol = self.protocol.as_ref().filter(|_| is_stable);
        let members = self.members.iter().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client: member.client.clone(),
            metadata: member.metadata(protocol),
            assignment: member.assignment.clone(),
        });
        GroupDescription {
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.cloned().unwrap_or_default(),
            members: members.collect(),
        }
    }

    /// Ends the group in this process: it is deleted, or another broker coordinates it. Everybody who waits is told
    /// `error`, and whoever asks from here on COORDINATOR_NOT_AVAILABLE. What became of records on their way does not
    /// matter any longer.
    pub fn close(&mut self, error: ErrorCode, effects: &mut Vec<Effect<T>>) {
        let ids: Vec<ByteString> = self
            .members
            .iter()
            .map(|member| member.id.clone())
            .collect();
        for id in ids {
            if let Some(parked) = self.members.unpark(&id) {
                refuse(parked, id, error, effects);
            }
        }
        self.phase = Phase::Dead;
        self.members = Members::new();
        self.leader = None;
        self.pending.clear();
        self.unsynced.clear();
        self.replacements = Replacements::default();
        self.deadlines = Deadlines::default();
    }

    /// Returns when [`Self::on_deadline`] is due; `None` if nothing is waited for.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.next_ms()
    }

    /// The time has come of one or more deadlines.
    pub fn on_deadline(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        while let Some(timer) = self.deadlines.take_due(now_ms) {
            match timer {
                Timer::Join => self.on_join_due(now_ms, effects),
                Timer::Sync => self.on_sync_due(now_ms, effects),
                Timer::Member(id) => self.on_silent(&id, now_ms, effects),
            }
        }
    }

    /// Gives a member a full session from here on, unless a request of it waits: who waits is heard of by its answer.
    fn arm(&mut self, id: &str, now_ms: u64) {
        if let Some(member) = self.members.get(id)
            && member.parked.is_none()
        {
            let at_ms = now_ms.saturating_add(member.terms.session_timeout_ms());
            self.deadlines.set(Timer::Member(member.id.clone()), at_ms);
        }
    }

    /// Takes a member away; a request of it that waits is answered.
    fn remove(
        &mut self,
        id: &ByteString,
        error: ErrorCode,
        effects: &mut Vec<Effect<T>>,
    ) -> Option<Member<T>> {
        let mut member = self.members.remove(id)?;
        self.deadlines.clear(Timer::Member(id.clone()));
        self.mark_synced(id);
        self.replacements.forget(id);
        if self.leader.as_ref() == Some(id) {
            self.leader = None;
        }
        if let Some(parked) = member.parked.take() {
            let named = match error {
                ErrorCode::UnknownMemberId => ByteString::new(),
                _ => id.clone(),
            };
            refuse(parked, named, error, effects);
        }
        Some(member)
    }

    /// Notes that a member has asked for its assignment, or does not have to.
    fn mark_synced(&mut self, id: &ByteString) {
        if self.unsynced.remove(id) && self.unsynced.is_empty() {
            self.deadlines.clear(Timer::Sync);
        }
    }

    fn persist(&mut self, metadata: GroupMetadata, effects: &mut Vec<Effect<T>>) -> PersistId {
        let id = PersistId(self.persists);
        self.persists += 1;
        effects.push(Effect::Persist(id, metadata));
        id
    }

    /// Returns the record of this generation with these assignments.
    fn metadata(&self, assignment_of: impl Fn(&Member<T>) -> Bytes) -> GroupMetadata {
        let protocol = self.protocol.as_ref();
        let members = self.members.iter();
        let members = members.map(|member| member.record(protocol, assignment_of(member)));
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
        }
    }
}

/// Answers a request that waited with an error.
fn refuse<T>(
    parked: Parked<T>,
    member_id: ByteString,
    error: ErrorCode,
    effects: &mut Vec<Effect<T>>,
) {
    effects.push(match parked {
        Parked::Join(caller) => Effect::AnswerJoin(caller, Err(JoinRefused { error, member_id })),
        Parked::Sync(caller) => Effect::AnswerSync(caller, Err(error)),
    });
}
