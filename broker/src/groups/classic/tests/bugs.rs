//! The bank of deliberate bugs: each breaks one rule of the group, and the model must find it.
//!
//! They sit between the group and the world, where every rule shows: a group with one of them behaves as one would whose
//! code had it.

use std::collections::BTreeSet;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use crate::groups::classic::{
    ClassicGroup, ClassicSettings, Effect, GroupMetadata, GroupState, JoinRequest, JoinedMember,
    Leaving, MemberClaim, PersistId, SyncRequest,
};

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// What the leader assigns, and who replaces whom, counts before its record is durable.
    CountsBeforeDurable,
    /// A record that was not stored counts.
    FailureTakenForSuccess,
    /// The first of two joins of a member is never answered.
    ReplacedJoinForgotten,
    /// A request of a member that is removed is answered once more.
    RemovedAnsweredTwice,
    /// A member may commit that was fenced.
    FencedMayCommit,
    /// A member may commit that was removed.
    RemovedMayCommit,
    /// A member may commit in another generation than the group's.
    AnyGenerationMayCommit,
    /// A new generation has the number of the one before.
    GenerationStays,
    /// The leader is told of a member that is none any longer.
    LeaderSeesFormerMembers,
    /// Those who have not joined again are waited for for ever.
    BarrierNeverEnds,
    /// Silence has no consequence.
    SessionsNeverEnd,
    /// At a recovery sessions go on where they were instead of beginning anew.
    SessionsGoOnAtRecovery,
    /// A lost link gives nobody more time.
    LostLinkIgnored,
    /// A recovery overlooks the last record.
    LastRecordOverlooked,
    /// Who waits when the group ends is told nothing.
    EndTellsNobody,
}

/// All of them.
pub(super) const BANK: [Bug; 15] = [
    Bug::CountsBeforeDurable,
    Bug::FailureTakenForSuccess,
    Bug::ReplacedJoinForgotten,
    Bug::RemovedAnsweredTwice,
    Bug::FencedMayCommit,
    Bug::RemovedMayCommit,
    Bug::AnyGenerationMayCommit,
    Bug::GenerationStays,
    Bug::LeaderSeesFormerMembers,
    Bug::BarrierNeverEnds,
    Bug::SessionsNeverEnd,
    Bug::SessionsGoOnAtRecovery,
    Bug::LostLinkIgnored,
    Bug::LastRecordOverlooked,
    Bug::EndTellsNobody,
];

/// A group, with a bug or without.
pub(super) struct Suspect {
    group: ClassicGroup<u32>,
    bug: Option<Bug>,
    former: BTreeSet<ByteString>,
}

type Effects = Vec<Effect<u32>>;

impl Suspect {
    pub(super) fn new(settings: ClassicSettings, bug: Option<Bug>) -> Self {
        Self {
            group: ClassicGroup::new(settings),
            bug,
            former: BTreeSet::new(),
        }
    }

    /// Returns the group of the last of these records.
    pub(super) fn recovered(
        log: &[GroupMetadata],
        settings: ClassicSettings,
        bug: Option<Bug>,
        now_ms: u64,
    ) -> Self {
        let read = match bug {
            Some(Bug::LastRecordOverlooked) => &log[..log.len().saturating_sub(1)],
            _ => log,
        };
        let since_ms = match bug {
            Some(Bug::SessionsGoOnAtRecovery) => now_ms - 8_000,
            _ => now_ms,
        };
        let group = match read.last() {
            Some(record) => ClassicGroup::recovered(record.clone(), settings, since_ms),
            None => ClassicGroup::new(settings),
        };
        Self {
            group,
            bug,
            former: BTreeSet::new(),
        }
    }

    pub(super) fn state(&self) -> GroupState {
        self.group.state()
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.group.is_vacant()
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let next_ms = self.group.next_deadline_ms();
        let is_preparing = self.group.state() == GroupState::PreparingRebalance;
        next_ms.filter(|_| match self.bug {
            Some(Bug::BarrierNeverEnds) => !is_preparing,
            Some(Bug::SessionsNeverEnd) => is_preparing,
            _ => true,
        })
    }

    pub(super) fn on_deadline(&mut self, now_ms: u64) -> Effects {
        self.through(now_ms, |group, effects| group.on_deadline(now_ms, effects))
    }

    pub(super) fn on_join(&mut self, caller: u32, request: JoinRequest, now_ms: u64) -> Effects {
        self.through(now_ms, |group, effects| {
            group.on_join(caller, request, now_ms, effects);
        })
    }

