//! Static members that came back to a stable group under a new id: they are told so once the record has it.
//!
//! One record is on its way at a time, and the next one holds everybody who came meanwhile: a thousand members that
//! restart together need two or three records, not a thousand of a thousand members each.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::{Effect, JoinAnswer, JoinRefused, JoinRequest, PersistId, RebalanceCause};
use super::barrier::Reason;
use super::join::owned_client;
use super::member::{Member, NO_GENERATION, Parked, Terms};
use super::{ClassicGroup, Phase};

/// What a member that came back is to be told.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    /// Its id before, if it leads the group. A client that cannot be told to leave the assignments as they are is told
    /// that this one leads: so it takes itself for a follower.
    pub(super) led_as: Option<ByteString>,
    /// Whether the client can be told to leave the assignments as they are.
    pub(super) takes_skip_assignment: bool,
}

/// Those who wait for their record, by their new ids.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    persist: Option<PersistId>,
    underway: BTreeMap<ByteString, Replacement>,
    waiting: BTreeMap<ByteString, Replacement>,
}

impl Replacements {
    pub(super) fn add(&mut self, id: ByteString, replacement: Replacement) {
        self.waiting.insert(id, replacement);
    }

    /// Drops a member that was replaced itself, or is gone.
    pub(super) fn forget(&mut self, id: &str) {
        self.underway.remove(id);
        self.waiting.remove(id);
    }

    /// Drops everybody: a rebalance answers them.
    pub(super) fn forget_all(&mut self) {
        self.underway.clear();
        self.waiting.clear();
    }

    /// Returns whether somebody needs a record and none is on its way.
    pub(super) fn need_record(&self) -> bool {
        self.persist.is_none() && !self.waiting.is_empty()
    }

    /// A record with everybody who waits is on its way.
    pub(super) fn begin(&mut self, persist: PersistId) {
        self.persist = Some(persist);
        self.underway = std::mem::take(&mut self.waiting);
    }

    /// Returns whom the record was for; `None` if this is another record.
    pub(super) fn finish(
        &mut self,
        persist: PersistId,
    ) -> Option<BTreeMap<ByteString, Replacement>> {
        if self.persist != Some(persist) {
            return None;
        }
        self.persist = None;
        Some(std::mem::take(&mut self.underway))
    }
}

impl<T> ClassicGroup<T> {
    /// Gives the place of a static member to who comes under its name; the one before is fenced.
    pub(super) fn replace(
        &mut self,
        caller: T,
        (old, new, request): (ByteString, ByteString, JoinRequest),
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        let led = self.leader.as_ref() == Some(&old);
        let was_unsynced = self.unsynced.contains(&old);
        if was_unsynced {
            self.unsynced.insert(new.clone());
        }
        let Some(before) = self.remove(&old, ErrorCode::FencedInstanceId, effects) else {
            return;
        };
        let terms = Terms::of(&request);
        // Then the vote is as it was, and need not be counted again for each of a thousand that restart.
        let votes_alike = before.terms.names().eq(terms.names());
        self.members.insert(Member {
            id: new.clone(),
            instance_id: before.instance_id,
            client: owned_client(&request.client),
            place: before.place,
            generation: NO_GENERATION,
            is_new: false,
            assignment: before.assignment,
            terms,
            parked: Some(Parked::Join(caller)),
        });
        if led {
            self.leader = Some(new.clone());
        }
        let is_same = matches!(self.phase, Phase::Stable)
            && (votes_alike || self.members.elect_protocol(self.leader_id()) == self.protocol);
        if is_same {
            let replacement = Replacement {
                led_as: led.then_some(old),
                takes_skip_assignment: request.takes_skip_assignment,
            };
            self.replacements.add(new, replacement);
            self.persist_replacements(effects);
        } else {
            let cause = RebalanceCause::StaticMemberReturned;
            let reason = Reason::told(cause, new, request.reason.as_ref());
            self.rebalance(reason, now_ms, effects);
        }
    }

    /// Sends a record for the static members that came back, unless one is on its way.
    pub(super) fn persist_replacements(&mut self, effects: &mut Vec<Effect<T>>) {
        if matches!(self.phase, Phase::Stable) && self.replacements.need_record() {
            let metadata = self.metadata(|member| member.assignment.clone());
            let persist = self.persist(metadata, effects);
            self.replacements.begin(persist);
        }
    }

    /// Tells a static member that came back how things are, or that they could not be stored. Its place stays its own:
    /// the one before it was fenced and does not come back in this process.
    pub(super) fn answer_replacement(
        &mut self,
        (id, replacement): (ByteString, Replacement),
        outcome: Result<(), ErrorCode>,
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Some(Parked::Join(caller)) = self.members.unpark(&id) else {
            return;
        };
        self.arm(&id, now_ms);
        let answer: JoinAnswer = outcome
            .map(|()| {
                self.members.tell(&id, self.generation);
                let mut joined = self.joined(&id);
                if let Some(led_as) = replacement.led_as {
                    if replacement.takes_skip_assignment {
                        joined.skip_assignment = true;
                    } else {
                        joined.leader = led_as;
                        joined.members = Vec::new();
                    }
                }
                joined
            })
            .map_err(|error| JoinRefused {
                error,
                member_id: ByteString::new(),
            });
        effects.push(Effect::AnswerJoin(caller, answer));
    }
}
