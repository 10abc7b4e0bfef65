//! Voters in one process, on simulated disks, over a network of function calls that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::{BrokerId, ClusterId};
use tokio::time::{Instant, sleep};

use super::message::{Answer, Call, Request};
use super::store::{Store, StoreError, StoreSettings};
use super::{
    ChangeError, ConfirmError, InitializeError, NodeId, PeerError, Peers, ProposeError, Quorum,
    QuorumSettings, Replica, RestoreError, Stopped, Voter,
};
use crate::disk::Disk;
use crate::disk::simulated::{Fault, SimulatedDisk};

const CLUSTER: ClusterId = ClusterId([9; 16]);
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> QuorumSettings {
    QuorumSettings {
        cluster_id: Some(CLUSTER),
        heartbeat: Duration::from_millis(60),
        election_min: Duration::from_millis(250),
        election_max: Duration::from_millis(500),
        answer_timeout: Duration::from_secs(3),
        snapshot_timeout: Duration::from_secs(2),
        snapshot_after_entries: 20,
        tend_interval: Duration::from_millis(50),
        ..QuorumSettings::default()
    }
}

/// What was applied, in order.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(u64, Bytes)>>>);

impl Kept {
    fn payloads(&self) -> Vec<Bytes> {
        let applied = self.0.lock().expect("not poisoned");
        applied.iter().map(|(_, payload)| payload.clone()).collect()
    }
}

impl Replica for Kept {
    fn apply(&mut self, index: u64, payload: &Bytes) {
        let mut applied = self.0.lock().expect("not poisoned");
        assert!(applied.last().is_none_or(|(last, _)| *last < index));
        applied.push((index, payload.clone()));
    }

    fn snapshot(&self) -> Bytes {
        let mut image = BytesMut::new();
        for (index, payload) in &*self.0.lock().expect("not poisoned") {
            image.put_u64(*index);
            image.put_u64(payload.len() as u64);
            image.put_slice(payload);
        }
        image.freeze()
    }

    fn restore(&mut self, _index: u64, image: &Bytes) -> Result<(), RestoreError> {
        let mut image = image.clone();
        let mut applied = Vec::new();
        while image.has_remaining() {
            let index = image.get_u64();
            let length = usize::try_from(image.get_u64()).expect("small");
            applied.push((index, image.split_to(length)));
        }
        *self.0.lock().expect("not poisoned") = applied;
        Ok(())
    }
}

/// The network: who listens at which port, and between whom nothing passes.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<WireState>>);

#[derive(Default)]
struct WireState {
    listening: BTreeMap<u16, Arc<Quorum>>,
    cut: BTreeSet<u16>,
    /// How many each was sent.
    snapshot_chunks: BTreeMap<u16, usize>,
}

impl Wire {
    fn cut(&self, port: u16) {
        self.0.lock().expect("not poisoned").cut.insert(port);
    }

    fn heal(&self) {
        self.0.lock().expect("not poisoned").cut.clear();
    }

    fn snapshot_chunks(&self, port: u16) -> usize {
        let state = self.0.lock().expect("not poisoned");
        state.snapshot_chunks.get(&port).copied().unwrap_or(0)
    }
}

struct End {
    wire: Wire,
    port: u16,
}

impl Peers for End {
    async fn call(&self, voter: &Voter, call: Bytes, _: Duration) -> Result<Bytes, PeerError> {
        let listener = {
            let mut state = self.wire.0.lock().expect("not poisoned");
            let is_cut = state.cut.contains(&self.port) || state.cut.contains(&voter.port);
            let listener = state.listening.get(&voter.port).filter(|_| !is_cut);
            let listener = listener.cloned();
            let decoded = Call::decode(call.clone()).expect("ours are sound");
            if listener.is_some() && matches!(decoded.request, Request::Snapshot(_)) {
                *state.snapshot_chunks.entry(voter.port).or_default() += 1;
            }
            listener
        };
        match listener {
            Some(listener) => Ok(listener.answer(call).await),
            None => Err(PeerError::Unreachable {
                reason: "nobody listens".to_owned(),
            }),
        }
    }
}

