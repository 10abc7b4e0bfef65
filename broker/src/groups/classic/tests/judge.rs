//! The judge: hears every request and every answer of a group, and says which of them may not be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::fixture::SESSION_MS;
use super::world::Asked;
use crate::groups::classic::{GroupMetadata, Joined, JoinedMember, RebalanceCause, SyncAnswer};

/// What is known of a member.
pub(super) struct Seen {
    /// When its session ends; `u64::MAX` while a request of it waits.
    pub(super) until_ms: u64,
    /// Whether it has its assignment and nothing has happened since.
    is_settled: bool,
}

/// Who knows what may come of what, and not how.
#[derive(Default)]
pub(super) struct Judge {
    generation: i32,
    /// The member of each place of the generation; a place is a static name, or else an id.
    places: BTreeMap<ByteString, ByteString>,
    /// The place that leads each generation.
    leaders: BTreeMap<i32, ByteString>,
    /// Which assignments each generation has: those of one sync, whatever happens.
    owners: BTreeMap<i32, Bytes>,
    /// Those who are gone, as far as this life of the group goes.
    pub(super) gone: BTreeSet<ByteString>,
    /// Those whose place another has been given work in: gone for ever.
    superseded: BTreeSet<ByteString>,
    /// Who was ever told of a place.
    held: BTreeMap<ByteString, BTreeSet<ByteString>>,
    pub(super) seen: BTreeMap<ByteString, Seen>,
    /// Everything anybody was told: id, static name, generation.
    pub(super) told: Vec<(ByteString, Option<ByteString>, i32)>,
}

pub(super) type Verdict = Result<(), String>;

pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    match holds {
        true => Ok(()),
        false => Err(what()),
    }
}

impl Judge {
    fn place_of(member: &JoinedMember) -> ByteString {
        let name = member.instance_id.as_ref();
        name.unwrap_or(&member.member_id).clone()
    }

    /// Somebody is told of generations, all at once.
    pub(super) fn on_joined(&mut self, joined: &[(Asked, Joined)], now_ms: u64) -> Verdict {
        for (_, answer) in joined.iter().filter(|(_, each)| !each.members.is_empty()) {
            let members = answer.members.iter();
            let places: BTreeMap<ByteString, ByteString> = members
                .map(|member| (Self::place_of(member), member.member_id.clone()))
                .collect();
            if answer.generation > self.generation {
                self.generation = answer.generation;
                self.places = places;
                continue;
            }
            ensure(answer.generation == self.generation, || {
                format!("generation {} comes again", answer.generation)
            })?;
            ensure(places.keys().eq(self.places.keys()), || {
                format!("other members in generation {}", answer.generation)
            })?;
        }
        for (asked, answer) in joined {
            let id = &answer.member_id;
            ensure(answer.generation == self.generation, || {
                format!("{id} is told of {}", answer.generation)
            })?;
            let place = asked.instance_id.as_ref().unwrap_or(id).clone();
            let current = self.places.get_mut(&place);
            let Some(current) = current else {
                return Err(format!("{id} is in no generation {}", answer.generation));
            };
            if current != id {
                self.gone.insert(current.clone());
                *current = id.clone();
            }
            ensure(!self.gone.contains(id), || format!("{id} was gone"))?;
            let others = self.held.entry(place.clone()).or_default();
            for other in others.iter().filter(|other| *other != id) {
                self.gone.insert(other.clone());
            }
            others.insert(id.clone());
            if !answer.members.is_empty() {
                let leader = self
                    .leaders
                    .entry(answer.generation)
                    .or_insert(place.clone());
                ensure(*leader == place, || format!("{leader} and {place} lead"))?;
            }
            let instance_id = asked.instance_id.clone();
            self.told.push((id.clone(), instance_id, answer.generation));
            self.seen.insert(
                id.clone(),
                Seen {
                    until_ms: now_ms + SESSION_MS,
                    is_settled: false,
                },
            );
        }
        Ok(())
    }

