//! IncrementalAlterConfigs: changes of topics' settings (KIP-339).
//!
//! As with CreateTopics, a broker passes the request on to the leading controller ([`answer`]), and answers when its own
//! partitions follow; [`alter`] is what the controller makes of it. The settings of brokers are given at their start.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::describe_configs::{RESOURCE_TYPE_BROKER, RESOURCE_TYPE_TOPIC};
use keylane_protocol::message::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, CONFIG_OPERATION_APPEND,
    CONFIG_OPERATION_DELETE, CONFIG_OPERATION_SET, CONFIG_OPERATION_SUBTRACT,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::topic_changes::{Asker, NO_CONTROLLER, forward};
use super::{controller_calls, words};
use crate::controller::configs::{ConfigChange, ConfigChanges, ConfigChangesError};
use crate::controller::core::Ask;
use crate::controller::service::ControllerHandle;
use crate::server::BrokerState;

/// Returns how many resources and settings a request names.
pub(crate) fn items(request: &IncrementalAlterConfigsRequest) -> usize {
    let configs = request.resources.iter().map(|of| of.configs.len());
    request.resources.len() + configs.sum::<usize>()
}

/// Has settings changed, and returns the answer.
pub(crate) async fn answer(
    broker: &BrokerState,
    asker: &Asker,
    request: IncrementalAlterConfigsRequest,
    version: i16,
) -> IncrementalAlterConfigsResponse {
    match forward(broker, asker, &request, version).await {
        Ok(response) => response,
        Err(error_code) => {
            let resources = request.resources.into_iter();
            let responses = resources.map(|resource| AlterConfigsResourceResponse {
                error_code,
                error_message: Some(NO_CONTROLLER),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            });
            IncrementalAlterConfigsResponse {
                throttle_time_ms: 0,
                responses: responses.collect(),
            }
        }
    }
}

/// Changes settings, or checks whether they could be changed, as the controller.
pub(super) async fn alter(
    controller: &ControllerHandle,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut times_named: BTreeMap<(i8, ByteString), usize> = BTreeMap::new();
    for resource in &request.resources {
        let name = (resource.resource_type, resource.resource_name.clone());
        *times_named.entry(name).or_default() += 1;
    }
    let mut responses = Vec::with_capacity(times_named.len());
    for resource in request.resources {
        let (resource_type, resource_name) =
            (resource.resource_type, resource.resource_name.clone());
        let outcome = match times_named.remove(&(resource_type, resource_name.clone())) {
            Some(1) => alter_one(controller, resource, request.validate_only).await,
            Some(_) => Err((
                ErrorCode::InvalidRequest,
                "the request names this resource more than once".to_owned(),
            )),
            // Answered at its first place: clients match answers by name.
            None => continue,
        };
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err((code, text)) => (code, Some(words(text))),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type,
            resource_name,
        });
    }
    IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses,
    }
}

async fn alter_one(
    controller: &ControllerHandle,
    resource: AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let refused = |text: String| Err((ErrorCode::InvalidRequest, text));
    match resource.resource_type {
        RESOURCE_TYPE_TOPIC => {}
        RESOURCE_TYPE_BROKER => {
            return refused("the settings of a broker are given when it is started".to_owned());
        }
        other => {
            return refused(format!(
                "settings of topics (2) can be changed, not of resources of type {other}"
            ));
        }
    }
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in resource.configs {
        changes.push((config.name.to_string(), change(config)?));
    }
    let changes = ConfigChanges {
        topic: resource.resource_name.to_string(),
        changes,
    };
    let decided = controller.ask(Ask::ChangeConfigs {
        changes,
        validate_only,
    });
    match decided.await {
        Ok(_) => Ok(()),
        Err(error) => Err((controller_calls::code(&error), error.to_string())),
    }
}

fn change(config: AlterableConfig) -> Result<ConfigChange, (ErrorCode, String)> {
    let AlterableConfig {
        name,
        config_operation,
        value,
    } = config;
    let refused = |text: String| (ErrorCode::InvalidRequest, text);
    if config_operation == CONFIG_OPERATION_DELETE {
        return Ok(ConfigChange::Delete);
    }
    let make = match config_operation {
        CONFIG_OPERATION_SET => ConfigChange::Set,
        CONFIG_OPERATION_APPEND => ConfigChange::Append,
        CONFIG_OPERATION_SUBTRACT => ConfigChange::Subtract,
        other => {
            return Err(refused(format!(
                "{name} can be set (0), deleted (1), appended to (2) or subtracted from (3), there is no operation {other}"
            )));
        }
    };
    let value =
        value.ok_or_else(|| refused(format!("{name} needs a value, unless it is deleted")))?;
    Ok(make(value.to_string()))
}

/// Returns the code for settings that cannot be changed.
pub(super) fn code(error: &ConfigChangesError) -> ErrorCode {
    match error {
        ConfigChangesError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        ConfigChangesError::Twice { .. } => ErrorCode::InvalidRequest,
        ConfigChangesError::NoList { .. }
        | ConfigChangesError::Durability { .. }
        | ConfigChangesError::Setting(_) => ErrorCode::InvalidConfig,
    }
}
