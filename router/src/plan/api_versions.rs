//! ApiVersions: what a router offers (KIP-511). The answer to an unknown version is the connection's.
//!
//! Not simply everything that the protocol's table offers: a new row there is served by brokers first. The versions are
//! the table's, and of FindCoordinator those before its keys came in batches, as long as there are no groups.

use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};

/// The first version that names the client's software.
const VERSION_WITH_SOFTWARE: i16 = 3;

/// The APIs that a router plans and merges.
const OFFERED: [ApiKey; 16] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::CreatePartitions,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
    ApiKey::RoutedProduce,
    ApiKey::InitRoutedProducer,
];

/// Tells whether a router serves an API.
#[must_use]
pub fn is_offered(api: ApiKey) -> bool {
    OFFERED.contains(&api)
}

/// Returns the answer.
#[must_use]
pub fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    if version >= VERSION_WITH_SOFTWARE && !request.has_valid_client_software() {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest,
            ..ApiVersionsResponse::default()
        };
    }
    let offered = OFFERED
        .iter()
        .filter_map(|key| ApiVersion::offered(key.api()));
    ApiVersionsResponse {
        api_keys: offered.collect(),
        ..ApiVersionsResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(software: &str, version: i16) -> ApiVersionsResponse {
        let request = ApiVersionsRequest {
            client_software_name: software.into(),
            client_software_version: "1".into(),
        };
        answer(&request, version)
    }

    #[test]
    fn what_is_offered_is_offered_as_by_a_broker() {
        let all = ApiVersionsResponse::offering_all().api_keys;
        let offered = asked("kcat", 3).api_keys;
        // What Kafka does not have, a client of a router finds besides; others do not know it.
        let (kafkas, ours): (Vec<ApiVersion>, Vec<ApiVersion>) =
            (offered.iter().cloned()).partition(|api| api.api_key < ApiKey::RoutedProduce.code());
        assert!(kafkas.iter().all(|api| all.contains(api)));
        let ours: Vec<i16> = ours.iter().map(|api| api.api_key).collect();
        assert_eq!(ours, [20_000, 20_001]);
        let produce = offered
            .iter()
            .find(|api| api.api_key == 0)
            .expect("Produce");
        // librdkafka before 2.11.1 compresses only where Produce is offered from 0.
        assert_eq!(produce.min_version, 0);
        assert!(offered.is_sorted_by_key(|api| api.api_key));
    }

    #[test]
    fn no_api_of_groups_is_offered_and_their_coordinator_is_asked_for_one_by_one() {
        let offered = asked("kcat", 3).api_keys;
        for key in [8, 9, 11, 12, 13, 14, 15, 16, 42, 47, 68, 69] {
            assert!(offered.iter().all(|api| api.api_key != key), "{key}");
        }
        let coordinator = offered.iter().find(|api| api.api_key == 10);
        let coordinator = coordinator.expect("FindCoordinator");
        assert_eq!((coordinator.min_version, coordinator.max_version), (0, 2));
    }

    #[test]
    fn software_without_a_proper_name_is_refused_from_version_3_on() {
        assert_eq!(asked("", 3).error_code, ErrorCode::InvalidRequest);
        assert_eq!(asked("", 2).error_code, ErrorCode::None);
        assert!(is_offered(ApiKey::Fetch));
    }
}
