//! Which APIs exist here and in which versions: the one table that decoding, ApiVersions and documentation share.
//!
//! Versions are ranges with both ends included, as on the wire. What is *decoded* is not all *offered*: a codec is
//! declared before anyone serves its API, and nothing is offered that no test with a real client covers. Traps: Produce
//! is offered from 0, because librdkafka before 2.11.1 stops compressing otherwise (KAFKA-18659), but decoded from 3;
//! the header of an ApiVersions response has version 0 in every version.
//! Keys from 20000 on are ours: a client that does not know them ignores them.

use crate::primitive::Format;

/// The first key that Kafka does not have: what its protocol cannot say.
const PRIVATE_KEY_MIN: i16 = 20_000;

/// The first flexible version of an API that has none.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// An API of Kafka's protocol, or from [`ApiKey::RoutedProduce`] on one of ours, by its key on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum ApiKey {
    /// Writes record batches.
    Produce = 0,
    /// Reads record batches.
    Fetch = 1,
    /// Finds offsets by time or by place.
    ListOffsets = 2,
    /// Names brokers, topics, partitions and their leaders.
    Metadata = 3,
    /// Stores where a group goes on reading.
    OffsetCommit = 8,
    /// Tells where groups go on reading.
    OffsetFetch = 9,
    /// Asks which broker coordinates a group or a transaction.
    FindCoordinator = 10,
    /// Brings a member into a rebalance of a classic group.
    JoinGroup = 11,
    /// Keeps a member of a classic group alive.
    Heartbeat = 12,
    /// Takes members out of a classic group.
    LeaveGroup = 13,
    /// Distributes the assignment of a classic group.
    SyncGroup = 14,
    /// Shows state and members of classic groups.
    DescribeGroups = 15,
    /// Lists the groups that a broker coordinates.
    ListGroups = 16,
    /// Says which APIs and versions the broker speaks.
    ApiVersions = 18,
    /// Creates topics.
    CreateTopics = 19,
    /// Deletes topics with their records.
    DeleteTopics = 20,
    /// Gives a producer its id and epoch.
    InitProducerId = 22,
    /// Tells where leader epochs end.
    OffsetForLeaderEpoch = 23,
    /// Shows the configuration of topics and brokers.
    DescribeConfigs = 32,
    /// Gives topics more partitions.
    CreatePartitions = 37,
    /// Deletes groups without members.
    DeleteGroups = 42,
    /// Changes some settings of topics.
    IncrementalAlterConfigs = 44,
    /// Deletes offsets of topics that a group does not read.
    OffsetDelete = 47,
    /// Names the brokers of the cluster.
    DescribeCluster = 60,
    /// Keeps a member of a group of KIP-848 alive, and brings it its assignment.
    ConsumerGroupHeartbeat = 68,
    /// Shows state and members of groups of KIP-848.
    ConsumerGroupDescribe = 69,
    /// Writes records of a topic whose partitions the router finds.
    RoutedProduce = 20_000,
    /// Gives a routed producer its id and epoch.
    InitRoutedProducer = 20_001,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// The API.
    pub key: ApiKey,
    /// Kafka's name, or ours.
    pub name: &'static str,
    /// The first and the last version to offer in ApiVersions, `None` as long as nobody serves the API. Starts below
    /// `version_min` only for Produce, and ends below `version_max` where the later versions are not served yet.
    pub offered: Option<(i16, i16)>,
    /// The first version that is decoded.
    pub version_min: i16,
    /// The last version that is decoded.
    pub version_max: i16,
    /// The first version with compact lengths and tagged fields (KIP-482).
    pub version_flexible: i16,
}

/// Returns a row whose versions are all both decoded and offered.
const fn api(key: ApiKey, name: &'static str, versions: [i16; 2], version_flexible: i16) -> Api {
    let [version_min, version_max] = versions;
    Api {
        key,
        name,
        offered: Some((version_min, version_max)),
        version_min,
        version_max,
        version_flexible,
    }
}

/// The table, in the order of the keys.
pub const APIS: [Api; 28] = [
    api(ApiKey::Produce, "Produce", [3, 11], 9).offering(0, 11),
    api(ApiKey::Fetch, "Fetch", [4, 17], 12),
    api(ApiKey::ListOffsets, "ListOffsets", [1, 7], 6),
    api(ApiKey::Metadata, "Metadata", [0, 12], 9),
    api(ApiKey::OffsetCommit, "OffsetCommit", [2, 9], 8).not_offered(),
    api(ApiKey::OffsetFetch, "OffsetFetch", [1, 9], 6).not_offered(),
    api(ApiKey::FindCoordinator, "FindCoordinator", [0, 6], 3).offering(0, 2),
    api(ApiKey::JoinGroup, "JoinGroup", [0, 9], 6).not_offered(),
    api(ApiKey::Heartbeat, "Heartbeat", [0, 4], 4).not_offered(),
    api(ApiKey::LeaveGroup, "LeaveGroup", [0, 5], 4).not_offered(),
    api(ApiKey::SyncGroup, "SyncGroup", [0, 5], 4).not_offered(),
    api(ApiKey::DescribeGroups, "DescribeGroups", [0, 6], 5).not_offered(),
    api(ApiKey::ListGroups, "ListGroups", [0, 5], 3).not_offered(),
    api(ApiKey::ApiVersions, "ApiVersions", [0, 4], 3),
    api(ApiKey::CreateTopics, "CreateTopics", [2, 7], 5),
    api(ApiKey::DeleteTopics, "DeleteTopics", [1, 6], 4),
    api(ApiKey::InitProducerId, "InitProducerId", [0, 5], 2),
    api(
        ApiKey::OffsetForLeaderEpoch,
        "OffsetForLeaderEpoch",
        [2, 4],
        4,
    ),
    api(ApiKey::DescribeConfigs, "DescribeConfigs", [1, 4], 4),
    api(ApiKey::CreatePartitions, "CreatePartitions", [0, 3], 2),
    api(ApiKey::DeleteGroups, "DeleteGroups", [0, 2], 2).not_offered(),
    api(
        ApiKey::IncrementalAlterConfigs,
        "IncrementalAlterConfigs",
        [0, 1],
        1,
    ),
    api(ApiKey::OffsetDelete, "OffsetDelete", [0, 0], NEVER_FLEXIBLE).not_offered(),
    api(ApiKey::DescribeCluster, "DescribeCluster", [0, 2], 0),
    api(
        ApiKey::ConsumerGroupHeartbeat,
        "ConsumerGroupHeartbeat",
        [0, 1],
        0,
    )
    .not_offered(),
    api(
        ApiKey::ConsumerGroupDescribe,
        "ConsumerGroupDescribe",
        [0, 1],
        0,
    )
    .not_offered(),
    api(ApiKey::RoutedProduce, "RoutedProduce", [0, 0], 0),
    api(ApiKey::InitRoutedProducer, "InitRoutedProducer", [0, 0], 0),
];

