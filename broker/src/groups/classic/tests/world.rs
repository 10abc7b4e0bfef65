//! Everything that may happen to a group: clients join, sync, speak and fall silent; answers get lost, requests are
//! repeated, records fail or only seem to, the coordinator restarts from its log.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use super::bugs::{Bug, Suspect};
use super::fixture::{SESSION_MS, protocol, request, text};
use super::judge::{Judge, Verdict, ensure};
use crate::groups::classic::{
    ClassicSettings, Effect, GroupMetadata, GroupState, JoinAnswer, JoinRequest, Joined, Leaving,
    MemberClaim, PersistId, SyncAnswer, SyncRequest,
};

const GRACE_MS: u64 = 10_000;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A client does what comes next for it, unless it waits for an answer.
    Act(usize),
    /// A client does it though it waits: its connection broke.
    Repeat(usize),
    /// A client joins with other metadata.
    Change(usize),
    /// A client starts anew and knows nothing.
    Forget(usize),
    /// Somebody commits with what some client was told once.
    CommitAs(usize),
    /// A client leaves.
    Leave(usize),
    /// Time passes.
    Pass(u64),
    /// The oldest record under way is durable.
    Persisted,
    /// The oldest record under way failed, or so it seems.
    PersistFailed { is_stored: bool },
    /// The coordinator restarts; so many of the records under way were stored.
    Restart { stored: usize },
    /// The link is lost through which these clients were heard.
    LinkLost(usize),
    /// The group moves away and comes back.
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Join,
    Sync,
    Speak,
}

struct Client {
    instance_id: Option<ByteString>,
    takes_member_id: bool,
    takes_skip_assignment: bool,
    prefers_sticky: bool,
    variant: u32,
    member_id: ByteString,
    next: Next,
    joined: Option<Joined>,
    waits_for: Option<u32>,
}

/// A request that is not answered.
pub(super) struct Asked {
    pub(super) client: usize,
    pub(super) member_id: ByteString,
    pub(super) instance_id: Option<ByteString>,
    pub(super) generation: i32,
}

pub(super) struct World {
    suspect: Suspect,
    bug: Option<Bug>,
    now_ms: u64,
    clients: Vec<Client>,
    asked: BTreeMap<u32, Asked>,
    callers: u32,
    under_way: VecDeque<(PersistId, GroupMetadata)>,
    log: Vec<GroupMetadata>,
    judge: Judge,
}

fn settings() -> ClassicSettings {
    ClassicSettings {
        members_max: 6,
        ..ClassicSettings::default()
    }
}

