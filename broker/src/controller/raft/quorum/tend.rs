//! What goes on beside a quorum: its leadership and failures are shown, its store is tended.

use openraft::{Raft, RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Leadership, QuorumSettings};
use crate::controller::raft::store::StoreError;
use crate::controller::raft::store::thread::{Condition, StoreThread};
use crate::controller::raft::types::{LogId, NodeId, Types, Voter};

type Metrics = RaftMetrics<NodeId, Voter>;

/// Shows who leads and whether the quorum has failed, until it ends.
pub(super) async fn follow(
    mut metrics: watch::Receiver<Metrics>,
    mut condition: watch::Receiver<Condition>,
    show: watch::Sender<Leadership>,
    fail: watch::Sender<Option<String>>,
) {
    let mut failure = None;
    while failure.is_none() {
        let leadership = {
            let metrics = metrics.borrow_and_update();
            failure = failure_of(&metrics, &condition.borrow_and_update());
            leadership_of(&metrics)
        };
        show.send_if_modified(|shown| {
            let is_new = *shown != leadership;
            *shown = leadership;
            is_new
        });
        let is_open = tokio::select! {
            changed = metrics.changed(), if failure.is_none() => changed.is_ok(),
            changed = condition.changed(), if failure.is_none() => changed.is_ok(),
            else => false,
        };
        if !is_open && failure.is_none() {
            break;
        }
    }
    show.send_modify(|shown| {
        shown.leader = None;
        shown.is_ready = false;
    });
    if let Some(reason) = failure {
        tracing::error!(reason, "the quorum has failed on this voter");
        fail.send_replace(Some(reason));
    }
}

fn failure_of(metrics: &Metrics, condition: &Condition) -> Option<String> {
    match (condition, &metrics.running_state) {
        (Condition::Failed(error), _) => Some(error.to_string()),
        (_, Err(openraft::error::Fatal::Stopped)) | (_, Ok(())) => None,
        (_, Err(error)) => Some(error.to_string()),
    }
}

fn leadership_of(metrics: &Metrics) -> Leadership {
    let members = metrics.membership_config.membership();
    let leader = metrics.current_leader;
    let own = metrics.last_applied.map(|applied| applied.leader_id);
    let is_running = metrics.running_state.is_ok();
    Leadership {
        leader: leader
            .filter(|_| is_running)
            .and_then(|id| Some((id, members.get_node(&id)?.clone()))),
        term: metrics.current_term,
        is_ready: is_running
            && metrics.state == ServerState::Leader
            && leader == Some(metrics.id)
            && own.is_some_and(|own| own.term == metrics.current_term && own.node_id == metrics.id),
    }
}

/// Seals a log that has become idle, and turns one that has grown into a snapshot, until the store ends.
pub(super) async fn tend(raft: Raft<Types>, store: StoreThread, settings: QuorumSettings) {
    let mut ticks = tokio::time::interval(settings.tend_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    let mut turned_bytes = 0;
    loop {
        ticks.tick().await;
        let Ok((found, bytes)) = look(&store, last).await else {
            return;
        };
        last = found;
        if bytes - turned_bytes >= settings.snapshot_after_bytes {
            turned_bytes = bytes;
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}

/// Returns the log's last entry and how much was appended; seals the log if the last entry is still the one given.
async fn look(
    store: &StoreThread,
    last: Option<LogId>,
) -> Result<(Option<LogId>, u64), StoreError> {
    let looked = store.run(move |store| {
        let found = store.bounds().last;
        if found == last {
            store.seal()?;
        }
        Ok((found, store.appended_bytes()))
    });
    looked.await
}
