//! SyncGroup: the leader's assignments become a record, and once it is durable each member gets its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::{Effect, MemberClaim, PersistId, RebalanceCause, SyncRequest, Synced};
use super::barrier::Reason;
use super::deadlines::Timer;
use super::member::{Parked, owned};
use super::{Assigning, ClassicGroup, Phase};

impl<T> ClassicGroup<T> {
    /// A member wants its assignment.
    pub fn on_sync(
        &mut self,
        caller: T,
        request: SyncRequest,
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        if let Err(error) = self.check_sync(&request) {
            effects.push(Effect::AnswerSync(caller, Err(error)));
            return;
        }
        let id = owned(&request.member_id);
        match self.phase {
            Phase::Completing(_) => {
                self.mark_synced(&id);
                self.deadlines.clear(Timer::Member(id.clone()));
                if let Some(before) = self.members.park(&id, Parked::Sync(caller)) {
                    super::refuse(before, id.clone(), ErrorCode::RebalanceInProgress, effects);
                }
                if self.leader.as_ref() == Some(&id) {
                    self.take_assignments(request.assignments, effects);
                }
            }
            Phase::Stable => {
                self.mark_synced(&id);
                self.arm(&id, now_ms);
                if let Some(synced) = self.synced(&id) {
                    effects.push(Effect::AnswerSync(caller, Ok(synced)));
                }
            }
            _ => {
                self.arm(&id, now_ms);
                effects.push(Effect::AnswerSync(
                    caller,
                    Err(ErrorCode::RebalanceInProgress),
                ));
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        self.check(MemberClaim {
            member_id: &request.member_id,
            instance_id: request.instance_id.as_deref(),
            generation: request.generation,
        })?;
        let differ = |known: &Option<ByteString>, said: &Option<ByteString>| {
            said.is_some() && known.is_some() && known != said
        };
        if differ(&self.protocol_type, &request.protocol_type)
            || differ(&self.protocol, &request.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let assignments = request.assignments.iter();
        let bytes: usize = assignments.map(|(id, bytes)| id.len() + bytes.len()).sum();
        if bytes > self.settings.assignment_bytes_max {
            return Err(ErrorCode::UnknownServerError);
        }
        Ok(())
    }

    /// Sends the leader's assignments to the log, unless those that it sent before are on their way there.
    fn take_assignments(
        &mut self,
        assignments: Vec<(ByteString, Bytes)>,
        effects: &mut Vec<Effect<T>>,
    ) {
        if !matches!(self.phase, Phase::Completing(None)) {
            return;
        }
        let known = assignments.into_iter();
        let known = known.filter(|(id, _)| self.members.get(id).is_some());
        let assignments: BTreeMap<ByteString, Bytes> = known
            .map(|(id, assignment)| (owned(&id), Bytes::copy_from_slice(&assignment)))
            .collect();
        let metadata =
            self.metadata(|member| assignments.get(&member.id).cloned().unwrap_or_default());
        let persist = self.persist(metadata, effects);
        self.phase = Phase::Completing(Some(Assigning {
            persist,
            assignments,
        }));
    }

    /// A record is durable. Assignments of a generation that has ended meanwhile are told to nobody.
    pub fn on_persisted(&mut self, persist: PersistId, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        if let Some(replaced) = self.replacements.finish(persist) {
            for replacement in replaced {
                self.answer_replacement(replacement, Ok(()), now_ms, effects);
            }
            self.persist_replacements(effects);
        }
        let Phase::Completing(assigning) = &mut self.phase else {
            return;
        };
        if let Some(assigning) = assigning.take_if(|assigning| assigning.persist == persist) {
            self.phase = Phase::Stable;
            self.members.assign(assigning.assignments);
            self.answer_syncs(now_ms, effects);
        }
    }

    /// A record was not stored, or nobody knows whether it was; `error` is what clients are told of that.
    pub fn on_persist_failed(
        &mut self,
        persist: PersistId,
        error: ErrorCode,
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        if let Some(replaced) = self.replacements.finish(persist) {
            for replacement in replaced {
                self.answer_replacement(replacement, Err(error), now_ms, effects);
            }
            self.persist_replacements(effects);
        }
        if let Phase::Completing(Some(assigning)) = &self.phase
            && assigning.persist == persist
        {
            self.refuse_syncs(error, now_ms, effects);
            let reason = Reason::of(RebalanceCause::NotPersisted, ByteString::new());
            self.rebalance(reason, now_ms, effects);
        }
    }

    fn answer_syncs(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        for id in self.ids_of(|parked| matches!(parked, Some(Parked::Sync(_)))) {
            let synced = self.synced(&id);
            if let (Some(Parked::Sync(caller)), Some(synced)) = (self.members.unpark(&id), synced) {
                self.arm(&id, now_ms);
                effects.push(Effect::AnswerSync(caller, Ok(synced)));
            }
        }
    }

    fn synced(&self, id: &str) -> Option<Synced> {
        let member = self.members.get(id)?;
        Some(Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.assignment.clone(),
        })
    }

    /// Those who have not asked for their assignment are removed.
    pub(super) fn on_sync_due(&mut self, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        let overdue = std::mem::take(&mut self.unsynced);
        for id in &overdue {
            self.remove(id, ErrorCode::UnknownMemberId, effects);
        }
        if !overdue.is_empty() {
            let reason = Reason::of(RebalanceCause::SyncOverdue, ByteString::new());
            self.rebalance(reason, now_ms, effects);
        }
    }
}
