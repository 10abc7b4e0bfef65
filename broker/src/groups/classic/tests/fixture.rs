//! A group on a bench: requests in words, answers by their callers.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use crate::groups::classic::{
    ClassicGroup, ClassicSettings, Effect, GroupMetadata, GroupState, JoinAnswer, JoinRequest,
    Joined, Leaving, MemberClaim, MemberClient, PersistId, Protocol, RebalanceCause, SyncAnswer,
    SyncRequest,
};

pub(super) const SESSION_MS: u64 = 10_000;
pub(super) const REBALANCE_MS: u64 = 60_000;

pub(super) struct Fixture {
    pub(super) group: ClassicGroup<u32>,
    pub(super) now_ms: u64,
    pub(super) joins: BTreeMap<u32, JoinAnswer>,
    pub(super) syncs: BTreeMap<u32, SyncAnswer>,
    pub(super) persists: Vec<(PersistId, GroupMetadata)>,
    pub(super) causes: Vec<RebalanceCause>,
    callers: u32,
}

pub(super) fn text(text: &str) -> ByteString {
    ByteString::from(text)
}

/// A join of a new dynamic member with one protocol.
pub(super) fn request() -> JoinRequest {
    JoinRequest {
        member_id: ByteString::new(),
        instance_id: None,
        new_id_suffix: ByteString::new(),
        client: MemberClient {
            id: text("client"),
            host: text("/10.0.0.1"),
        },
        session_timeout_ms: i32::try_from(SESSION_MS).expect("small"),
        rebalance_timeout_ms: i32::try_from(REBALANCE_MS).expect("small"),
        protocol_type: text("consumer"),
        protocols: vec![protocol("range", "topics")],
        reason: None,
        takes_member_id: false,
        takes_skip_assignment: true,
    }
}

pub(super) fn known(id: &ByteString) -> JoinRequest {
    JoinRequest {
        member_id: id.clone(),
        ..request()
    }
}

pub(super) fn fixed(instance_id: &str) -> JoinRequest {
    JoinRequest {
        instance_id: Some(text(instance_id)),
        ..request()
    }
}

pub(super) fn protocol(name: &str, metadata: &str) -> Protocol {
    Protocol {
        name: text(name),
        metadata: Bytes::copy_from_slice(metadata.as_bytes()),
    }
}