    pub(super) fn on_refused(&mut self, asked: &Asked, error: ErrorCode, now_ms: u64) {
        match error {
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.gone.insert(asked.member_id.clone());
            }
            // What it knows is of another life of the group, so it does not count as heard.
            ErrorCode::IllegalGeneration | ErrorCode::InconsistentGroupProtocol => {}
            _ => self.lives(&asked.member_id, now_ms),
        }
    }

    pub(super) fn on_sync_answer(
        &mut self,
        asked: &Asked,
        answer: &SyncAnswer,
        log: &[GroupMetadata],
        now_ms: u64,
    ) -> Verdict {
        let id = &asked.member_id;
        let synced = match answer {
            Ok(synced) => synced,
            Err(error) => {
                self.on_refused(asked, *error, now_ms);
                return Ok(());
            }
        };
        self.lives(id, now_ms);
        self.on_accepted(id, asked.generation)?;
        let mut durable = log
            .iter()
            .filter(|record| record.generation == asked.generation);
        let is_durable = durable.any(|record| {
            let mut members = record.members.iter();
            members.any(|each| each.member_id == *id && each.assignment == synced.assignment)
        });
        ensure(is_durable, || format!("what {id} was given is not durable"))?;
        let owner = self.owners.entry(asked.generation);
        let owner = owner.or_insert(synced.assignment.clone());
        ensure(*owner == synced.assignment, || {
            format!("two lists of owners in generation {}", asked.generation)
        })?;
        if let Some(seen) = self.seen.get_mut(id) {
            seen.is_settled = true;
        }
        let place = asked.instance_id.as_ref().unwrap_or(id);
        let others = self.held.get(place).into_iter().flatten();
        self.superseded
            .extend(others.filter(|other| *other != id).cloned());
        Ok(())
    }

    /// A member was heard, or refused.
    pub(super) fn on_spoken(
        &mut self,
        id: &ByteString,
        outcome: Result<(), ErrorCode>,
        now_ms: u64,
    ) -> Verdict {
        let seen = self.seen.get(id);
        match outcome {
            Ok(()) | Err(ErrorCode::RebalanceInProgress) => {
                ensure(seen.is_some_and(|seen| now_ms < seen.until_ms), || {
                    format!("{id} is heard after its session")
                })?;
                self.lives(id, now_ms);
            }
            Err(ErrorCode::UnknownMemberId) => {
                let was_settled =
                    seen.is_some_and(|seen| seen.is_settled && now_ms < seen.until_ms);
                ensure(!was_settled || self.gone.contains(id), || {
                    format!("{id} is lost before its session ended")
                })?;
                self.gone.insert(id.clone());
            }
            Err(ErrorCode::FencedInstanceId) => {
                self.gone.insert(id.clone());
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// A member was let speak for a generation.
    pub(super) fn on_accepted(&self, id: &ByteString, generation: i32) -> Verdict {
        ensure(generation == self.generation, || {
            format!("{id} speaks for {generation}, not {}", self.generation)
        })?;
        ensure(self.places.values().any(|current| current == id), || {
            format!("{id} speaks for {generation} and is not in it")
        })?;
        ensure(!self.gone.contains(id), || {
            format!("{id} is gone and speaks")
        })?;
        ensure(!self.superseded.contains(id), || {
            format!("{id} speaks though another has its work")
        })
    }

    pub(super) fn on_record(&mut self, record: &GroupMetadata) -> Verdict {
        if record.members.is_empty() {
            ensure(record.generation > self.generation, || {
                format!("the empty generation {} is old", record.generation)
            })?;
            self.generation = record.generation;
            self.places.clear();
            return Ok(());
        }
        ensure(record.generation == self.generation, || {
            format!("a record of generation {}", record.generation)
        })?;
        let places = record.members.iter().map(|member| {
            let name = member.instance_id.as_ref();
            name.unwrap_or(&member.member_id)
        });
        let places: BTreeSet<&ByteString> = places.collect();
        ensure(places.into_iter().eq(self.places.keys()), || {
            "the record has other members than the leader knows".to_owned()
        })
    }

    pub(super) fn on_rebalance(
        &mut self,
        cause: RebalanceCause,
        id: &ByteString,
        now_ms: u64,
    ) -> Verdict {
        if cause == RebalanceCause::SessionExpired {
            let seen = self.seen.get(id);
            ensure(seen.is_none_or(|seen| now_ms >= seen.until_ms), || {
                format!("{id} is removed before its session ended")
            })?;
            self.gone.insert(id.clone());
        }
        for seen in self.seen.values_mut() {
            seen.is_settled = false;
        }
        Ok(())
    }

    /// Who waits for an answer is not silent; who has got one has a session from here on.
    pub(super) fn on_waiting(&mut self, asked: &BTreeMap<u32, Asked>, now_ms: u64) {
        for (id, seen) in &mut self.seen {
            let waits = asked.values().any(|asked| asked.member_id == *id);
            if waits {
                seen.until_ms = u64::MAX;
            } else if seen.until_ms == u64::MAX {
                seen.until_ms = now_ms + SESSION_MS;
            }
        }
    }

    pub(super) fn on_restart(&mut self, record: Option<&GroupMetadata>, now_ms: u64) {
        self.gone.clear();
        self.seen.clear();
        self.places.clear();
        self.generation = record.map_or(0, |record| record.generation);
        self.leaders
            .retain(|generation, _| *generation <= self.generation);
        for member in record.into_iter().flat_map(|record| &record.members) {
            let id = &member.member_id;
            let place = member.instance_id.as_ref().unwrap_or(id).clone();
            self.held
                .entry(place.clone())
                .or_default()
                .insert(id.clone());
            self.places.insert(place, id.clone());
            let seen = Seen {
                until_ms: now_ms + SESSION_MS,
                is_settled: true,
            };
            self.seen.insert(id.clone(), seen);
        }
    }

    pub(super) fn place_left(&mut self, place: &ByteString) {
        let ids = self.held.get(place).into_iter().flatten();
        self.gone.extend(ids.cloned());
    }

    fn lives(&mut self, id: &ByteString, now_ms: u64) {
        // Who waits needs no session, whatever else it says.
        let seen = self.seen.get_mut(id);
        if let Some(seen) = seen.filter(|seen| seen.until_ms != u64::MAX) {
            seen.until_ms = now_ms + SESSION_MS;
        }
    }
}
