//! How a voter comes to a cluster: a broker of its own founds one; of several voters the one with `--bootstrap` makes the
//! quorum once all are there and none belongs to a cluster, and the others wait until it calls them.
//!
//! ```text
//! ask every listed voter ─ all answer, none knows a cluster, all list the same ─▶ initialize ─▶ one leads ─▶ it founds
//!                        └ one knows a cluster ─▶ wait to be called, unless its quorum has this broker with another folder
//! ```
//! The new cluster's id is made of the voters' random ids: whoever founds, also after a crash half way, makes the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keylane_protocol::cluster::call::{DescribeQuorumAnswer, RegisterBrokerRequest};
use keylane_protocol::identifiers::{BrokerId, ClusterId};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::StartError;
use crate::config::{BrokerConfig, VoterAddress, show_voters};
use crate::controller::core::AskError;
use crate::controller::raft::{InitializeError, NodeId, Quorum, Voter};
use crate::controller::service::{self, ControllerHandle};
use crate::membership::Controllers;

/// How often a voter that waits looks around.
const PAUSE: Duration = Duration::from_millis(20);

/// How often voters that are not there are asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// How long a voter is waited for that is asked what it knows.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is said for whom the founding waits.
const SAY_INTERVAL: Duration = Duration::from_secs(5);

/// A voter on its way to a cluster.
pub(super) struct Founding<'a> {
    pub controller: &'a ControllerHandle,
    pub controllers: Controllers,
    pub config: &'a BrokerConfig,
    pub registration: &'a RegisterBrokerRequest,
    /// The id of the cluster to found, zero if it is to be made of the voters' ids; `None` for a member of a cluster.
    pub found: Option<ClusterId>,
    pub stopping: CancellationToken,
}

