//! The first two frames of a link: who dials, what both speak, and whether they belong together.
//!
//! ```text
//! dialer                                                              listener
//!   Hello { "KLNK", lowest..highest format, features, cluster?, who } ─▶
//!   ◀─ Welcome { format, features, cluster, broker, epoch, credit, … }   or Refused { reason, words }
//! ```
//! These three frames have the layout of format version 1 for ever; they grow by tagged fields. [`answer`] decides
//! for the listener, [`Hello::check`] for the dialer.

use bytestring::ByteString;

use super::Features;
use crate::identifiers::{BrokerId, ClusterId};
use crate::offset::BrokerEpoch;

/// What a Hello begins with: `KLNK`, so that whatever else dials is told apart.
pub const MAGIC: i32 = 0x4b4c_4e4b;

/// The format versions of frames that this crate speaks.
pub const FORMAT_VERSIONS: std::ops::RangeInclusive<i16> = 1..=1;

/// What the dialer of a link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A router: opens lanes, subscribes to metadata.
    #[default]
    Router,
    /// A broker: calls the controller, subscribes to metadata.
    Broker,
    /// A voter of the metadata quorum: calls other voters.
    Voter,
    /// A tool of the operator.
    Operator,
    /// A role this crate does not know.
    Other(i8),
}

impl Role {
    /// Returns the number on the wire.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Router => 0,
            Self::Broker => 1,
            Self::Voter => 2,
            Self::Operator => 3,
            Self::Other(code) => code,
        }
    }

    /// Returns the role of a number on the wire.
    #[must_use]
    pub const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Router,
            1 => Self::Broker,
            2 => Self::Voter,
            3 => Self::Operator,
            other => Self::Other(other),
        }
    }
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The dialer does not speak this protocol.
    #[default]
    NotALink,
    /// No format version is spoken by both.
    FormatVersion,
    /// The dialer belongs to another cluster.
    OtherCluster,
    /// The dialer reached another broker than the one it looks for.
    OtherBroker,
    /// The listener serves no link now, for instance while it starts or stops.
    Unavailable,
    /// The listener has as many links as it may have.
    TooManyLinks,
    /// The role may not dial this listener.
    Role,
    /// A reason this crate does not know; the words say it.
    Other(i16),
}

impl Refusal {
    /// Returns the number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::NotALink => 0,
            Self::FormatVersion => 1,
            Self::OtherCluster => 2,
            Self::OtherBroker => 3,
            Self::Unavailable => 4,
            Self::TooManyLinks => 5,
            Self::Role => 6,
            Self::Other(code) => code,
        }
    }

    /// Returns the reason of a number on the wire.
    #[must_use]
    pub const fn from_code(code: i16) -> Self {
        match code {
            0 => Self::NotALink,
            1 => Self::FormatVersion,
            2 => Self::OtherCluster,
            3 => Self::OtherBroker,
            4 => Self::Unavailable,
            5 => Self::TooManyLinks,
            6 => Self::Role,
            other => Self::Other(other),
        }
    }
}

message! {
    /// The dialer's first frame.
    pub struct Hello {
        /// [`MAGIC`].
        magic: i32 = MAGIC,
        /// The oldest format the dialer speaks.
        format_version_min: i16 = *FORMAT_VERSIONS.start(),
        /// The newest format the dialer speaks.
        format_version_max: i16 = *FORMAT_VERSIONS.end(),
        /// What else the dialer is able to do.
        features: Features,
        /// The cluster the dialer belongs to; zero if it has not been bound to one.
        cluster_id: ClusterId,
        /// What the dialer is.
        role: Role,
        /// The dialer's id; -1 if it has none.
        node_id: BrokerId = BrokerId::NONE,
        /// The dialer's id in the metadata quorum; 0 if it has none.
        raft_node_id: u64,
        /// The broker the dialer looks for; -1 if any will do.
        wanted_broker_id: BrokerId = BrokerId::NONE,
        /// The dialer's name for logs.
        name: ByteString,
    }
}

message! {
    /// The listener takes the link.
    pub struct Welcome {
        /// The format both use from here on.
        format_version: i16 = *FORMAT_VERSIONS.end(),
        /// What both are able to do.
        features: Features,
        /// The cluster the broker belongs to; zero if it has not been bound to one.
        cluster_id: ClusterId,
        /// The broker's id; -1 if it has not got one.
        broker_id: BrokerId = BrokerId::NONE,
        /// The broker's id in the metadata quorum; 0 if it has none.
        raft_node_id: u64,
        /// The epoch of the broker's registration; -1 if it is not registered.
        broker_epoch: BrokerEpoch = BrokerEpoch::NONE,
        /// The append bytes the dialer may send to begin with.
        credit_bytes: u32,
        /// The broker's name for logs.
        name: ByteString,
    }
    tagged {
        /// The largest batch of a topic that has no bound of its own, in bytes; 0 if the broker does not say.
        0: message_bytes_max: u32 [..] = 0,
    }
}

message! {
    /// The listener does not take the link, and closes it.
    pub struct Refused {
        /// Why.
        reason: Refusal,
        /// The same for people.
        words: ByteString,
    }
}