fn open(disk: &SimulatedDisk, port: u16) -> Result<Store, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let fresh = 0xa000 + u64::from(port);
    let settings = StoreSettings {
        segment_bytes: 4096,
    };
    Store::open(&disk, Path::new("/"), fresh, settings)
}

struct Node {
    disk: SimulatedDisk,
    id: NodeId,
    voter: Voter,
    kept: Kept,
    quorum: Option<Arc<Quorum>>,
}

impl Node {
    fn quorum(&self) -> &Quorum {
        self.quorum.as_ref().expect("it runs")
    }
}

struct Voters {
    wire: Wire,
    nodes: Vec<Node>,
}

impl Voters {
    async fn start(count: u16) -> Self {
        let mut voters = Self {
            wire: Wire::default(),
            nodes: Vec::new(),
        };
        for port in 1..=count {
            voters.nodes.push(Node {
                disk: SimulatedDisk::new(u64::from(port)),
                id: 0,
                voter: Voter {
                    broker_id: BrokerId(i32::from(port)),
                    host: "localhost".to_owned(),
                    port,
                },
                kept: Kept::default(),
                quorum: None,
            });
            voters.run(usize::from(port) - 1).await;
        }
        voters
    }

    /// Starts a node from what is on its disk.
    async fn run(&mut self, nth: usize) {
        let wire = self.wire.clone();
        let node = &mut self.nodes[nth];
        let port = node.voter.port;
        let store = open(&node.disk, port).expect("it opens");
        node.id = store.node_id();
        node.kept = Kept::default();
        let end = End {
            wire: wire.clone(),
            port,
        };
        let quorum = Quorum::start(store, node.kept.clone(), end, settings()).await;
        let quorum = Arc::new(quorum.expect("it starts"));
        node.quorum = Some(Arc::clone(&quorum));
        let mut state = wire.0.lock().expect("not poisoned");
        state.listening.insert(port, quorum);
    }

    /// Stops a node; with `power`, its disk forgets what was not synced.
    async fn stop(&mut self, nth: usize, power: bool) {
        let node = &mut self.nodes[nth];
        let quorum = node.quorum.take().expect("it runs");
        let state = &self.wire.0;
        let port = node.voter.port;
        state.lock().expect("not poisoned").listening.remove(&port);
        quorum.stop().await;
        if power {
            node.disk.restart();
        }
    }

    fn addresses(&self, nths: &[usize]) -> BTreeMap<NodeId, Voter> {
        let nodes = nths.iter().map(|nth| &self.nodes[*nth]);
        nodes.map(|node| (node.id, node.voter.clone())).collect()
    }

