//! Changes settings of topics, and leaves those that are not named as they are (KIP-339).

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::describe_configs::RESOURCE_TYPE_TOPIC;
use keylane_protocol::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, CONFIG_OPERATION_APPEND, CONFIG_OPERATION_DELETE,
    CONFIG_OPERATION_SET, CONFIG_OPERATION_SUBTRACT, IncrementalAlterConfigsRequest,
};

use super::topics::text;
use super::{Admin, AlterConfigsError};

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    name: String,
    operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    Set(String),
    Unset,
    Append(String),
    Subtract(String),
}

impl ConfigChange {
    /// Gives the setting a value.
    #[must_use]
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Operation::Set(value.into()))
    }

    /// Lets the setting go back to its default.
    #[must_use]
    pub fn unset(name: impl Into<String>) -> Self {
        Self::new(name, Operation::Unset)
    }

    /// Adds elements, with commas between them, to a setting that is a list.
    #[must_use]
    pub fn append(name: impl Into<String>, elements: impl Into<String>) -> Self {
        Self::new(name, Operation::Append(elements.into()))
    }

    /// Takes elements, with commas between them, out of a setting that is a list.
    #[must_use]
    pub fn subtract(name: impl Into<String>, elements: impl Into<String>) -> Self {
        Self::new(name, Operation::Subtract(elements.into()))
    }

    fn new(name: impl Into<String>, operation: Operation) -> Self {
        let name = name.into();
        Self { name, operation }
    }

    fn on_wire(self) -> AlterableConfig {
        let (config_operation, value) = match self.operation {
            Operation::Set(value) => (CONFIG_OPERATION_SET, Some(value)),
            Operation::Unset => (CONFIG_OPERATION_DELETE, None),
            Operation::Append(elements) => (CONFIG_OPERATION_APPEND, Some(elements)),
            Operation::Subtract(elements) => (CONFIG_OPERATION_SUBTRACT, Some(elements)),
        };
        AlterableConfig {
            name: self.name.into(),
            config_operation,
            value: value.map(ByteString::from),
        }
    }
}

impl Admin {
    /// Changes settings of a topic, all of them or none; settings that are not named stay as they are.
    ///
    /// # Errors
    /// When there is no such topic, a setting or value is not possible, the cluster refuses, or no answer came; see
    /// [`AlterConfigsError::is_outcome_unknown`].
    pub async fn alter_topic_configs(
        &self,
        topic: &str,
        changes: impl IntoIterator<Item = ConfigChange>,
    ) -> Result<(), AlterConfigsError> {
        let name = ByteString::from(topic);
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TYPE_TOPIC,
                resource_name: name.clone(),
                configs: changes.into_iter().map(ConfigChange::on_wire).collect(),
            }],
            validate_only: false,
        };
        let response = self.ask_once(&request).await;
        let response = response.map_err(|source| AlterConfigsError::Cluster {
            topic: topic.to_owned(),
            source,
        })?;
        let mut answers = response.responses.into_iter();
        let answer = answers.find(|answer| answer.resource_name == name);
        let code = answer.as_ref().map(|answer| answer.error_code);
        match code.unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => Ok(()),
            ErrorCode::UnknownTopicOrPartition => Err(AlterConfigsError::UnknownTopic {
                topic: topic.to_owned(),
            }),
            code => Err(AlterConfigsError::Refused {
                topic: topic.to_owned(),
                code,
                message: text(answer.and_then(|answer| answer.error_message)),
            }),
        }
    }
}