impl ApiKey {
    /// Returns the number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Returns the API of a number on the wire, `None` if it is not in the table.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        let row = APIS.iter().find(|api| api.key.code() == code)?;
        Some(row.key)
    }

    /// Returns the place of the API in the table, from 0.
    #[must_use]
    pub const fn row(self) -> usize {
        let mut row = 0;
        while APIS[row].key as i16 != self as i16 {
            row += 1;
        }
        row
    }

    /// Returns the API's row of the table.
    #[must_use]
    pub const fn api(self) -> Api {
        APIS[self.row()]
    }

    /// Returns the API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.api().name
    }

    /// Returns whether the API is ours, and Kafka has none of this key.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.code() >= PRIVATE_KEY_MIN
    }
}

impl Api {
    const fn offering(self, first: i16, last: i16) -> Self {
        let offered = Some((first, last));
        Self { offered, ..self }
    }

    const fn not_offered(self) -> Self {
        let offered = None;
        Self { offered, ..self }
    }

    /// Returns whether a server takes requests of this version: it is both offered and decoded.
    #[must_use]
    pub const fn serves(self, version: i16) -> bool {
        match self.offered {
            Some((first, last)) => first <= version && version <= last && self.decodes(version),
            None => false,
        }
    }

    /// Returns the versions that a server takes, in ascending order.
    pub fn served(self) -> impl Iterator<Item = i16> {
        (self.version_min..=self.version_max).filter(move |&version| self.serves(version))
    }

    /// Returns whether the version is decoded; one may be offered and yet refused (Produce 0 to 2).
    #[must_use]
    pub const fn decodes(self, version: i16) -> bool {
        self.version_min <= version && version <= self.version_max
    }

    /// Returns whether values of this version have compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.version_flexible
    }

    /// Returns whether the header of a response of this version has tagged fields; for ApiVersions never.
    #[must_use]
    pub const fn has_flexible_response_header(self, version: i16) -> bool {
        self.is_flexible(version) && !matches!(self.key, ApiKey::ApiVersions)
    }

    pub(crate) fn format(self, version: i16) -> Option<Format> {
        self.decodes(version).then_some(Format {
            version,
            flexible: self.is_flexible(version),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_are_found_by_their_key() {
        assert!(APIS.is_sorted_by_key(|api| api.key));
        for api in APIS {
            assert_eq!(ApiKey::from_code(api.key.code()), Some(api.key));
            assert_eq!(api.key.api(), api);
            assert!(api.version_min <= api.version_max);
            let (first, last) = api.offered.unwrap_or((api.version_min, api.version_max));
            assert!(first <= api.version_min && last <= api.version_max);
        }
        assert!(ApiKey::RoutedProduce.is_private() && !ApiKey::DescribeCluster.is_private());
        assert_eq!(ApiKey::from_code(7), None);
        assert_eq!(ApiKey::from_code(-1), None);
    }

    #[test]
    fn produce_is_offered_below_what_is_decoded() {
        let produce = ApiKey::Produce.api();
        assert_eq!(produce.offered, Some((0, 11)));
        assert!(!produce.decodes(2) && !produce.serves(2));
        assert!(produce.served().eq(3..=11));
        assert!(produce.decodes(3) && produce.decodes(11));
        assert!(!produce.decodes(12));
    }

    #[test]
    fn what_is_decoded_before_it_is_offered_is_not_served() {
        let coordinator = ApiKey::FindCoordinator.api();
        assert!(coordinator.serves(2) && !coordinator.serves(3) && coordinator.decodes(3));
        assert!(coordinator.served().eq(0..=2));
        let join = ApiKey::JoinGroup.api();
        assert!(join.decodes(9) && !join.serves(9));
        assert_eq!(join.served().count(), 0);
    }

    #[test]
    fn responses_of_api_versions_never_have_a_flexible_header() {
        assert!(!ApiKey::ApiVersions.api().has_flexible_response_header(4));
        assert!(ApiKey::Metadata.api().has_flexible_response_header(9));
        assert!(!ApiKey::Metadata.api().has_flexible_response_header(8));
    }
}
