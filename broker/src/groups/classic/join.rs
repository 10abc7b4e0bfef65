//! JoinGroup: who may become or stay a member, under which id, and whether that begins a rebalance.

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::asked::{
    Effect, JoinRefused, JoinRequest, Joined, JoinedMember, MemberClient, Protocol, RebalanceCause,
};
use super::barrier::Reason;
use super::deadlines::Timer;
use super::member::{Member, NO_GENERATION, Parked, Terms, owned};
use super::{Barrier, ClassicGroup, Phase};
use crate::limits;

/// As what a request is let in.
enum Entrant {
    /// It is given this id, and is to come again with it.
    Stranger(ByteString),
    /// A new member of this id.
    New(ByteString),
    /// A static member that takes the place of this id under a new one.
    Returning(ByteString, ByteString),
    /// The member of this id.
    Known(ByteString),
}

impl<T> ClassicGroup<T> {
    /// A client wants to be a member of the next generation.
    ///
    /// # Panics
    /// When the random part of the id is one that was used before.
    pub fn on_join(
        &mut self,
        caller: T,
        request: JoinRequest,
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        match self.admit(&request) {
            Err(error) => {
                let member_id = request.member_id;
                let refused = JoinRefused { error, member_id };
                effects.push(Effect::AnswerJoin(caller, Err(refused)));
            }
            Ok(Entrant::Stranger(id)) => {
                assert!(self.pending.insert(id.clone()), "every id is new");
                let session_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
                let at_ms = now_ms.saturating_add(session_ms);
                self.deadlines.set(Timer::Member(id.clone()), at_ms);
                let refused = JoinRefused {
                    error: ErrorCode::MemberIdRequired,
                    member_id: id,
                };
                effects.push(Effect::AnswerJoin(caller, Err(refused)));
            }
            Ok(Entrant::New(id)) => self.add(caller, (id, request), now_ms, effects),
            Ok(Entrant::Returning(old, new)) => {
                self.replace(caller, (old, new, request), now_ms, effects);
            }
            Ok(Entrant::Known(id)) => self.join_again(caller, (id, request), now_ms, effects),
        }
    }