impl Founding<'_> {
    /// Returns once this voter has the metadata of a cluster.
    ///
    /// # Errors
    /// When it cannot be a voter of that cluster, or the broker is stopping.
    pub(super) async fn until_founded(self) -> Result<(), StartError> {
        let mut ask_next = Instant::now();
        let mut say_next = Instant::now();
        loop {
            let quorum = self.controller.quorum();
            let is_initialized = quorum.is_initialized().await.unwrap_or(false);
            if !is_initialized && self.found.is_none() {
                return Err(forgotten());
            }
            if is_initialized {
                self.check_membership(quorum)?;
                self.name_cluster(quorum);
            } else if Instant::now() >= ask_next {
                self.try_to_found(&mut say_next).await?;
                ask_next = Instant::now() + ASK_PAUSE;
            }
            if self.controller.view().image().1.cluster_id().is_some() {
                return Ok(());
            }
            self.found_if_leading(quorum).await?;
            tokio::select! {
                () = self.stopping.cancelled() => return Err(refused("the broker is stopping")),
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Checks that this voter's quorum is that of the configuration.
    fn check_membership(&self, quorum: &Quorum) -> Result<(), StartError> {
        let voters = quorum.voters();
        if voters.is_empty() {
            return Ok(());
        }
        let ids: BTreeSet<BrokerId> = voters.values().map(|voter| voter.broker_id).collect();
        let listed: BTreeSet<BrokerId> = self.own_list().iter().map(|voter| voter.id).collect();
        if ids == listed {
            return Ok(());
        }
        let addresses = voters.values().map(address).collect::<Vec<_>>();
        Err(refused(format!(
            "the voters of this broker's cluster are {}, and its configuration lists {}: give it the list of the \
             cluster; nothing was changed",
            show_voters(&addresses),
            show_voters(&self.own_list()),
        )))
    }

    /// Says which cluster a quorum is that this voter made before a crash.
    fn name_cluster(&self, quorum: &Quorum) {
        let voters = quorum.voters();
        if let Some(found) = self.found
            && self.founds()
            && quorum.cluster_id().is_none()
            && !voters.is_empty()
        {
            quorum.name_cluster(named(found, voters.keys()));
        }
    }

    async fn found_if_leading(&self, quorum: &Quorum) -> Result<(), StartError> {
        let (true, Some(cluster_id)) = (self.controller.leads(), quorum.cluster_id()) else {
            return Ok(());
        };
        match service::found(self.controller, cluster_id).await {
            Ok(()) => {
                info!(%cluster_id, "the cluster is founded");
                Ok(())
            }
            Err(AskError::NotController | AskError::Unknown | AskError::Busy) => Ok(()),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Makes the quorum, if this broker is to and all voters are there.
    async fn try_to_found(&self, say_next: &mut Instant) -> Result<(), StartError> {
        let quorum = self.controller.quorum();
        let mut nodes = BTreeMap::from([(self.config.id, quorum.node_id())]);
        let mut missing = Vec::new();
        let mut is_founded = false;
        for voter in self.others() {
            match self.controllers.describe(voter.id, ASK_TIMEOUT).await {
                Ok(answer) if answer.cluster_id == ClusterId::ZERO && answer.voters.is_empty() => {
                    self.check_list(voter, &answer)?;
                    nodes.insert(voter.id, answer.node_id);
                }
                Ok(answer) => {
                    self.check_others_quorum(&answer)?;
                    is_founded = true;
                }
                Err(fault) => missing.push(format!("{voter} ({fault})")),
            }
        }
        if !is_founded && missing.is_empty() && self.founds() {
            return self.make_quorum(quorum, &nodes).await;
        }
        if Instant::now() >= *say_next {
            *say_next = Instant::now() + SAY_INTERVAL;
            self.say(is_founded, &missing);
        }
        Ok(())
    }

    fn say(&self, is_founded: bool, missing: &[String]) {
        let missing = missing.join(", ");
        match (is_founded, self.founds()) {
            (true, _) => info!("waits until the cluster's voters call this one"),
            (false, true) => warn!(%missing, "founds the cluster when all its voters are there"),
            (false, false) => info!(
                %missing,
                "waits until the cluster is founded by the voter that was started with --bootstrap"
            ),
        }
    }

    async fn make_quorum(
        &self,
        quorum: &Quorum,
        nodes: &BTreeMap<BrokerId, NodeId>,
    ) -> Result<(), StartError> {
        let distinct: BTreeSet<NodeId> = nodes.values().copied().collect();
        if distinct.len() < nodes.len() {
            return Err(refused(
                "two of the listed voters run on copies of one data folder: give each a folder of its own",
            ));
        }
        let voters: BTreeMap<NodeId, Voter> = self
            .own_list()
            .into_iter()
            .map(|voter| {
                let node = nodes[&voter.id];
                let (broker_id, host, port) = (voter.id, voter.host, voter.port);
                let voter = Voter {
                    broker_id,
                    host,
                    port,
                };
                (node, voter)
            })
            .collect();
        quorum.name_cluster(named(self.found.unwrap_or_default(), voters.keys()));
        match quorum.initialize(voters).await {
            Ok(()) | Err(InitializeError::Exists) => Ok(()),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Checks that a voter without a cluster was given the same list.
    fn check_list(
        &self,
        voter: &VoterAddress,
        answer: &DescribeQuorumAnswer,
    ) -> Result<(), StartError> {
        let mut theirs: Vec<VoterAddress> = answer.listed.iter().map(listed).collect();
        let mut ours = self.own_list();
        theirs.sort();
        ours.sort();
        if theirs == ours {
            return Ok(());
        }
        Err(refused(format!(
            "the voter {voter} was started with the voters {}, and this broker with {}: give all brokers of the \
             cluster the same list; nothing was changed",
            show_voters(&theirs),
            show_voters(&ours),
        )))
    }

    /// Checks that this broker can be called by the quorum that another voter knows.
    fn check_others_quorum(&self, answer: &DescribeQuorumAnswer) -> Result<(), StartError> {
        if answer.voters.is_empty() {
            return Ok(());
        }
        let own = self.controller.quorum().node_id();
        let mut voters = answer.voters.iter();
        let Some(place) = voters.find(|voter| voter.broker_id == self.config.id) else {
            let voters: Vec<VoterAddress> = answer.voters.iter().map(listed).collect();
            return Err(refused(format!(
                "the cluster {} exists, and its voters are {}: this broker is none of them; leave it out of its \
                 list of voters",
                answer.cluster_id,
                show_voters(&voters),
            )));
        };
        if place.node_id == own {
            return Ok(());
        }
        Err(refused(format!(
            "the cluster {} knows this broker as a voter with another data folder: start it with that one; a voter \
             that has lost its folder must not vote as if it had it",
            answer.cluster_id,
        )))
    }

    /// Returns whether this broker makes the quorum.
    fn founds(&self) -> bool {
        self.config.bootstrap || self.config.voters.is_empty()
    }

    fn others(&self) -> impl Iterator<Item = &VoterAddress> {
        let voters = self.config.voters.iter();
        voters.filter(|voter| voter.id != self.config.id)
    }

    /// Returns the voters of the configuration; a broker of its own is its only one.
    fn own_list(&self) -> Vec<VoterAddress> {
        if !self.config.voters.is_empty() {
            return self.config.voters.clone();
        }
        vec![VoterAddress {
            id: self.registration.broker_id,
            host: self.registration.internal_host.to_string(),
            port: u16::try_from(self.registration.internal_port).unwrap_or(0),
        }]
    }
}

fn refused(reason: impl Into<String>) -> StartError {
    StartError::Refused {
        reason: reason.into(),
    }
}

fn forgotten() -> StartError {
    refused(
        "the data folder belongs to a cluster, but what it held of the cluster's metadata (its folder \
         'controller') is gone: a lone broker needs its data folder from a backup; where there are other voters, they \
         go on without this one, which must not vote as if it had kept what it promised; nothing was changed",
    )
}

fn address(voter: &Voter) -> VoterAddress {
    VoterAddress {
        id: voter.broker_id,
        host: voter.host.clone(),
        port: voter.port,
    }
}

fn listed(voter: &keylane_protocol::cluster::call::Voter) -> VoterAddress {
    VoterAddress {
        id: voter.broker_id,
        host: voter.internal_host.to_string(),
        port: u16::try_from(voter.internal_port).unwrap_or(0),
    }
}

/// Returns the id to found a cluster under: the given one, or if that is zero one made of the voters' ids.
fn named<'a>(given: ClusterId, nodes: impl Iterator<Item = &'a NodeId>) -> ClusterId {
    if given != ClusterId::ZERO {
        return given;
    }
    let mut nodes: Vec<NodeId> = nodes.copied().collect();
    nodes.sort_unstable();
    let (mut high, mut low) = (0_u64, 0_u64);
    for node in nodes {
        high = mixed(high ^ node);
        low = mixed(low.rotate_left(32) ^ !node);
    }
    ClusterId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

/// Spreads what differs in a number over all of its bits (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_by_its_voters_alone() {
        let name = |nodes: &[NodeId]| named(ClusterId::ZERO, nodes.iter());
        assert_eq!(name(&[1, 2, 3]), name(&[3, 1, 2]));
        assert_ne!(name(&[1, 2, 3]), name(&[1, 2, 4]));
        assert_ne!(name(&[1]), ClusterId::ZERO);
        let kept = ClusterId([7; 16]);
        assert_eq!(named(kept, [1, 2].iter()), kept);
    }
}