/// Answers a Hello on behalf of a listener that would send `welcome`.
///
/// # Errors
/// The refusal to send when the two do not belong together.
pub fn answer(hello: &Hello, welcome: &Welcome) -> Result<Welcome, Refused> {
    let refused = |reason, words: String| Refused {
        reason,
        words: words.into(),
    };
    if hello.magic != MAGIC {
        let words = "this is an internal listener; clients dial a router or a client listener";
        return Err(refused(Refusal::NotALink, words.to_owned()));
    }
    let (oldest, newest) = (*FORMAT_VERSIONS.start(), *FORMAT_VERSIONS.end());
    let format_version = newest.min(hello.format_version_max);
    if format_version < oldest.max(hello.format_version_min) {
        let words = format!(
            "{} speaks link formats {} to {}, this broker {oldest} to {newest}",
            hello.name, hello.format_version_min, hello.format_version_max
        );
        return Err(refused(Refusal::FormatVersion, words));
    }
    let (theirs, ours) = (hello.cluster_id, welcome.cluster_id);
    if are_others(theirs, ours) {
        let words = format!(
            "{} belongs to cluster {theirs}, this broker to cluster {ours}",
            hello.name
        );
        return Err(refused(Refusal::OtherCluster, words));
    }
    let wanted = hello.wanted_broker_id;
    if wanted != BrokerId::NONE && wanted != welcome.broker_id {
        let words = format!(
            "{} looks for broker {wanted}, this is broker {}",
            hello.name, welcome.broker_id
        );
        return Err(refused(Refusal::OtherBroker, words));
    }
    Ok(Welcome {
        format_version,
        features: welcome.features.common(hello.features),
        ..welcome.clone()
    })
}

/// Returns whether both sides are bound to a cluster, and not to the same.
fn are_others(theirs: ClusterId, ours: ClusterId) -> bool {
    theirs != ClusterId::ZERO && ours != ClusterId::ZERO && theirs != ours
}

/// A Welcome that does not fit the Hello it answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitWelcome {
    /// The format version was not offered.
    #[error("the listener chose link format {chosen}, which was not offered")]
    FormatVersion {
        /// The version chosen.
        chosen: i16,
    },
    /// The broker belongs to another cluster.
    #[error("the broker belongs to cluster {theirs}, this node to cluster {ours}")]
    OtherCluster {
        /// The broker's cluster.
        theirs: ClusterId,
        /// The dialer's.
        ours: ClusterId,
    },
    /// Another broker answered.
    #[error("broker {wanted} was looked for, broker {found} answered")]
    OtherBroker {
        /// The broker looked for.
        wanted: BrokerId,
        /// The broker that answered.
        found: BrokerId,
    },
}

impl Hello {
    /// Checks that a Welcome answers this Hello.
    ///
    /// # Errors
    /// When it does not; the link must then be closed.
    pub fn check(&self, welcome: &Welcome) -> Result<(), UnfitWelcome> {
        let offered = self.format_version_min..=self.format_version_max;
        let chosen = welcome.format_version;
        if !offered.contains(&chosen) {
            return Err(UnfitWelcome::FormatVersion { chosen });
        }
        let (theirs, ours) = (welcome.cluster_id, self.cluster_id);
        if are_others(theirs, ours) {
            return Err(UnfitWelcome::OtherCluster { theirs, ours });
        }
        let (wanted, found) = (self.wanted_broker_id, welcome.broker_id);
        if wanted != BrokerId::NONE && wanted != found {
            return Err(UnfitWelcome::OtherBroker { wanted, found });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: ClusterId = ClusterId([7; 16]);
    const RED: ClusterId = ClusterId([8; 16]);

    fn welcome() -> Welcome {
        Welcome {
            features: Features(0b110),
            cluster_id: BLUE,
            broker_id: BrokerId(3),
            ..Welcome::default()
        }
    }

    fn hello() -> Hello {
        Hello {
            features: Features(0b011),
            name: "router-1".into(),
            ..Hello::default()
        }
    }

    #[test]
    fn an_unbound_dialer_is_welcomed_and_told_the_cluster() {
        let answered = answer(&hello(), &welcome()).expect("welcome");
        assert_eq!(answered.features, Features(0b010));
        assert_eq!(answered.cluster_id, BLUE);
        assert_eq!(hello().check(&answered), Ok(()));
    }

    #[test]
    fn what_does_not_belong_together_is_refused_in_words() {
        let cases = [
            (
                Hello {
                    magic: 0,
                    ..hello()
                },
                "this is an internal listener; clients dial a router or a client listener",
            ),
            (
                Hello {
                    format_version_min: 7,
                    format_version_max: 9,
                    ..hello()
                },
                "router-1 speaks link formats 7 to 9, this broker 1 to 1",
            ),
            (
                Hello {
                    cluster_id: RED,
                    ..hello()
                },
                "router-1 belongs to cluster CAgICAgICAgICAgICAgICA, this broker to cluster BwcHBwcHBwcHBwcHBwcHBw",
            ),
            (
                Hello {
                    wanted_broker_id: BrokerId(2),
                    ..hello()
                },
                "router-1 looks for broker 2, this is broker 3",
            ),
        ];
        for (hello, words) in cases {
            let refused = answer(&hello, &welcome()).expect_err("refused");
            assert_eq!(refused.words, words);
        }
    }

    #[test]
    fn a_welcome_of_another_cluster_broker_or_format_is_not_taken() {
        let hello = Hello {
            cluster_id: RED,
            wanted_broker_id: BrokerId(2),
            ..hello()
        };
        let other_cluster = hello.check(&welcome()).expect_err("another cluster");
        assert!(matches!(other_cluster, UnfitWelcome::OtherCluster { .. }));
        let mut changed = Welcome {
            cluster_id: ClusterId::ZERO,
            ..welcome()
        };
        let other_broker = hello.check(&changed).expect_err("another broker");
        assert!(matches!(other_broker, UnfitWelcome::OtherBroker { .. }));
        changed.format_version = 2;
        let other_format = hello.check(&changed).expect_err("not offered");
        assert_eq!(other_format, UnfitWelcome::FormatVersion { chosen: 2 });
    }
}
