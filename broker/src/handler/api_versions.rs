//! ApiVersions: which APIs are spoken here (KIP-511). The answer to an unknown version is the connection's.
//!
//! Offered is what the protocol's table says: fewer than it decodes, as long as there are no groups.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

/// The first version that names the client's software.
const VERSION_WITH_SOFTWARE: i16 = 3;

/// Returns the answer.
pub(crate) fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let names_software = version >= VERSION_WITH_SOFTWARE;
    if names_software
        && !(is_software(&request.client_software_name)
            && is_software(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest,
            ..ApiVersionsResponse::default()
        };
    }
    ApiVersionsResponse::offering_all()
}

/// Tells whether a text matches Kafka's `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, version: &str) -> ErrorCode {
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: version.into(),
        };
        answer(&request, 3).error_code
    }

    #[test]
    fn client_software_must_look_like_kafkas_rule() {
        assert_eq!(asked("apache-kafka-java", "4.3.0"), ErrorCode::None);
        assert_eq!(asked("a", "1"), ErrorCode::None);
        for name in ["", "-a", "a-", ".a", "a b", "a\n", "ä"] {
            assert_eq!(asked(name, "1"), ErrorCode::InvalidRequest, "{name:?}");
            assert_eq!(asked("a", name), ErrorCode::InvalidRequest, "{name:?}");
        }
    }

    #[test]
    fn before_version_3_no_software_is_named() {
        let request = ApiVersionsRequest::default();
        assert_eq!(answer(&request, 2).error_code, ErrorCode::None);
    }

    #[test]
    fn groups_are_not_offered_and_only_the_question_for_their_coordinator_is() {
        let offered = ApiVersionsResponse::offering_all().api_keys;
        for key in [8, 9, 11, 12, 13, 14, 15, 16, 42, 47, 68, 69] {
            assert!(offered.iter().all(|api| api.api_key != key), "{key}");
        }
        let coordinator = offered.iter().find(|api| api.api_key == 10);
        let coordinator = coordinator.expect("FindCoordinator");
        assert_eq!((coordinator.min_version, coordinator.max_version), (0, 2));
    }
}
