//! IncrementalAlterConfigs: the leading controller decides (KIP-339). It refuses what is not a topic's, a router's own
//! settings as well as a broker's: those are given when it is started.

use keylane_protocol::message::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::for_controller::{ForController, Unanswered, once};

impl ForController for IncrementalAlterConfigsRequest {
    const VERSION: i16 = 1;

    fn items(&self) -> usize {
        let configs = self.resources.iter().map(|of| of.configs.len());
        self.resources.len() + configs.sum::<usize>()
    }

    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    fn unanswered(&self, unanswered: Unanswered) -> IncrementalAlterConfigsResponse {
        let resources = self.resources.iter();
        let resources = once(resources.map(|of| (of.resource_type, &of.resource_name)));
        let result =
            |(resource_type, name): (i8, &bytestring::ByteString)| AlterConfigsResourceResponse {
                error_code: unanswered.code(),
                error_message: unanswered.text(),
                resource_type,
                resource_name: name.clone(),
            };
        IncrementalAlterConfigsResponse {
            throttle_time_ms: 0,
            responses: resources.into_iter().map(result).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::message::incremental_alter_configs::{
        AlterConfigsResource, AlterableConfig,
    };

    use super::super::for_controller::tests::check_unanswered;
    use super::*;

    fn resource(resource_type: i8, name: &str, settings: usize) -> AlterConfigsResource {
        AlterConfigsResource {
            resource_type,
            resource_name: name.into(),
            configs: vec![AlterableConfig::default(); settings],
        }
    }

    #[test]
    fn without_a_controller_every_resource_is_told_once_in_every_version() {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![
                resource(2, "a", 1),
                resource(4, "a", 1),
                resource(2, "a", 1),
            ],
            validate_only: false,
        };
        let codes = |response: &IncrementalAlterConfigsResponse| {
            let resources = response.responses.iter();
            resources
                .map(|of| (of.error_code, of.error_message.clone()))
                .collect()
        };
        check_unanswered(&request, 0..=1, codes, 2);
    }

    #[test]
    fn settings_count_as_items() {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![resource(2, "a", 3), resource(2, "b", 0)],
            validate_only: false,
        };
        assert_eq!(request.items(), 5);
    }
}
