//! LeaveGroup: members that go by themselves, or that an operator removes by their static names.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::{Effect, Leaving, RebalanceCause};
use super::barrier::Reason;
use super::deadlines::Timer;
use super::{ClassicGroup, Phase};

impl<T> ClassicGroup<T> {
    /// Members leave; returns what became of each, in order. However many leave, one rebalance begins.
    pub fn on_leave(
        &mut self,
        leaving: &[Leaving],
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        if matches!(self.phase, Phase::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let mut left: Option<Reason> = None;
        let mut outcomes = Vec::with_capacity(leaving.len());
        for who in leaving {
            if self.pending.remove(&who.member_id) {
                self.deadlines.clear(Timer::Member(who.member_id.clone()));
                outcomes.push(ErrorCode::None);
                continue;
            }
            outcomes.push(match self.member_that_leaves(who) {
                Err(error) => error,
                Ok(id) => {
                    self.remove(&id, ErrorCode::UnknownMemberId, effects);
                    let words = who.reason.as_ref();
                    let reason = || Reason::told(RebalanceCause::MemberLeft, id, words);
                    left.get_or_insert_with(reason);
                    ErrorCode::None
                }
            });
        }
        match left {
            Some(reason) => self.rebalance(reason, now_ms, effects),
            None => self.complete_if_all_joined(now_ms, effects),
        }
        Ok(outcomes)
    }

    fn member_that_leaves(&self, who: &Leaving) -> Result<ByteString, ErrorCode> {
        let instance_id = who.instance_id.as_deref();
        if who.member_id.is_empty() {
            let current = instance_id.and_then(|name| self.members.of_instance(name));
            return current.cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        self.members.check(&who.member_id, instance_id)?;
        let member = self.members.get(&who.member_id);
        let id = member.map(|member| member.id.clone());
        id.ok_or(ErrorCode::UnknownMemberId)
    }
}