    /// Waits until a node that runs and is not cut off is ready to lead.
    async fn leader(&self) -> usize {
        let started = Instant::now();
        loop {
            for (nth, node) in self.nodes.iter().enumerate() {
                let is_cut = {
                    let state = self.wire.0.lock().expect("not poisoned");
                    state.cut.contains(&node.voter.port)
                };
                if let Some(quorum) = node.quorum.as_ref().filter(|_| !is_cut)
                    && quorum.leadership().borrow().is_ready
                    && quorum.confirm().await.is_ok()
                {
                    return nth;
                }
            }
            assert!(started.elapsed() < PATIENCE, "nobody leads");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Proposes until it is known to be applied. What is unknown may be there twice.
    async fn propose(&self, payload: &str) -> usize {
        loop {
            let leader = self.leader().await;
            let payload = Bytes::copy_from_slice(payload.as_bytes());
            if self.nodes[leader].quorum().propose(payload).await.is_ok() {
                return leader;
            }
        }
    }

    async fn wait_until_kept(&self, nth: usize, last: &str) {
        let started = Instant::now();
        while self.nodes[nth]
            .kept
            .payloads()
            .last()
            .is_none_or(|kept| kept != last)
        {
            assert!(started.elapsed() < PATIENCE, "{nth} never applied {last}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop_all(mut self) {
        for nth in 0..self.nodes.len() {
            if self.nodes[nth].quorum.is_some() {
                self.stop(nth, false).await;
            }
        }
    }
}

async fn three() -> Voters {
    let voters = Voters::start(3).await;
    let addresses = voters.addresses(&[0, 1, 2]);
    let first = voters.nodes[0].quorum();
    first.initialize(addresses).await.expect("it begins");
    voters
}

#[tokio::test]
async fn a_lone_voter_leads_proposes_and_finds_everything_again_after_a_power_cut() {
    let mut voters = Voters::start(1).await;
    let quorum = voters.nodes[0].quorum();
    assert!(!quorum.is_initialized().await.expect("it runs"));
    let addresses = voters.addresses(&[0]);
    quorum
        .initialize(addresses.clone())
        .await
        .expect("it begins");
    assert_eq!(
        quorum.initialize(addresses).await,
        Err(InitializeError::Exists)
    );
    for number in 0..70 {
        voters.propose(&format!("entry {number}")).await;
    }
    let before = voters.nodes[0].kept.payloads();
    assert_eq!(before.len(), 70);
    assert!(voters.nodes[0].quorum().acknowledged_ago() < Some(Duration::from_millis(1)));
    voters.stop(0, true).await;
    voters.run(0).await;
    voters.leader().await;
    assert_eq!(voters.nodes[0].kept.payloads(), before);
    voters.propose("after").await;
    voters.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_leader_costs_nothing_and_it_catches_up_by_snapshot() {
    let mut voters = three().await;
    let first = voters.propose("one").await;
    for nth in 0..3 {
        voters.wait_until_kept(nth, "one").await;
    }
    voters.stop(first, true).await;
    let started = Instant::now();
    let second = voters.propose("two").await;
    assert_ne!(first, second);
    assert!(started.elapsed() < Duration::from_secs(10));
    // So many that the entries which the first one lacks are in snapshots only.
    for number in 0..400 {
        voters.propose(&format!("entry {number}")).await;
    }
    let port = voters.nodes[first].voter.port;
    let chunks = voters.wire.snapshot_chunks(port);
    voters.run(first).await;
    voters.wait_until_kept(first, "entry 399").await;
    let more = voters.wire.snapshot_chunks(port) > chunks;
    assert!(more, "no snapshot was sent");
    let all: Vec<_> = voters
        .nodes
        .iter()
        .map(|node| node.kept.payloads())
        .collect();
    assert_eq!(all[first], all[second]);
    // What was installed is there after a power cut of everything.
    for nth in 0..3 {
        voters.stop(nth, true).await;
    }
    for nth in 0..3 {
        voters.run(nth).await;
    }
    voters.propose("the end").await;
    voters.wait_until_kept(first, "the end").await;
    let kept = voters.nodes[first].kept.payloads();
    assert_eq!(kept[..kept.len() - 1], all[first]);
    voters.stop_all().await;
}

/// openraft's order of calls, which the store's own tests only imitate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_starts_again_wherever_the_installation_of_a_snapshot_is_cut() {
    let mut voters = three().await;
    let leader = voters.propose("one").await;
    let late = (leader + 1) % 3;
    voters.wait_until_kept(late, "one").await;
    voters.stop(late, true).await;
    // So many that the entries which the late one lacks are in snapshots only.
    for number in 0..150 {
        voters.propose(&format!("entry {number}")).await;
    }
    let port = voters.nodes[late].voter.port;
    let chunks = voters.wire.snapshot_chunks(port);
    let refused = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&refused);
    voters.nodes[late].disk.visit(move |moment| {
        let operation = moment.operation();
        let cut = moment.power_cut(operation);
        cut.restart();
        for disk in [cut, moment.failed()] {
            if let Err(error) = open(&disk, port) {
                let mut noted = noted.lock().expect("not poisoned");
                noted.push(format!("operation {operation}: {error}"));
            }
        }
    });
    voters.run(late).await;
    voters.wait_until_kept(late, "entry 149").await;
    let more = voters.wire.snapshot_chunks(port) > chunks;
    assert!(more, "no snapshot was sent");
    voters.stop_all().await;
    let refused = refused.lock().expect("not poisoned");
    assert!(refused.is_empty(), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_can_see_it_and_is_replaced() {
    let voters = three().await;
    let cut_off = voters.propose("one").await;
    let leader = &voters.nodes[cut_off];
    let followed = leader.quorum().acknowledged_ago().expect("it leads");
    assert!(followed < settings().election_min, "{followed:?}");
    voters.wire.cut(leader.voter.port);
    sleep(settings().election_min + Duration::from_millis(50)).await;
    let alone = leader.quorum().acknowledged_ago();
    assert!(
        alone.is_none_or(|alone| alone > settings().election_min),
        "{alone:?}"
    );
    assert_eq!(leader.quorum().confirm().await, Err(ConfirmError::NoQuorum));
    let lost = leader.quorum().propose(Bytes::from_static(b"lost")).await;
    assert_eq!(lost, Err(ProposeError::Unknown));
    let other = voters.propose("two").await;
    assert_ne!(other, cut_off);
    voters.wire.heal();
    voters.wait_until_kept(cut_off, "two").await;
    let kept = leader.kept.payloads();
    assert_eq!(kept, ["one", "two"], "what was not agreed on is gone");
    let refused = leader.quorum().propose(Bytes::new()).await;
    let ProposeError::NotLeader {
        leader: Some((id, _)),
    } = refused.expect_err("it follows")
    else {
        panic!("it does not know who leads");
    };
    assert_eq!(id, voters.nodes[other].id);
    voters.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voter_becomes_three_in_one_change_and_never_two() {
    let voters = Voters::start(3).await;
    let first = voters.nodes[0].quorum();
    let alone = voters.addresses(&[0]);
    first.initialize(alone).await.expect("it begins");
    for number in 0..50 {
        voters.propose(&format!("entry {number}")).await;
    }
    let one_more = first.add_voters(voters.addresses(&[1])).await;
    assert!(
        matches!(one_more, Err(ChangeError::Unlawful { .. })),
        "{one_more:?}"
    );
    assert_eq!(first.voters().len(), 1);
    first
        .add_voters(voters.addresses(&[1, 2]))
        .await
        .expect("added");
    assert_eq!(first.voters(), voters.addresses(&[0, 1, 2]));
    // Asking again changes nothing.
    first
        .add_voters(voters.addresses(&[1, 2]))
        .await
        .expect("added");
    voters.propose("three").await;
    for nth in 0..3 {
        voters.wait_until_kept(nth, "three").await;
        assert_eq!(voters.nodes[nth].kept.payloads().len(), 51);
    }
    // The first is not needed any more.
    voters.wire.cut(voters.nodes[0].voter.port);
    assert_ne!(voters.propose("without the first").await, 0);
    voters.wire.heal();
    voters.stop_all().await;
}

#[tokio::test]
async fn voters_that_cannot_be_reached_do_not_vote_and_stop_nobody() {
    let voters = Voters::start(1).await;
    let quorum = voters.nodes[0].quorum();
    quorum
        .initialize(voters.addresses(&[0]))
        .await
        .expect("it begins");
    voters.propose("one").await;
    let nowhere = |port| Voter {
        broker_id: BrokerId(i32::from(port)),
        host: "nowhere".to_owned(),
        port,
    };
    let strangers = BTreeMap::from([(50, nowhere(50)), (51, nowhere(51))]);
    let added = quorum.add_voters(strangers).await;
    assert_eq!(added, Err(ChangeError::Unknown));
    assert_eq!(quorum.voters(), voters.addresses(&[0]));
    voters.propose("two").await;
    let removed = quorum
        .change_voters(BTreeMap::new(), &[50, 51].into())
        .await;
    removed.expect("they follow no more");
    voters.propose("three").await;
    let everybody = [quorum.node_id()].into();
    let nobody = quorum.change_voters(BTreeMap::new(), &everybody).await;
    assert!(matches!(nobody, Err(ChangeError::Unlawful { .. })));
    voters.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_lost_its_disk_is_replaced_by_a_new_one_and_a_moved_one_is_found() {
    let mut voters = three().await;
    let leader = voters.propose("one").await;
    let (lost, moved) = ((leader + 1) % 3, (leader + 2) % 3);
    voters.stop(lost, true).await;
    let old = voters.nodes[lost].id;
    voters.nodes[lost].disk = SimulatedDisk::new(99);
    voters.nodes[lost].voter.port = 7;
    voters.run(lost).await;
    assert_ne!(voters.nodes[lost].id, old);
    let quorum = voters.nodes[leader].quorum();
    let new = voters.addresses(&[lost]);
    let removed = quorum.change_voters(new, &[old].into()).await;
    removed.expect("it is replaced");
    assert_eq!(quorum.voters(), voters.addresses(&[0, 1, 2]));
    voters.propose("two").await;
    voters.wait_until_kept(lost, "two").await;
    voters.stop(moved, false).await;
    voters.nodes[moved].voter.port = 8;
    voters.run(moved).await;
    let node = &voters.nodes[moved];
    let leader = voters.leader().await;
    let quorum = voters.nodes[leader].quorum();
    let followed = quorum.move_member(node.id, node.voter.clone()).await;
    followed.expect("the other two agree");
    voters.propose("three").await;
    voters.wait_until_kept(moved, "three").await;
    let nobody = quorum.move_member(5, node.voter.clone()).await;
    assert!(matches!(nobody, Err(ChangeError::Unlawful { .. })));
    voters.stop_all().await;
}

/// Draws numbers that repeat for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.below(3)).expect("small")
    }
}

/// Power cuts in the middle of anything, and cut wires: what was answered by an index is there, in order, everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_proposal_is_lost_whatever_fails() {
    let seed = 7;
    let mut dice = Dice(seed);
    let mut voters = three().await;
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for _ in 0..14 {
        let victim = dice.node();
        match dice.below(3) {
            0 => voters.wire.cut(voters.nodes[victim].voter.port),
            1 => {
                let disk = &voters.nodes[victim].disk;
                let operation = disk.operations() + 1 + dice.below(30);
                disk.plan(Fault::PowerCut { operation });
            }
            _ => {
                voters.stop(victim, true).await;
                voters.run(victim).await;
            }
        }
        let until = Instant::now() + Duration::from_millis(150 + dice.below(300));
        while Instant::now() < until {
            let proposer = dice.node();
            let quorum = voters.nodes[proposer].quorum();
            let payload = Bytes::from(format!("{number}"));
            let proposed = quorum.propose(payload.clone());
            let proposed = tokio::time::timeout(Duration::from_millis(100), proposed).await;
            if let Ok(Ok(index)) = proposed {
                acknowledged.push((index, payload));
            } else {
                sleep(Duration::from_millis(10)).await;
            }
            number += 1;
        }
        voters.wire.heal();
        for nth in 0..3 {
            if voters.nodes[nth].quorum().failure().borrow().is_some() {
                voters.stop(nth, true).await;
                voters.run(nth).await;
            }
        }
    }
    for nth in 0..3 {
        voters.stop(nth, true).await;
        voters.run(nth).await;
    }
    voters.propose("the end").await;
    for nth in 0..3 {
        voters.wait_until_kept(nth, "the end").await;
        let kept = voters.nodes[nth]
            .kept
            .0
            .lock()
            .expect("not poisoned")
            .clone();
        let kept: BTreeMap<_, _> = kept.into_iter().collect();
        for (index, payload) in &acknowledged {
            assert_eq!(kept.get(index), Some(payload), "{nth}, seed {seed}");
        }
    }
    assert!(acknowledged.is_sorted(), "an index went back, seed {seed}");
    assert!(
        acknowledged.len() > 50,
        "only {} were acknowledged",
        acknowledged.len()
    );
    voters.stop_all().await;
}

#[tokio::test]
async fn a_call_for_another_voter_or_cluster_is_refused() {
    let voters = Voters::start(1).await;
    let quorum = voters.nodes[0].quorum();
    let id = quorum.node_id();
    let request = || {
        Request::Vote(openraft::raft::VoteRequest::new(
            super::Vote::new(9, 7),
            None,
        ))
    };
    for (cluster_id, to) in [(CLUSTER, id + 1), (ClusterId([1; 16]), id)] {
        let call = Call {
            cluster_id,
            to,
            request: request(),
        };
        let answer = Answer::decode(quorum.answer(call.encode()).await);
        assert_eq!(
            answer,
            Ok(Answer::Misaddressed {
                cluster_id: CLUSTER,
                node_id: id,
            })
        );
    }
    assert!(!quorum.is_initialized().await.expect("it runs"));
    let nonsense = quorum.answer(Bytes::from_static(b"nonsense")).await;
    assert_eq!(Answer::decode(nonsense), Ok(Answer::NotUnderstood));
    voters.stop_all().await;
}

#[tokio::test]
async fn a_stopped_quorum_says_so_and_holds_no_file() {
    let mut voters = Voters::start(1).await;
    let quorum = Arc::clone(voters.nodes[0].quorum.as_ref().expect("it runs"));
    quorum
        .initialize(voters.addresses(&[0]))
        .await
        .expect("it begins");
    voters.propose("one").await;
    voters.stop(0, false).await;
    let refused = quorum.propose(Bytes::from_static(b"two")).await;
    assert!(matches!(
        refused,
        Err(ProposeError::Stopped | ProposeError::NotLeader { .. })
    ));
    assert_eq!(quorum.confirm().await, Err(ConfirmError::Stopped));
    assert_eq!(quorum.is_initialized().await, Err(Stopped));
    quorum.stop().await;
    voters.run(0).await;
    voters.propose("two").await;
    assert_eq!(voters.nodes[0].kept.payloads(), ["one", "two"]);
    voters.stop_all().await;
}

#[tokio::test]
async fn too_large_a_proposal_is_refused_and_harms_nobody() {
    let voters = Voters::start(1).await;
    let quorum = voters.nodes[0].quorum();
    quorum
        .initialize(voters.addresses(&[0]))
        .await
        .expect("it begins");
    voters.propose("one").await;
    let bytes = crate::limits::RAFT_ENTRY_BYTES_MAX + 1;
    let refused = quorum.propose(Bytes::from(vec![0; bytes])).await;
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes }));
    let largest = quorum.propose(Bytes::from(vec![0; bytes - 1])).await;
    largest.expect("it is applied");
    voters.stop_all().await;
}

#[tokio::test]
async fn a_failed_sync_ends_the_voter_and_says_so() {
    let voters = Voters::start(1).await;
    let node = &voters.nodes[0];
    let quorum = node.quorum();
    quorum
        .initialize(voters.addresses(&[0]))
        .await
        .expect("it begins");
    voters.propose("one").await;
    for more in 1..20 {
        let operation = node.disk.operations() + more;
        node.disk.plan(Fault::FailedSync { operation });
    }
    let lost = quorum.propose(Bytes::from_static(b"two")).await;
    assert_eq!(lost, Err(ProposeError::Unknown));
    let mut failure = quorum.failure();
    let failure = failure.wait_for(Option::is_some).await.expect("it is said");
    assert!(
        failure.as_ref().expect("a reason").contains("failed"),
        "{failure:?}"
    );
    drop(failure);
    assert!(!quorum.leadership().borrow().is_ready);
    assert!(quorum.propose(Bytes::new()).await.is_err());
    assert_eq!(node.kept.payloads(), ["one"]);
    voters.stop_all().await;
}