impl World {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        let client = |instance_id: Option<&str>, takes_member_id, takes_skip_assignment| Client {
            instance_id: instance_id.map(text),
            takes_member_id,
            takes_skip_assignment,
            prefers_sticky: takes_skip_assignment,
            variant: 0,
            member_id: ByteString::new(),
            next: Next::Join,
            joined: None,
            waits_for: None,
        };
        Self {
            suspect: Suspect::new(settings(), bug),
            bug,
            now_ms: 1_000_000,
            clients: vec![
                client(None, true, false),
                client(None, false, false),
                client(Some("static"), true, true),
                client(Some("static too"), true, false),
            ],
            asked: BTreeMap::new(),
            callers: 0,
            under_way: VecDeque::new(),
            log: Vec::new(),
            judge: Judge::default(),
        }
    }

    /// Lets all this happen, then lets everything come to an end.
    pub(super) fn run(&mut self, steps: &[Step]) -> Verdict {
        for (place, step) in steps.iter().enumerate() {
            self.step(step)
                .map_err(|fault| format!("step {place} ({step:?}): {fault}"))?;
        }
        self.end()
    }

    fn step(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Act(client) => match self.clients[client].waits_for {
                Some(_) => Ok(()),
                None => self.act(client),
            },
            Step::Repeat(client) => self.act(client),
            Step::Change(client) => {
                self.clients[client].variant += 1;
                self.join(client)
            }
            Step::Forget(client) => {
                let client = &mut self.clients[client];
                client.member_id = ByteString::new();
                client.joined = None;
                client.next = Next::Join;
                client.waits_for = None;
                Ok(())
            }
            Step::CommitAs(which) => self.commit_as(which),
            Step::Leave(client) => self.leave(client),
            Step::Pass(ms) => self.pass(ms),
            Step::Persisted => self.persisted(),
            Step::PersistFailed { is_stored } => self.persist_failed(is_stored),
            Step::Restart { stored } => {
                self.restart(stored);
                Ok(())
            }
            Step::LinkLost(client) => {
                self.link_lost(client);
                Ok(())
            }
            Step::Close => self.close(),
        }
    }

    fn act(&mut self, client: usize) -> Verdict {
        match self.clients[client].next {
            Next::Join => self.join(client),
            Next::Sync => self.sync(client),
            Next::Speak => self.speak(client),
        }
    }

    fn ask(&mut self, client: usize, generation: i32) -> u32 {
        self.callers += 1;
        let who = &mut self.clients[client];
        who.waits_for = Some(self.callers);
        self.asked.insert(
            self.callers,
            Asked {
                client,
                member_id: who.member_id.clone(),
                instance_id: who.instance_id.clone(),
                generation,
            },
        );
        self.callers
    }

    fn join(&mut self, client: usize) -> Verdict {
        let caller = self.ask(client, -1);
        let who = &self.clients[client];
        let metadata = format!("variant {}", who.variant);
        let mut protocols = vec![protocol("range", &metadata), protocol("sticky", &metadata)];
        if who.prefers_sticky {
            protocols.reverse();
        }
        let request = JoinRequest {
            member_id: who.member_id.clone(),
            instance_id: who.instance_id.clone(),
            new_id_suffix: text(&format!("{caller:05}")),
            rebalance_timeout_ms: 20_000,
            protocols,
            takes_member_id: who.takes_member_id,
            takes_skip_assignment: who.takes_skip_assignment,
            ..request()
        };
        let effects = self.suspect.on_join(caller, request, self.now_ms);
        self.take(effects)
    }

    fn sync(&mut self, client: usize) -> Verdict {
        let Some(joined) = self.clients[client].joined.clone() else {
            return Ok(());
        };
        let caller = self.ask(client, joined.generation);
        // All assignments of one sync are alike, and those of no other are.
        let work = Bytes::from(format!("work {caller}"));
        let members = joined.members.iter().filter(|_| !joined.skip_assignment);
        let request = SyncRequest {
            member_id: joined.member_id.clone(),
            instance_id: self.clients[client].instance_id.clone(),
            generation: joined.generation,
            protocol_type: joined.protocol_type.clone(),
            protocol: joined.protocol.clone(),
            assignments: members
                .map(|member| (member.member_id.clone(), work.clone()))
                .collect(),
        };
        let effects = self.suspect.on_sync(caller, request, self.now_ms);
        self.take(effects)
    }

    fn speak(&mut self, client: usize) -> Verdict {
        let who = &self.clients[client];
        let Some(joined) = who.joined.clone() else {
            return Ok(());
        };
        let instance_id = who.instance_id.clone();
        let claim = MemberClaim {
            member_id: &joined.member_id,
            instance_id: instance_id.as_deref(),
            generation: joined.generation,
        };
        let outcome = self.suspect.on_heartbeat(claim, self.now_ms);
        self.judge
            .on_spoken(&joined.member_id, outcome, self.now_ms)?;
        if outcome.is_ok() {
            self.judge
                .on_accepted(&joined.member_id, joined.generation)?;
        }
        if let Err(error) = outcome {
            self.clients[client].hear(error);
        }
        Ok(())
    }

    fn commit_as(&mut self, which: usize) -> Verdict {
        if self.judge.told.is_empty() {
            return Ok(());
        }
        let place = which % self.judge.told.len();
        let (id, instance_id, generation) = self.judge.told[place].clone();
        let claim = MemberClaim {
            member_id: &id,
            instance_id: instance_id.as_deref(),
            generation,
        };
        let outcome = self.suspect.validate_commit(claim, self.now_ms);
        self.judge.on_spoken(&id, outcome, self.now_ms)?;
        match outcome {
            Ok(()) => self.judge.on_accepted(&id, generation),
            Err(_) => Ok(()),
        }
    }

    fn leave(&mut self, client: usize) -> Verdict {
        let who = &mut self.clients[client];
        let leaving = Leaving {
            member_id: who.member_id.clone(),
            instance_id: who.instance_id.clone(),
            reason: None,
        };
        let id = who.member_id.clone();
        let (outcome, effects) = self.suspect.on_leave(&[leaving], self.now_ms);
        if outcome == Ok(vec![ErrorCode::None]) {
            if id.is_empty() {
                let place = self.clients[client].instance_id.clone().unwrap_or_default();
                self.judge.place_left(&place);
            } else {
                self.judge.gone.insert(id);
            }
        }
        self.take(effects)
    }

    fn pass(&mut self, ms: u64) -> Verdict {
        let end_ms = self.now_ms + ms;
        while let Some(at_ms) = self
            .suspect
            .next_deadline_ms()
            .filter(|at_ms| *at_ms <= end_ms)
        {
            self.now_ms = at_ms.max(self.now_ms);
            let effects = self.suspect.on_deadline(self.now_ms);
            self.take(effects)?;
        }
        self.now_ms = end_ms;
        Ok(())
    }

    fn persisted(&mut self) -> Verdict {
        let Some((id, record)) = self.under_way.pop_front() else {
            return Ok(());
        };
        self.log.push(record);
        let effects = self.suspect.on_persisted(id, self.now_ms);
        self.take(effects)
    }

    fn persist_failed(&mut self, is_stored: bool) -> Verdict {
        let Some((id, record)) = self.under_way.pop_front() else {
            return Ok(());
        };
        let error = ErrorCode::CoordinatorNotAvailable;
        let effects = self.suspect.on_persist_failed(id, error, self.now_ms);
        let verdict = self.take(effects);
        if is_stored {
            self.log.push(record);
        }
        verdict
    }

    fn restart(&mut self, stored: usize) {
        let under_way = std::mem::take(&mut self.under_way).into_iter();
        self.log
            .extend(under_way.take(stored).map(|(_, record)| record));
        self.suspect = Suspect::recovered(&self.log, settings(), self.bug, self.now_ms);
        // Their connections broke.
        self.asked.clear();
        for client in &mut self.clients {
            client.waits_for = None;
        }
        self.judge.on_restart(self.log.last(), self.now_ms);
    }

    fn link_lost(&mut self, client: usize) {
        let who = &mut self.clients[client];
        who.waits_for = None;
        let id = who.member_id.clone();
        self.suspect
            .on_link_lost(std::slice::from_ref(&id), self.now_ms);
        if let Some(seen) = self.judge.seen.get_mut(&id) {
            let until_ms = self.now_ms + SESSION_MS + GRACE_MS;
            seen.until_ms = seen.until_ms.max(until_ms);
        }
    }

    fn close(&mut self) -> Verdict {
        let effects = self.suspect.close(ErrorCode::NotCoordinator);
        self.take(effects)?;
        ensure(self.asked.is_empty(), || {
            format!("{} wait for a dead group", self.asked.len())
        })?;
        self.restart(usize::MAX);
        Ok(())
    }

    /// All records are stored, everybody falls silent, and nothing may be left.
    fn end(&mut self) -> Verdict {
        for _ in 0..200 {
            while !self.under_way.is_empty() {
                self.persisted()?;
            }
            self.pass(60_000)?;
        }
        ensure(self.asked.is_empty(), || {
            let callers: Vec<&u32> = self.asked.keys().collect();
            format!("never answered: {callers:?}")
        })?;
        ensure(self.suspect.state() == GroupState::Empty, || {
            format!("the group is {:?} at last", self.suspect.state())
        })?;
        ensure(self.suspect.is_vacant(), || "ids are left".to_owned())?;
        ensure(self.suspect.next_deadline_ms().is_none(), || {
            "a deadline is left".to_owned()
        })
    }

    fn take(&mut self, effects: Vec<Effect<u32>>) -> Verdict {
        let mut joined = Vec::new();
        let mut recorded = Vec::new();
        for effect in effects {
            match effect {
                Effect::AnswerJoin(caller, answer) => {
                    let asked = self.answered(caller)?;
                    let is_heard = self.clients[asked.client].waits_for == Some(caller);
                    if is_heard {
                        self.clients[asked.client].on_join_answer(&answer);
                    }
                    match answer {
                        Ok(answer) => joined.push((asked, answer)),
                        Err(refused) => self.judge.on_refused(&asked, refused.error, self.now_ms),
                    }
                }
                Effect::AnswerSync(caller, answer) => {
                    let asked = self.answered(caller)?;
                    self.judge
                        .on_sync_answer(&asked, &answer, &self.log, self.now_ms)?;
                    if self.clients[asked.client].waits_for == Some(caller) {
                        self.clients[asked.client].on_sync_answer(&answer);
                    }
                }
                Effect::Persist(id, record) => {
                    recorded.push(record.clone());
                    self.under_way.push_back((id, record));
                }
                Effect::RebalanceBegan {
                    cause, member_id, ..
                } => self.judge.on_rebalance(cause, &member_id, self.now_ms)?,
            }
        }
        self.judge.on_joined(&joined, self.now_ms)?;
        for record in &recorded {
            self.judge.on_record(record)?;
        }
        self.judge.on_waiting(&self.asked, self.now_ms);
        Ok(())
    }

    fn answered(&mut self, caller: u32) -> Result<Asked, String> {
        let asked = self.asked.remove(&caller);
        asked.ok_or_else(|| format!("caller {caller} was answered before, or never asked"))
    }
}

impl Client {
    fn hear(&mut self, error: ErrorCode) {
        match error {
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.member_id = ByteString::new();
                self.next = Next::Join;
            }
            ErrorCode::CoordinatorNotAvailable if self.next == Next::Speak => {}
            _ => self.next = Next::Join,
        }
    }

    fn on_join_answer(&mut self, answer: &JoinAnswer) {
        self.waits_for = None;
        match answer {
            Ok(joined) => {
                self.member_id = joined.member_id.clone();
                self.joined = Some(joined.clone());
                self.next = Next::Sync;
            }
            Err(refused) if refused.error == ErrorCode::MemberIdRequired => {
                self.member_id = refused.member_id.clone();
            }
            Err(refused) => self.hear(refused.error),
        }
    }

    fn on_sync_answer(&mut self, answer: &SyncAnswer) {
        self.waits_for = None;
        match answer {
            Ok(_) => self.next = Next::Speak,
            Err(error) => self.hear(*error),
        }
    }
}