    pub(super) fn on_sync(&mut self, caller: u32, request: SyncRequest, now_ms: u64) -> Effects {
        self.through(now_ms, |group, effects| {
            group.on_sync(caller, request, now_ms, effects);
        })
    }

    pub(super) fn on_leave(
        &mut self,
        leaving: &[Leaving],
        now_ms: u64,
    ) -> (Result<Vec<ErrorCode>, ErrorCode>, Effects) {
        let mut outcome = Ok(Vec::new());
        let effects = self.through(now_ms, |group, effects| {
            outcome = group.on_leave(leaving, now_ms, effects);
        });
        (outcome, effects)
    }

    pub(super) fn on_heartbeat(
        &mut self,
        claim: MemberClaim<'_>,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        self.group.on_heartbeat(claim, now_ms)
    }

    pub(super) fn validate_commit(
        &mut self,
        claim: MemberClaim<'_>,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        let outcome = self.group.validate_commit(claim, now_ms);
        match (self.bug, outcome) {
            (Some(Bug::FencedMayCommit), Err(ErrorCode::FencedInstanceId))
            | (Some(Bug::RemovedMayCommit), Err(ErrorCode::UnknownMemberId))
            | (Some(Bug::AnyGenerationMayCommit), Err(ErrorCode::IllegalGeneration)) => Ok(()),
            _ => outcome,
        }
    }

    pub(super) fn on_link_lost(&mut self, ids: &[ByteString], now_ms: u64) {
        if self.bug != Some(Bug::LostLinkIgnored) {
            let ids = ids.iter().map(|id| &**id);
            self.group.on_link_lost(ids, now_ms);
        }
    }

    pub(super) fn on_persisted(&mut self, id: PersistId, now_ms: u64) -> Effects {
        self.through(now_ms, |group, effects| {
            group.on_persisted(id, now_ms, effects);
        })
    }

    pub(super) fn on_persist_failed(
        &mut self,
        id: PersistId,
        error: ErrorCode,
        now_ms: u64,
    ) -> Effects {
        let succeeds = self.bug == Some(Bug::FailureTakenForSuccess);
        self.through(now_ms, |group, effects| match succeeds {
            true => group.on_persisted(id, now_ms, effects),
            false => group.on_persist_failed(id, error, now_ms, effects),
        })
    }

    pub(super) fn close(&mut self, error: ErrorCode) -> Effects {
        let tells = self.bug != Some(Bug::EndTellsNobody);
        let effects = self.through(0, |group, effects| group.close(error, effects));
        effects.into_iter().filter(|_| tells).collect()
    }

    fn through(
        &mut self,
        now_ms: u64,
        call: impl FnOnce(&mut ClassicGroup<u32>, &mut Effects),
    ) -> Effects {
        let before = self.group.describe().members;
        let mut effects = Vec::new();
        call(&mut self.group, &mut effects);
        if self.bug == Some(Bug::CountsBeforeDurable) {
            let persists = effects.iter().filter_map(|effect| match effect {
                Effect::Persist(id, _) => Some(*id),
                _ => None,
            });
            let persists: Vec<PersistId> = persists.collect();
            for id in persists {
                self.group.on_persisted(id, now_ms, &mut effects);
            }
        }
        let mut told = Vec::new();
        for effect in effects {
            self.tell(effect, &mut told);
        }
        let ids = before.into_iter().map(|member| member.member_id);
        self.former.extend(ids);
        told
    }

    /// Passes an effect on, as the bug lets it.
    fn tell(&self, mut effect: Effect<u32>, told: &mut Effects) {
        let Effect::AnswerJoin(_, answer) = &mut effect else {
            told.push(effect);
            return;
        };
        match (self.bug, answer) {
            (Some(Bug::ReplacedJoinForgotten), Err(refused))
                if refused.error == ErrorCode::RebalanceInProgress => {}
            (Some(Bug::RemovedAnsweredTwice), Err(refused))
                if refused.error == ErrorCode::UnknownMemberId =>
            {
                told.extend([effect.clone(), effect]);
            }
            (Some(Bug::GenerationStays), Ok(joined)) if joined.generation > 1 => {
                joined.generation -= 1;
                told.push(effect);
            }
            (Some(Bug::LeaderSeesFormerMembers), Ok(joined)) if !joined.members.is_empty() => {
                let known =
                    |id: &ByteString| joined.members.iter().any(|each| each.member_id == *id);
                let former = self.former.iter().find(|id| !known(id)).cloned();
                joined.members.extend(former.map(|member_id| JoinedMember {
                    member_id,
                    instance_id: None,
                    metadata: Default::default(),
                }));
                told.push(effect);
            }
            _ => told.push(effect),
        }
    }
}
