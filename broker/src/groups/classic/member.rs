//! One member of a classic group: what it told of itself, and the request of it that is not answered.

use std::collections::BTreeSet;

use bytes::Bytes;
use bytestring::ByteString;

use super::asked::{JoinRequest, MemberClient, MemberMetadata, Protocol};

/// The generation of a member that was told of none.
pub(super) const NO_GENERATION: i32 = -1;

/// A request that waits for other members, or for the disk.
#[derive(Debug)]
pub(super) enum Parked<T> {
    Join(T),
    Sync(T),
}

/// What a member tells of itself with each JoinGroup.
#[derive(Debug)]
pub(super) struct Terms {
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    /// The best first, each name once.
    protocols: Vec<Protocol>,
}

impl Terms {
    /// Takes what a request tells. Of a protocol named twice the first counts.
    pub(super) fn of(request: &JoinRequest) -> Self {
        let mut names = BTreeSet::new();
        let protocols = request.protocols.iter();
        let protocols = protocols
            .filter(|protocol| names.insert(&protocol.name))
            .map(|protocol| Protocol {
                name: owned(&protocol.name),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            });
        Self {
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: protocols.collect(),
        }
    }

    /// Returns what a record tells: of the protocol that was chosen, and of no other.
    pub(super) fn recovered(metadata: &MemberMetadata, protocol: Option<&ByteString>) -> Self {
        let protocol = protocol.map(|name| Protocol {
            name: name.clone(),
            metadata: metadata.subscription.clone(),
        });
        Self {
            session_timeout_ms: metadata.session_timeout_ms,
            rebalance_timeout_ms: metadata.rebalance_timeout_ms,
            protocols: protocol.into_iter().collect(),
        }
    }

    pub(super) fn session_timeout_ms(&self) -> u64 {
        u64::try_from(self.session_timeout_ms).unwrap_or(0)
    }

    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        u64::try_from(self.rebalance_timeout_ms).unwrap_or(0)
    }

    pub(super) fn protocols(&self) -> &[Protocol] {
        &self.protocols
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ByteString> {
        self.protocols.iter().map(|protocol| &protocol.name)
    }
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member<T> {
    pub(super) id: ByteString,
    pub(super) instance_id: Option<ByteString>,
    pub(super) client: MemberClient,
    /// Its place among all that ever came; who replaces a static member takes its place.
    pub(super) place: u64,
    /// The last generation that it was told of in this life of the group: it may speak for no other.
    pub(super) generation: i32,
    /// Whether it waits for its first generation.
    pub(super) is_new: bool,
    pub(super) assignment: Bytes,
    pub(super) terms: Terms,
    pub(super) parked: Option<Parked<T>>,
}

impl<T> Member<T> {
    pub(super) fn waits_to_join(&self) -> bool {
        matches!(self.parked, Some(Parked::Join(_)))
    }

    /// Returns what the member tells of a protocol; empty if nothing.
    pub(super) fn metadata(&self, protocol: Option<&ByteString>) -> Bytes {
        let mut protocols = self.terms.protocols.iter();
        let found = protocols.find(|found| Some(&found.name) == protocol);
        found.map_or_else(Bytes::new, |found| found.metadata.clone())
    }

    /// Returns what the member's entry in a record is.
    pub(super) fn record(
        &self,
        protocol: Option<&ByteString>,
        assignment: Bytes,
    ) -> MemberMetadata {
        MemberMetadata {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client: self.client.clone(),
            session_timeout_ms: self.terms.session_timeout_ms,
            rebalance_timeout_ms: self.terms.rebalance_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    /// Returns how many bytes of memory others decide on.
    pub(super) fn bytes(&self) -> usize {
        let names = [Some(&self.id), self.instance_id.as_ref()];
        let names: usize = names.into_iter().flatten().map(|name| name.len()).sum();
        let protocols = self.terms.protocols.iter();
        let protocols = protocols.map(|protocol| protocol.name.len() + protocol.metadata.len());
        names + self.client.id.len() + self.client.host.len() + protocols.sum::<usize>()
    }
}

/// Returns a text that keeps nothing else in memory: what a request holds is a slice of its whole frame.
pub(super) fn owned(text: &ByteString) -> ByteString {
    ByteString::from(&**text)
}
