//! Signs of life: Heartbeat, commits, lost links, and what becomes of a member that gives none.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::{Effect, MemberClaim, RebalanceCause};
use super::barrier::Reason;
use super::deadlines::Timer;
use super::member::owned;
use super::{ClassicGroup, Phase};

impl<T> ClassicGroup<T> {
    /// A member says that it lives; REBALANCE_IN_PROGRESS tells it to join again.
    pub fn on_heartbeat(&mut self, claim: MemberClaim<'_>, now_ms: u64) -> Result<(), ErrorCode> {
        self.check(claim)?;
        self.arm(&ByteString::from(claim.member_id), now_ms);
        match self.phase {
            Phase::Preparing(_) => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Decides whether offsets may be committed; a member's commit is a sign of life. Who is no member (generation −1,
    /// no id, no name) may commit while the group is empty.
    pub fn validate_commit(
        &mut self,
        claim: MemberClaim<'_>,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        let claims_membership =
            claim.generation >= 0 || !claim.member_id.is_empty() || claim.instance_id.is_some();
        match self.phase {
            Phase::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            Phase::Empty if claim.generation < 0 => return Ok(()),
            _ if !claims_membership => return Err(ErrorCode::UnknownMemberId),
            _ => self.check(claim)?,
        }
        self.arm(&ByteString::from(claim.member_id), now_ms);
        match self.phase {
            // What it has consumed belonged to the generation before.
            Phase::Completing(_) => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// A link is lost through which these members were heard: they need time to find another way, and to notice that
    /// they have to.
    pub fn on_link_lost<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>, now_ms: u64) {
        let grace_ms = self.settings.link_lost_grace_ms;
        for id in ids {
            let Some(member) = self.members.get(id) else {
                continue;
            };
            if member.parked.is_none() {
                let session_ms = member.terms.session_timeout_ms();
                let at_ms = now_ms.saturating_add(session_ms).saturating_add(grace_ms);
                self.deadlines
                    .defer(Timer::Member(member.id.clone()), at_ms);
            }
        }
    }

    /// Checks that a request comes from a member that was told of this generation.
    pub(super) fn check(&self, claim: MemberClaim<'_>) -> Result<(), ErrorCode> {
        if matches!(self.phase, Phase::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.members.check(claim.member_id, claim.instance_id)?;
        let member = self.members.get(claim.member_id);
        let was_told = member.is_some_and(|member| member.generation == self.generation);
        if claim.generation != self.generation || !was_told {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(())
    }

    /// A member, or who was given an id, was silent for its whole session.
    pub(super) fn on_silent(&mut self, id: &ByteString, now_ms: u64, effects: &mut Vec<Effect<T>>) {
        if self.pending.remove(id) {
            self.complete_if_all_joined(now_ms, effects);
        } else if self
            .remove(id, ErrorCode::UnknownMemberId, effects)
            .is_some()
        {
            let reason = Reason::of(RebalanceCause::SessionExpired, owned(id));
            self.rebalance(reason, now_ms, effects);
        }
    }
}
