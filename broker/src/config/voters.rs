//! Who votes on the cluster's metadata: the list that every broker of a cluster is given.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::config::{Faults, HOST_BYTES_MAX};
use keylane_protocol::identifiers::BrokerId;

use super::BrokerConfig;
use crate::limits::RAFT_MEMBERS_MAX;

/// How short and how long a session may be.
const SESSION_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(600);

/// A broker that votes, and where its internal listener is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoterAddress {
    /// The broker's id.
    pub id: BrokerId,
    /// A host name or IP address that all brokers can reach.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text names no voter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a voter: give ID@HOST:PORT, the port being that of its internal listener")]
pub struct InvalidVoter {
    /// The text found.
    pub text: String,
}

impl FromStr for VoterAddress {
    type Err = InvalidVoter;

    fn from_str(text: &str) -> Result<Self, InvalidVoter> {
        let parsed = || {
            let (id, address) = text.split_once('@')?;
            let endpoint: Endpoint = address.parse().ok()?;
            let host = endpoint.host.to_string();
            let is_host = host.len() <= HOST_BYTES_MAX && !host.contains('@');
            is_host.then_some(Self {
                id: BrokerId(id.parse().ok()?),
                host,
                port: endpoint.port,
            })
        };
        parsed().ok_or_else(|| InvalidVoter {
            text: text.to_owned(),
        })
    }
}

/// Shows `id@host:port`, with an IPv6 address in brackets.
impl fmt::Display for VoterAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, host, port } = self;
        if host.contains(':') {
            write!(formatter, "{id}@[{host}]:{port}")
        } else {
            write!(formatter, "{id}@{host}:{port}")
        }
    }
}

/// Shows a list of voters as it is configured.
pub(crate) fn show(voters: &[VoterAddress]) -> String {
    let texts: Vec<String> = voters.iter().map(ToString::to_string).collect();
    texts.join(",")
}

impl BrokerConfig {
    /// Returns whether this broker votes on the metadata: a broker of its own always does.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.voters.is_empty() || self.own_voter().is_some()
    }

    /// Returns where the list says that this broker is; `None` if it is not in it.
    #[must_use]
    pub fn own_voter(&self) -> Option<&VoterAddress> {
        self.voters.iter().find(|voter| voter.id == self.id)
    }

    pub(super) fn validate_voters(&self, faults: &mut Faults) {
        let mut fault = |text: String| faults.add("voters", text);
        let ids: BTreeSet<BrokerId> = self.voters.iter().map(|voter| voter.id).collect();
        let places: BTreeSet<(&str, u16)> = self
            .voters
            .iter()
            .map(|voter| (voter.host.as_str(), voter.port))
            .collect();
        if ids.len() < self.voters.len() {
            fault("names a broker twice".to_owned());
        } else if places.len() < self.voters.len() {
            fault("names an address twice".to_owned());
        }
        if let Some(id) = ids.iter().find(|id| !id.is_broker()) {
            fault(format!("a broker's id is from 1 to 999999, not {id}"));
        }
        match self.voters.len() {
            2 => fault(
                "two voters are worse than one, for both must be there: name one, three or five"
                    .to_owned(),
            ),
            count if count > RAFT_MEMBERS_MAX => {
                fault(format!("at most {RAFT_MEMBERS_MAX} voters, not {count}"));
            }
            _ => {}
        }
        if self.bootstrap && !self.voters.is_empty() && self.own_voter().is_none() {
            faults.add(
                "bootstrap",
                "only a voter founds a cluster: give it to one of those that voters names",
            );
        }
        if self.own_voter().is_some() && self.internal_listen.port() == 0 {
            faults.add(
                "internal_listen",
                "a voter is looked for at the port that voters names: listen there",
            );
        }
        if !SESSION_BOUNDS.contains(&self.session) {
            faults.add("session", "must be from 200 ms to 10 minutes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the faults of broker 9 with a listener that others can look for.
    fn faults(change: impl FnOnce(&mut BrokerConfig)) -> Vec<String> {
        let mut config = BrokerConfig::new("/data");
        config.id = BrokerId(9);
        config.internal_listen.set_port(1);
        change(&mut config);
        let checked = config.validate();
        let faults = checked.err().map_or(Vec::new(), |invalid| invalid.faults);
        faults.iter().map(ToString::to_string).collect()
    }

    fn voters(texts: &[&str]) -> Vec<VoterAddress> {
        let parse = |text: &&str| text.parse().expect("a voter");
        texts.iter().map(parse).collect()
    }

    #[test]
    fn a_voter_is_shown_as_it_is_read() {
        for text in ["1@a.example:7000", "999999@127.0.0.1:1", "3@[::1]:65535"] {
            let voter: VoterAddress = text.parse().expect("a voter");
            assert_eq!(voter.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_voter_is_said() {
        for text in [
            "",
            "1",
            "1@a",
            "1@a:0",
            "1@:9",
            "x@a:9",
            "1@a:70000",
            "1@b@a:9",
        ] {
            let refused = text.parse::<VoterAddress>().expect_err(text);
            assert!(refused.to_string().contains("give ID@HOST:PORT"));
        }
    }

    #[test]
    fn one_and_three_voters_are_possible_and_two_are_not() {
        assert!(faults(|config| config.voters = voters(&["9@a:1"])).is_empty());
        let three = ["9@a:1", "2@b:1", "3@c:1"];
        assert!(faults(|config| config.voters = voters(&three)).is_empty());
        let two = faults(|config| config.voters = voters(&three[..2]));
        assert_eq!(two.len(), 1);
        assert!(two[0].starts_with("voters: two voters"), "{two:?}");
    }

    #[test]
    fn a_broker_or_an_address_named_twice_is_a_fault() {
        for list in [["9@a:1", "9@b:1", "3@c:1"], ["9@a:1", "2@a:1", "3@c:1"]] {
            let twice = faults(|config| config.voters = voters(&list));
            assert_eq!(twice.len(), 1);
            assert!(twice[0].ends_with("twice"), "{twice:?}");
        }
    }

    #[test]
    fn a_voter_listens_where_it_is_looked_for() {
        let faults = faults(|config| {
            config.voters = voters(&["9@a:1"]);
            config.internal_listen.set_port(0);
        });
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("internal_listen: "), "{faults:?}");
    }

    #[test]
    fn who_does_not_vote_founds_nothing() {
        let faults = faults(|config| {
            config.voters = voters(&["8@a:1"]);
            config.bootstrap = true;
        });
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("bootstrap: only a voter"),
            "{faults:?}"
        );
    }
}
