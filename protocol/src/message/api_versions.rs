//! ApiVersions (key 18), versions 0 to 4: which APIs a broker speaks.
//!
//! v1 throttle time · v2 throttles after answering · v3 flexible, client software (KIP-511), features (KIP-584) ·
//! v4 features may start at version 0 (KAFKA-17011). The response's header has version 0 in every version; a
//! request of an unknown version is answered by `frame::unsupported_api_versions_frame`. Never list
//! `transaction.version` 2 among the finalized features before KIP-890 is complete: Java then skips
//! AddPartitionsToTxn. Deviation: `ZkMigrationReady` is not declared; as a tagged field it is skipped.

use bytestring::ByteString;

use crate::api::{APIS, Api};
use crate::error_code::ErrorCode;

exchange!(ApiVersions: ApiVersionsRequest => ApiVersionsResponse);

message! {
    /// Asks which APIs and versions the broker speaks.
    pub struct ApiVersionsRequest {
        /// The name of the client's library; letters, digits, `-` and `.`, else the answer is INVALID_REQUEST.
        client_software_name: ByteString [3.. ; ignorable],
        /// The version of the client's library; same rules.
        client_software_version: ByteString [3.. ; ignorable],
    }
}

message! {
    /// Lists the APIs of the broker.
    pub struct ApiVersionsResponse {
        /// UNSUPPORTED_VERSION, INVALID_REQUEST or none.
        error_code: ErrorCode,
        /// The APIs.
        api_keys: Vec<ApiVersion>,
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
    }
    tagged {
        /// Features the broker could serve.
        0: supported_features: Vec<SupportedFeatureKey> [3.. ; ignorable],
        /// Counts changes of the finalized features; -1 means unknown, which makes clients ignore them.
        1: finalized_features_epoch: i64 [3.. ; ignorable] = -1,
        /// Features in force in the cluster.
        2: finalized_features: Vec<FinalizedFeatureKey> [3.. ; ignorable],
    }
}

message! {
    /// An API and its versions, both ends included.
    pub struct ApiVersion {
        /// The API's key.
        api_key: i16,
        /// The first version.
        min_version: i16,
        /// The last version.
        max_version: i16,
    }
}

message! {
    /// A feature and the levels a broker could serve, both ends included.
    pub struct SupportedFeatureKey {
        /// The feature's name.
        name: ByteString,
        /// The lowest level.
        min_version: i16,
        /// The highest level.
        max_version: i16,
    }
}

message! {
    /// A feature and the levels in force, both ends included.
    pub struct FinalizedFeatureKey {
        /// The feature's name.
        name: ByteString,
        /// The highest level.
        max_version_level: i16,
        /// The lowest level.
        min_version_level: i16,
    }
}

impl ApiVersion {
    /// Returns what to offer of an API; `None` if nobody serves it.
    #[must_use]
    pub fn offered(api: Api) -> Option<Self> {
        let (min_version, max_version) = api.offered?;
        Some(Self {
            api_key: api.key.code(),
            min_version,
            max_version,
        })
    }
}

impl ApiVersionsResponse {
    /// Returns an answer that offers every API of Kafka's that the table says is offered.
    #[must_use]
    pub fn offering_all() -> Self {
        let apis = APIS.into_iter().filter(|api| !api.key.is_private());
        Self {
            api_keys: apis.filter_map(ApiVersion::offered).collect(),
            ..Self::default()
        }
    }
}

impl ApiVersionsRequest {
    /// Returns whether name and version of the client's software look as KIP-511 asks from version 3 on: letters and
    /// digits, in between also `-` and `.`. If not, the answer is INVALID_REQUEST.
    #[must_use]
    pub fn has_valid_client_software(&self) -> bool {
        [&self.client_software_name, &self.client_software_version]
            .into_iter()
            .all(|text| is_software_text(text))
    }
}

fn is_software_text(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_outer(text.bytes().next()) && is_outer(text.bytes().last()) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_software_is_letters_and_digits_with_dashes_and_dots_inside() {
        for (text, valid) in [
            ("apache-kafka-java", true),
            ("4.3.1", true),
            ("a", true),
            ("", false),
            ("-a", false),
            ("a.", false),
            ("a b", false),
            ("ä", false),
        ] {
            let request = ApiVersionsRequest {
                client_software_name: text.into(),
                client_software_version: "1".into(),
            };
            assert_eq!(request.has_valid_client_software(), valid, "{text:?}");
        }
    }

    #[test]
    fn what_is_offered_is_written_down_and_does_not_grow_with_what_is_decoded() {
        let offered = ApiVersionsResponse::offering_all().api_keys;
        let offered: Vec<(i16, i16, i16)> = offered
            .iter()
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        let expected = [
            (0, 0, 11),
            (1, 4, 17),
            (2, 1, 7),
            (3, 0, 12),
            (10, 0, 2),
            (18, 0, 4),
            (19, 2, 7),
            (20, 1, 6),
            (22, 0, 5),
            (23, 2, 4),
            (32, 1, 4),
            (37, 0, 3),
            (44, 0, 1),
            (60, 0, 2),
        ];
        assert_eq!(offered, expected);
    }
}
