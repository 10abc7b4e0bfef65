//! The rebalance: who is waited for, for how long, and what the next generation is.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::{Effect, GroupMetadata, RebalanceCause};
use super::deadlines::Timer;
use super::join::cut;
use super::member::Parked;
use super::{Barrier, ClassicGroup, Phase};
use crate::limits;

/// What a rebalance is said to begin for.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub(super) cause: RebalanceCause,
    pub(super) member_id: ByteString,
    pub(super) client_reason: Option<ByteString>,
}

impl Reason {
    /// Returns a reason that no client gave.
    pub(super) fn of(cause: RebalanceCause, member_id: ByteString) -> Self {
        Self {
            cause,
            member_id,
            client_reason: None,
        }
    }

    /// Returns a reason with a client's words.
    pub(super) fn told(
        cause: RebalanceCause,
        member_id: ByteString,
        words: Option<&ByteString>,
    ) -> Self {
        let words = words.map(|words| cut(words, limits::GROUP_REASON_BYTES_MAX).into());
        Self {
            cause,
            member_id,
            client_reason: words,
        }
    }
}

impl<T> ClassicGroup<T> {
    /// Begins a rebalance, or takes part in the one that is under way.
    pub(super) fn rebalance(&mut self, reason: Reason, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        match self.phase {
            Phase::Dead => {}
            Phase::Preparing(_) => self.complete_if_all_joined(now_ms, effects),
            Phase::Empty | Phase::Completing(_) | Phase::Stable => {
                self.begin_rebalance(reason, now_ms, effects);
            }
        }
    }

    fn begin_rebalance(&mut self, reason: Reason, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        self.refuse_syncs(ErrorCode::RebalanceInProgress, now_ms, effects);
        self.unsynced.clear();
        self.deadlines.clear(Timer::Sync);
        self.replacements.forget_all();
        effects.push(Effect::RebalanceBegan {
            generation: self.generation,
            cause: reason.cause,
            member_id: reason.member_id,
            client_reason: reason.client_reason,
        });
        let delay_ms = self.settings.initial_rebalance_delay_ms;
        if matches!(self.phase, Phase::Empty) && delay_ms > 0 {
            let ends_ms = now_ms.saturating_add(delay_ms.max(self.rebalance_timeout_ms()));
            self.phase = Phase::Preparing(Barrier::Initial {
                ends_ms,
                somebody_came: false,
            });
            let at_ms = now_ms.saturating_add(delay_ms);
            self.deadlines.set(Timer::Join, at_ms);
        } else {
            self.wait_for_members(now_ms);
            self.complete_if_all_joined(now_ms, effects);
        }
    }

    /// Answers the SyncGroups that wait; their members have a full session from here on.
    pub(super) fn refuse_syncs(
        &mut self,
        error: ErrorCode,
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        if !matches!(self.phase, Phase::Completing(_)) {
            return;
        }
        for id in self.ids_of(|parked| matches!(parked, Some(Parked::Sync(_)))) {
            if let Some(parked) = self.members.unpark(&id) {
                self.arm(&id, now_ms);
                super::refuse(parked, id, error, effects);
            }
        }
    }

    fn wait_for_members(&mut self, now_ms: u64) {
        self.phase = Phase::Preparing(Barrier::Rejoin);
        let at_ms = now_ms.saturating_add(self.rebalance_timeout_ms());
        self.deadlines.set(Timer::Join, at_ms);
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        let asked_ms = self.members.rebalance_timeout_ms();
        let asked_ms = asked_ms.max(self.settings.rebalance_timeout_min_ms);
        // A deadline that is due as soon as it is set would be met for ever.
        asked_ms.max(1)
    }

    /// Ends the waiting when there is nobody left to wait for.
    pub(super) fn complete_if_all_joined(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        let have_all_joined =
            self.members.joins_parked() == self.members.count() && self.pending.is_empty();
        let is_over = match self.phase {
            Phase::Preparing(Barrier::Rejoin) => have_all_joined,
            // Who may come is not known; but if all have gone, nobody waits.
            Phase::Preparing(Barrier::Initial { .. }) => have_all_joined && self.members.is_empty(),
            _ => false,
        };
        if is_over {
            self.complete_join(now_ms, effects);
        }
    }

    /// Nobody is waited for any longer, unless further members came to an empty group.
    pub(super) fn on_join_due(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        match &mut self.phase {
            Phase::Preparing(Barrier::Initial {
                ends_ms,
                somebody_came,
            }) if *somebody_came && now_ms < *ends_ms => {
                *somebody_came = false;
                let delay_ms = self.settings.initial_rebalance_delay_ms;
                let at_ms = now_ms.saturating_add(delay_ms).min(*ends_ms);
                self.deadlines.set(Timer::Join, at_ms);
            }
            Phase::Preparing(_) => self.complete_join(now_ms, effects),
            _ => {}
        }
    }

    /// Removes who did not join, and begins the next generation with the others. A static member that did not join
    /// stays, and is given work, until its session ends.
    fn complete_join(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        self.deadlines.clear(Timer::Join);
        let absent = self.members.iter().filter(|member| {
            let is_absent = !member.waits_to_join();
            is_absent && member.instance_id.is_none()
        });
        let absent: Vec<ByteString> = absent.map(|member| member.id.clone()).collect();
        for id in absent {
            self.remove(&id, ErrorCode::UnknownMemberId, effects);
        }
        if self.members.is_empty() {
            self.begin_empty_generation(effects);
        } else if self.elect_leader() {
            self.begin_generation(now_ms, effects);
        } else {
            // Only static members are left, and none of them has joined.
            self.wait_for_members(now_ms);
        }
    }

    fn begin_empty_generation(&mut self, effects: &mut Vec<Effect<T>>) {
        self.generation = following(self.generation);
        self.protocol = None;
        self.leader = None;
        self.phase = Phase::Empty;
        let metadata = GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            ..GroupMetadata::default()
        };
        self.persist(metadata, effects);
    }

    /// Keeps the leader if it has joined, and makes the member that has been here longest the leader if not; returns
    /// whether somebody leads.
    fn elect_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(super::Member::waits_to_join) {
            return true;
        }
        let joined = self.members.iter().filter(|member| member.waits_to_join());
        let Some(longest) = joined.min_by_key(|member| member.place) else {
            return false;
        };
        self.leader = Some(longest.id.clone());
        true
    }

    fn begin_generation(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        self.generation = following(self.generation);
        self.protocol = self.members.elect_protocol(self.leader_id());
        assert!(
            self.protocol.is_some(),
            "who joins supports what all others do"
        );
        self.members.assign(BTreeMap::new());
        self.phase = Phase::Completing(None);
        let at_ms = now_ms.saturating_add(self.rebalance_timeout_ms());
        self.deadlines.set(Timer::Sync, at_ms);
        for id in self.ids_of(|parked| matches!(parked, Some(Parked::Join(_)))) {
            if let Some(Parked::Join(caller)) = self.members.unpark(&id) {
                self.members.tell(&id, self.generation);
                self.arm(&id, now_ms);
                effects.push(Effect::AnswerJoin(caller, Ok(self.joined(&id))));
                self.unsynced.insert(id);
            }
        }
    }

    /// Returns the members whose waiting request is such, or that have none.
    pub(super) fn ids_of(&self, is_such: impl Fn(Option<&Parked<T>>) -> bool) -> Vec<ByteString> {
        let such = self.members.iter();
        let such = such.filter(|member| is_such(member.parked.as_ref()));
        such.map(|member| member.id.clone()).collect()
    }
}

/// Returns the number of the next generation: after the greatest comes 1, which no group lives to see.
fn following(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(1)
}
