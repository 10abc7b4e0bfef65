//! The members of a classic group, with what is counted over them: who waits, which protocols all support, how many bytes.
//!
//! Every change goes through here, so that nothing has to be counted anew: a thousand members that join at once cost a
//! thousand look-ups.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::Protocol;
use super::member::{Member, Parked, Terms};

/// The members of a group, in the order of their ids.
#[derive(Debug)]
pub(super) struct Members<T> {
    by_id: BTreeMap<ByteString, Member<T>>,
    /// The member of each static member's name.
    by_instance: BTreeMap<ByteString, ByteString>,
    /// How many members support each protocol; never 0.
    supporters: BTreeMap<ByteString, usize>,
    joins_parked: usize,
    bytes: usize,
    next_place: u64,
}

impl<T> Members<T> {
    /// Returns no members.
    pub(super) fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            supporters: BTreeMap::new(),
            joins_parked: 0,
            bytes: 0,
            next_place: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns how many bytes all members tell of themselves.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, id: &str) -> Option<&Member<T>> {
        self.by_id.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member<T>> {
        self.by_id.values()
    }

    /// Returns the id of the member with a static member's name.
    pub(super) fn of_instance(&self, instance_id: &str) -> Option<&ByteString> {
        self.by_instance.get(instance_id)
    }

    /// Checks that there is a member of this id, and that it is the one with the static member's name, if one is given.
    pub(super) fn check(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.by_instance.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.by_id.contains_key(id) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Returns the place of the next member that comes.
    pub(super) fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    /// Adds a member.
    ///
    /// # Panics
    /// When there is one of its id or of its static name.
    pub(super) fn insert(&mut self, member: Member<T>) {
        if let Some(instance_id) = &member.instance_id {
            let before = self
                .by_instance
                .insert(instance_id.clone(), member.id.clone());
            assert!(before.is_none(), "a static member is replaced, not added");
        }
        self.joins_parked += usize::from(member.waits_to_join());
        self.count_terms(&member.terms);
        self.bytes += member.bytes();
        let before = self.by_id.insert(member.id.clone(), member);
        assert!(before.is_none(), "every member has its own id");
    }

    /// Takes a member away.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member<T>> {
        let member = self.by_id.remove(id)?;
        if let Some(instance_id) = &member.instance_id {
            self.by_instance.remove(instance_id);
        }
        self.joins_parked -= usize::from(member.waits_to_join());
        self.discount_terms(&member.terms);
        self.bytes -= member.bytes();
        Some(member)
    }

    /// Takes what a member tells of itself by now.
    pub(super) fn update(&mut self, id: &str, terms: Terms) {
        if let Some(mut member) = self.remove(id) {
            member.terms = terms;
            self.insert(member);
        }
    }

    /// Parks a request of a member; returns the one that was parked before.
    pub(super) fn park(&mut self, id: &str, parked: Parked<T>) -> Option<Parked<T>> {
        let before = self.unpark(id);
        if let Some(member) = self.by_id.get_mut(id) {
            member.parked = Some(parked);
            self.joins_parked += usize::from(member.waits_to_join());
        }
        before
    }

    /// Takes the parked request of a member.
    pub(super) fn unpark(&mut self, id: &str) -> Option<Parked<T>> {
        let member = self.by_id.get_mut(id)?;
        self.joins_parked -= usize::from(member.waits_to_join());
        member.parked.take()
    }

    /// Returns how many members wait to join.
    pub(super) fn joins_parked(&self) -> usize {
        self.joins_parked
    }

    /// Notes that a member is told of a generation.
    pub(super) fn tell(&mut self, id: &str, generation: i32) {
        if let Some(member) = self.by_id.get_mut(id) {
            member.generation = generation;
            member.is_new = false;
        }
    }

    /// Gives every member its assignment, an empty one to those that have none.
    pub(super) fn assign(&mut self, mut assignments: BTreeMap<ByteString, Bytes>) {
        for (id, member) in &mut self.by_id {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
    }

    /// Returns the longest time that a member wants to be waited for.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self
            .iter()
            .map(|member| member.terms.rebalance_timeout_ms());
        timeouts.max().unwrap_or(0)
    }

    /// Returns whether one of these protocols is supported by all members.
    pub(super) fn support_one_of(&self, protocols: &[Protocol]) -> bool {
        let mut names = protocols.iter().map(|protocol| &protocol.name);
        names.any(|name| self.is_supported(name))
    }

    /// Returns the protocol with the most votes; each member votes for the first of its list that all support. Of those
    /// with as many votes it is the first in the leader's list.
    pub(super) fn elect_protocol(&self, leader: &str) -> Option<ByteString> {
        let leader = self.get(leader).or_else(|| self.by_id.values().next())?;
        let names = leader.terms.names();
        let candidates: Vec<&ByteString> = names.filter(|name| self.is_supported(name)).collect();
        if let [only] = candidates[..] {
            return Some(only.clone());
        }
        let mut votes: BTreeMap<&ByteString, usize> = BTreeMap::new();
        for member in self.iter() {
            if let Some(name) = member.terms.names().find(|name| self.is_supported(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        // Of equals the last is the greatest, so the first in the list has to come last.
        let candidates = candidates.into_iter().rev();
        let elected = candidates.max_by_key(|name| votes.get(name).copied().unwrap_or(0))?;
        Some(elected.clone())
    }

    fn is_supported(&self, protocol: &ByteString) -> bool {
        self.supporters.get(protocol) == Some(&self.by_id.len())
    }

    fn count_terms(&mut self, terms: &Terms) {
        for name in terms.names() {
            *self.supporters.entry(name.clone()).or_default() += 1;
        }
    }

    fn discount_terms(&mut self, terms: &Terms) {
        for name in terms.names() {
            if let Some(count) = self.supporters.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supporters.remove(name);
                }
            }
        }
    }
}
