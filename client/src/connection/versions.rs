//! Which version of each API to speak with one broker.

use std::collections::BTreeMap;

use keylane_protocol::api::ApiKey;
use keylane_protocol::message::api_versions::ApiVersion;

/// The ranges a broker listed in ApiVersions.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpokenVersions(BTreeMap<i16, (i16, i16)>);

impl SpokenVersions {
    pub(crate) fn new(api_keys: &[ApiVersion]) -> Self {
        let range = |api: &ApiVersion| (api.api_key, (api.min_version, api.max_version));
        Self(api_keys.iter().map(range).collect())
    }

    /// Returns the highest version both sides speak.
    pub(crate) fn highest_common(&self, key: ApiKey) -> Option<i16> {
        let &(theirs_min, theirs_max) = self.0.get(&key.code())?;
        let ours = key.api();
        let highest = ours.version_max.min(theirs_max);
        (highest >= ours.version_min.max(theirs_min)).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(min_version: i16, max_version: i16) -> SpokenVersions {
        SpokenVersions::new(&[ApiVersion {
            api_key: ApiKey::Fetch.code(),
            min_version,
            max_version,
        }])
    }

    #[test]
    fn the_highest_common_version_is_spoken_or_none() {
        let max = ApiKey::Fetch.api().version_max;
        let min = ApiKey::Fetch.api().version_min;
        assert_eq!(spoken(0, 99).highest_common(ApiKey::Fetch), Some(max));
        assert_eq!(spoken(0, min).highest_common(ApiKey::Fetch), Some(min));
        assert_eq!(spoken(0, min - 1).highest_common(ApiKey::Fetch), None);
        assert_eq!(spoken(max + 1, 99).highest_common(ApiKey::Fetch), None);
        assert_eq!(spoken(0, 99).highest_common(ApiKey::Produce), None);
    }
}