pub(super) fn claim(id: &str, generation: i32) -> MemberClaim<'_> {
    MemberClaim {
        member_id: id,
        instance_id: None,
        generation,
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::of(ClassicGroup::new(ClassicSettings::default()))
    }

    pub(super) fn of(group: ClassicGroup<u32>) -> Self {
        Self {
            group,
            now_ms: 1_000_000,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            persists: Vec::new(),
            causes: Vec::new(),
            callers: 0,
        }
    }

    pub(super) fn take(&mut self, effects: Vec<Effect<u32>>) {
        for effect in effects {
            match effect {
                Effect::AnswerJoin(caller, answer) => {
                    assert!(self.joins.insert(caller, answer).is_none(), "twice");
                }
                Effect::AnswerSync(caller, answer) => {
                    assert!(self.syncs.insert(caller, answer).is_none(), "twice");
                }
                Effect::Persist(id, metadata) => self.persists.push((id, metadata)),
                Effect::RebalanceBegan { cause, .. } => self.causes.push(cause),
            }
        }
    }

    /// Sends a join; its random part is the caller's number.
    pub(super) fn join(&mut self, request: JoinRequest) -> u32 {
        self.callers += 1;
        let caller = self.callers;
        let request = JoinRequest {
            new_id_suffix: text(&format!("{caller:04}")),
            ..request
        };
        let mut effects = Vec::new();
        self.group
            .on_join(caller, request, self.now_ms, &mut effects);
        self.take(effects);
        caller
    }

    pub(super) fn sync(&mut self, joined: &Joined, assignments: &[(&ByteString, &str)]) -> u32 {
        let assignments = assignments.iter();
        let assignments = assignments
            .map(|(id, bytes)| ((*id).clone(), Bytes::copy_from_slice(bytes.as_bytes())));
        self.sync_request(SyncRequest {
            member_id: joined.member_id.clone(),
            instance_id: None,
            generation: joined.generation,
            protocol_type: joined.protocol_type.clone(),
            protocol: joined.protocol.clone(),
            assignments: assignments.collect(),
        })
    }

    pub(super) fn sync_request(&mut self, request: SyncRequest) -> u32 {
        self.callers += 1;
        let caller = self.callers;
        let mut effects = Vec::new();
        self.group
            .on_sync(caller, request, self.now_ms, &mut effects);
        self.take(effects);
        caller
    }

    pub(super) fn heartbeat(&mut self, joined: &Joined) -> Result<(), ErrorCode> {
        let claim = claim(&joined.member_id, joined.generation);
        self.group.on_heartbeat(claim, self.now_ms)
    }

    pub(super) fn commit(&mut self, joined: &Joined) -> Result<(), ErrorCode> {
        let claim = claim(&joined.member_id, joined.generation);
        self.group.validate_commit(claim, self.now_ms)
    }

    pub(super) fn leave(&mut self, leaving: &[Leaving]) -> Result<Vec<ErrorCode>, ErrorCode> {
        let mut effects = Vec::new();
        let outcome = self.group.on_leave(leaving, self.now_ms, &mut effects);
        self.take(effects);
        outcome
    }

    pub(super) fn close(&mut self, error: ErrorCode) {
        let mut effects = Vec::new();
        self.group.close(error, &mut effects);
        self.take(effects);
    }

    /// Lets time pass, with every deadline on the way.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at_ms) = self.group.next_deadline_ms().filter(|at_ms| *at_ms <= end) {
            self.now_ms = at_ms.max(self.now_ms);
            let mut effects = Vec::new();
            self.group.on_deadline(self.now_ms, &mut effects);
            self.take(effects);
        }
        self.now_ms = end;
    }

    pub(super) fn persisted(&mut self) -> GroupMetadata {
        let (id, metadata) = self.persists.remove(0);
        let mut effects = Vec::new();
        self.group.on_persisted(id, self.now_ms, &mut effects);
        self.take(effects);
        metadata
    }

    pub(super) fn persist_failed(&mut self, error: ErrorCode) {
        let (id, _) = self.persists.remove(0);
        let mut effects = Vec::new();
        self.group
            .on_persist_failed(id, error, self.now_ms, &mut effects);
        self.take(effects);
    }

    /// Returns the answer to a join; panics if it has none or was refused.
    pub(super) fn joined(&mut self, caller: u32) -> Joined {
        self.joins
            .remove(&caller)
            .expect("answered")
            .expect("joined")
    }

    pub(super) fn refused(&mut self, caller: u32) -> ErrorCode {
        let answer = self.joins.remove(&caller).expect("answered");
        answer.expect_err("refused").error
    }

    /// Returns the assignment in the answer to a sync; panics if it has none or was refused.
    pub(super) fn assigned(&mut self, caller: u32) -> String {
        let answer = self.syncs.remove(&caller).expect("answered");
        String::from_utf8(answer.expect("synced").assignment.to_vec()).expect("text")
    }

    pub(super) fn sync_refused(&mut self, caller: u32) -> ErrorCode {
        let answer = self.syncs.remove(&caller).expect("answered");
        answer.expect_err("refused")
    }

    pub(super) fn state(&self) -> GroupState {
        self.group.state()
    }

    /// Lets these join an empty group together; returns what each is told. The first leads.
    pub(super) fn gather(&mut self, requests: Vec<JoinRequest>) -> Vec<Joined> {
        let callers: Vec<u32> = requests.into_iter().map(|each| self.join(each)).collect();
        // Twice the delay for the first: the others came in time to extend it.
        self.pass(6_000);
        callers.into_iter().map(|each| self.joined(each)).collect()
    }

    /// Gives everybody an assignment that bears the place in the list.
    pub(super) fn settle(&mut self, joined: &[Joined]) {
        let leader = joined
            .iter()
            .find(|each| each.leader == each.member_id)
            .expect("one leads");
        let assignments: Vec<(ByteString, String)> = joined
            .iter()
            .enumerate()
            .map(|(place, each)| (each.member_id.clone(), format!("work {place}")))
            .collect();
        let assignments: Vec<(&ByteString, &str)> = assignments
            .iter()
            .map(|(id, work)| (id, work.as_str()))
            .collect();
        let leader = leader.clone();
        for each in joined.iter().filter(|each| **each != leader) {
            self.sync(each, &[]);
        }
        self.sync(&leader, &assignments);
        self.persisted();
        assert_eq!(self.state(), GroupState::Stable);
        self.syncs.clear();
    }

    /// Returns a stable group of these, and what each was told.
    pub(super) fn stable(requests: Vec<JoinRequest>) -> (Self, Vec<Joined>) {
        let mut fixture = Self::new();
        let joined = fixture.gather(requests);
        fixture.settle(&joined);
        fixture.causes.clear();
        (fixture, joined)
    }

    /// Heartbeats of all of these for so long, twice per session.
    pub(super) fn live(&mut self, joined: &[&Joined], ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            let step = (SESSION_MS / 2).min(end - self.now_ms);
            self.pass(step);
            for each in joined {
                let _ = self.heartbeat(each);
            }
        }
    }
}
