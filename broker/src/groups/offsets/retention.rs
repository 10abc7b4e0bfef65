//! When a committed offset expires (KIP-211): so long after its group became empty, or after its commit where nobody
//! could tell that the group is in use.
//!
//! A retention time that a client of OffsetCommit 2 to 4 asks for holds for its commits, as in every Kafka since 2.1: what
//! an early draft of KIP-211 says of ignoring it was never built. Unlike Kafka, a commit for a group that is already empty
//! counts from the commit, not from when the group became empty: who sets offsets for a group before it is started again
//! shall find them.

use std::collections::BTreeSet;

use bytestring::ByteString;

use super::CommittedOffset;

/// What the retention time of OffsetCommit 2 to 4 is when the client leaves it to the broker.
pub const RETENTION_TIME_OF_BROKER: i64 = -1;

/// How a group is used, as far as its offsets are concerned.
#[derive(Clone, Copy, Debug)]
pub enum Standing<'a> {
    /// It never had members: it only keeps offsets (an empty protocol type).
    Simple,
    /// It had members and has none.
    Empty {
        /// Since when, in milliseconds since 1970; `None` if its record is too old to say so.
        since_ms: Option<i64>,
    },
    /// It has members whose subscriptions are known, and they are not just changing.
    Subscribed {
        /// The topics of all of them.
        topics: &'a BTreeSet<ByteString>,
    },
    /// It has members, and nobody can tell what they read, or they are just changing.
    Occupied,
}

/// Returns when an offset expires that is committed with the retention time of OffsetCommit 2 to 4, in milliseconds
/// since 1970; `None` leaves it to the broker.
#[must_use]
pub fn expire_time_ms(now_ms: i64, retention_time_ms: i64) -> Option<i64> {
    match retention_time_ms {
        RETENTION_TIME_OF_BROKER => None,
        // The least is 0, so that it is not taken for none.
        time => Some(now_ms.saturating_add(time).max(0)),
    }
}

/// Returns whether an offset of the topic has expired.
#[must_use]
pub fn is_expired(
    committed: &CommittedOffset,
    topic: &str,
    standing: Standing<'_>,
    now_ms: i64,
    retention_ms: i64,
) -> bool {
    let from_ms = match standing {
        Standing::Occupied => return false,
        Standing::Subscribed { topics } if topics.contains(topic) => return false,
        Standing::Empty {
            since_ms: Some(since_ms),
        } => since_ms.max(committed.commit_time_ms),
        Standing::Empty { since_ms: None } | Standing::Subscribed { .. } | Standing::Simple => {
            committed.commit_time_ms
        }
    };
    match committed.expire_time_ms {
        Some(expire_time_ms) => now_ms >= expire_time_ms,
        None => now_ms.saturating_sub(from_ms) >= retention_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION_MS: i64 = 100;

    fn committed(commit_time_ms: i64, expire_time_ms: Option<i64>) -> CommittedOffset {
        CommittedOffset {
            commit_time_ms,
            expire_time_ms,
            ..CommittedOffset::default()
        }
    }

    fn first_expired(committed: &CommittedOffset, standing: Standing<'_>) -> Option<i64> {
        (0..1000).find(|&now| is_expired(committed, "t", standing, now, RETENTION_MS))
    }

    #[test]
    fn offsets_of_a_group_that_never_had_members_expire_after_their_commit() {
        let found = first_expired(&committed(7, None), Standing::Simple);
        assert_eq!(found, Some(107));
    }

    #[test]
    fn offsets_of_an_empty_group_expire_after_it_became_empty() {
        let empty = |since_ms| Standing::Empty { since_ms };
        assert_eq!(
            first_expired(&committed(7, None), empty(Some(50))),
            Some(150)
        );
        assert_eq!(first_expired(&committed(7, None), empty(None)), Some(107));
    }

    #[test]
    fn offsets_committed_for_an_empty_group_expire_after_their_commit() {
        let since_ms = Some(50);
        let found = first_expired(&committed(120, None), Standing::Empty { since_ms });
        assert_eq!(found, Some(220));
    }

    #[test]
    fn offsets_of_topics_that_members_read_never_expire_and_others_after_their_commit() {
        let topics = BTreeSet::from([ByteString::from("t")]);
        let topics = Standing::Subscribed { topics: &topics };
        assert_eq!(first_expired(&committed(7, None), topics), None);
        assert_eq!(first_expired(&committed(7, Some(8)), topics), None);
        let none = BTreeSet::new();
        let others = Standing::Subscribed { topics: &none };
        assert_eq!(first_expired(&committed(7, None), others), Some(107));
    }

    #[test]
    fn offsets_of_a_group_whose_subscriptions_are_not_known_never_expire() {
        for offset in [committed(0, None), committed(0, Some(0))] {
            assert_eq!(first_expired(&offset, Standing::Occupied), None);
        }
    }

    #[test]
    fn a_retention_time_that_the_client_asks_for_holds_instead_of_the_brokers() {
        let expire = expire_time_ms(10, 500);
        assert_eq!(expire, Some(510));
        let since_ms = Some(50);
        for standing in [Standing::Simple, Standing::Empty { since_ms }] {
            assert_eq!(first_expired(&committed(10, expire), standing), Some(510));
        }
        assert_eq!(expire_time_ms(10, RETENTION_TIME_OF_BROKER), None);
    }

    #[test]
    fn no_retention_time_overflows() {
        assert_eq!(expire_time_ms(10, i64::MAX), Some(i64::MAX));
        assert_eq!(expire_time_ms(10, i64::MIN), Some(0));
        let old = committed(i64::MIN, None);
        assert!(is_expired(
            &old,
            "t",
            Standing::Simple,
            i64::MAX,
            RETENTION_MS
        ));
        let future = committed(i64::MAX, None);
        assert!(!is_expired(&future, "t", Standing::Simple, 0, RETENTION_MS));
    }
}