    fn admit(&self, request: &JoinRequest) -> Result<Entrant, ErrorCode> {
        if matches!(self.phase, Phase::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let session_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
        if session_ms < self.settings.session_timeout_min_ms
            || session_ms > self.settings.session_timeout_max_ms
        {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        check_bounds(request)?;
        let entrant = self.entrant(request)?;
        if !self.supports(request) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        self.check_room(&entrant, request)?;
        Ok(entrant)
    }

    fn entrant(&self, request: &JoinRequest) -> Result<Entrant, ErrorCode> {
        let id = &request.member_id;
        let instance_id = request.instance_id.as_ref();
        if id.is_empty() {
            let new = new_id(request);
            let current = instance_id.and_then(|name| self.members.of_instance(name));
            return Ok(match current {
                Some(old) => Entrant::Returning(old.clone(), new),
                None if instance_id.is_none() && request.takes_member_id => Entrant::Stranger(new),
                None => Entrant::New(new),
            });
        }
        if instance_id.is_none()
            && let Some(id) = self.pending.get(id)
        {
            return Ok(Entrant::New(id.clone()));
        }
        self.members.check(id, instance_id.map(|name| &**name))?;
        Ok(Entrant::Known(owned(id)))
    }

    /// Returns whether the request is of the group's kind of work, and one of its protocols is supported by all members.
    fn supports(&self, request: &JoinRequest) -> bool {
        if self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && self.members.support_one_of(&request.protocols)
    }

    fn check_room(&self, entrant: &Entrant, request: &JoinRequest) -> Result<(), ErrorCode> {
        let count = self.members.count() + self.pending.len();
        let (is_more, before) = match entrant {
            Entrant::Stranger(_) => (true, None),
            Entrant::New(id) => (!self.pending.contains(id), None),
            Entrant::Returning(id, _) | Entrant::Known(id) => (false, self.members.get(id)),
        };
        let before = before.map_or(0, Member::bytes);
        let bytes = self.members.bytes() - before + bytes_of(request);
        if is_more && count >= self.settings.members_max || bytes > self.settings.metadata_bytes_max
        {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        Ok(())
    }

    /// Takes a new member in; the others have to join again.
    fn add(
        &mut self,
        caller: T,
        (id, request): (ByteString, JoinRequest),
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(owned(&request.protocol_type));
        }
        if let Phase::Preparing(Barrier::Initial { somebody_came, .. }) = &mut self.phase {
            *somebody_came = true;
        }
        let place = self.members.take_place();
        self.members.insert(Member {
            id: id.clone(),
            instance_id: request.instance_id.as_ref().map(owned),
            client: owned_client(&request.client),
            place,
            generation: NO_GENERATION,
            is_new: true,
            assignment: Bytes::new(),
            terms: Terms::of(&request),
            parked: Some(Parked::Join(caller)),
        });
        let at_ms = now_ms.saturating_add(self.settings.new_member_timeout_ms);
        self.deadlines.set(Timer::Member(id.clone()), at_ms);
        let reason = Reason::told(RebalanceCause::NewMember, id, request.reason.as_ref());
        self.rebalance(reason, now_ms, effects);
    }

    /// Lets a member join again: that begins a rebalance unless it only did not hear of the generation.
    fn join_again(
        &mut self,
        caller: T,
        (id, request): (ByteString, JoinRequest),
        now_ms: u64,
        effects: &mut Vec<Effect<T>>,
    ) {
        let terms = Terms::of(&request);
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let is_same = member.terms.protocols() == terms.protocols();
        let is_told = match self.phase {
            Phase::Completing(_) => is_same,
            // The leader knows of changes that its protocols do not show, such as new partitions.
            Phase::Stable => is_same && self.leader.as_ref() != Some(&id),
            _ => false,
        };
        if is_told {
            self.members.tell(&id, self.generation);
            self.arm(&id, now_ms);
            effects.push(Effect::AnswerJoin(caller, Ok(self.joined(&id))));
            return;
        }
        let is_new = member.is_new;
        self.members.update(&id, terms);
        if let Some(before) = self.members.park(&id, Parked::Join(caller)) {
            super::refuse(before, id.clone(), ErrorCode::RebalanceInProgress, effects);
        }
        if is_new {
            let at_ms = now_ms.saturating_add(self.settings.new_member_timeout_ms);
            self.deadlines.set(Timer::Member(id.clone()), at_ms);
        } else {
            self.deadlines.clear(Timer::Member(id.clone()));
        }
        let reason = Reason::told(RebalanceCause::MemberRejoined, id, request.reason.as_ref());
        self.rebalance(reason, now_ms, effects);
    }

    /// Returns what a member is told of the generation.
    pub(super) fn joined(&self, id: &ByteString) -> Joined {
        let protocol = self.protocol.as_ref();
        let leads = self.leader.as_ref() == Some(id);
        let members = self.members.iter().filter(|_| leads);
        let members = members.map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        Joined {
            member_id: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members: members.collect(),
        }
    }

    pub(super) fn leader_id(&self) -> &str {
        self.leader.as_deref().unwrap_or("")
    }
}

/// Refuses what no client of good will sends.
fn check_bounds(request: &JoinRequest) -> Result<(), ErrorCode> {
    let names = request.protocols.iter().map(|protocol| &protocol.name);
    let mut names = names
        .chain([&request.protocol_type])
        .chain(&request.instance_id);
    if request.protocols.len() > limits::GROUP_MEMBER_PROTOCOLS_MAX
        || names.any(|name| name.len() > limits::GROUP_NAME_BYTES_MAX)
    {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}

/// Returns how many bytes a request tells of its member, at least.
fn bytes_of(request: &JoinRequest) -> usize {
    let protocols = request.protocols.iter();
    let protocols = protocols.map(|Protocol { name, metadata }| name.len() + metadata.len());
    request.client.id.len() + request.client.host.len() + protocols.sum::<usize>()
}

fn new_id(request: &JoinRequest) -> ByteString {
    let name = request.instance_id.as_ref().unwrap_or(&request.client.id);
    let name = cut(name, limits::GROUP_MEMBER_ID_PREFIX_BYTES_MAX);
    format!("{name}-{}", request.new_id_suffix).into()
}

pub(super) fn owned_client(client: &MemberClient) -> MemberClient {
    MemberClient {
        id: owned(&client.id),
        host: owned(&client.host),
    }
}

/// Returns the beginning of a text, of at most so many bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
