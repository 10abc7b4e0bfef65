//! Settings of topics and brokers.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::describe_configs::{
    CONFIG_SOURCE_DEFAULT, CONFIG_SOURCE_DYNAMIC_BROKER, CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER,
    CONFIG_SOURCE_STATIC_BROKER, CONFIG_SOURCE_TOPIC, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    RESOURCE_TYPE_BROKER, RESOURCE_TYPE_TOPIC,
};

use super::topics::text;
use super::{Admin, AskError};
use crate::connection::ConnectionError;
use crate::metadata::MetadataError;

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker.
    Broker(BrokerId),
}

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; `None` if it is kept secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub is_read_only: bool,
    /// Whether its value is kept secret.
    pub is_sensitive: bool,
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// It was made for this topic.
    Topic,
    /// It was made for this broker, or for all of them, while they ran.
    DynamicBroker,
    /// It was made when the broker was started.
    StaticBroker,
    /// Nobody made it.
    Default,
    /// Something this client does not know, by its number.
    Other(i8),
}

impl Admin {
    /// Returns the settings of a topic or broker, by name.
    ///
    /// # Errors
    /// When there is no such topic or broker, the cluster refuses, or no broker answers.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
    ) -> Result<Vec<ConfigEntry>, AskError> {
        let (resource_type, name) = match resource {
            ConfigResource::Topic(name) => (RESOURCE_TYPE_TOPIC, ByteString::from(name.as_str())),
            ConfigResource::Broker(broker) => (RESOURCE_TYPE_BROKER, broker.0.to_string().into()),
        };
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name: name.clone(),
                configuration_keys: None,
            }],
            ..Default::default()
        };
        let response = self.ask_about(resource, &request).await?;
        let mut results = response.results.into_iter();
        let result = results.find(|result| result.resource_name == name);
        let result = result.unwrap_or_default();
        match (result.error_code, resource) {
            (ErrorCode::None, _) => {
                let mut entries: Vec<ConfigEntry> = result.configs.into_iter().map(entry).collect();
                entries.sort_by(|one, other| one.name.cmp(&other.name));
                Ok(entries)
            }
            (ErrorCode::UnknownTopicOrPartition, ConfigResource::Topic(topic)) => {
                Err(AskError::UnknownTopic {
                    topic: topic.clone(),
                })
            }
            (code, _) => Err(AskError::Refused {
                subject: resource.to_string(),
                code,
                message: text(result.error_message),
            }),
        }
    }

    /// Asks the broker itself about a broker, any broker about a topic.
    async fn ask_about(
        &self,
        resource: &ConfigResource,
        request: &DescribeConfigsRequest,
    ) -> Result<DescribeConfigsResponse, AskError> {
        let ConfigResource::Broker(broker) = resource else {
            return Ok(self.ask(request).await?);
        };
        let unreachable = |last: ConnectionError| MetadataError::Unreachable { last };
        let connection = self.client.inner.metadata.broker(*broker).await;
        let answer = connection.map_err(unreachable)?.call(request).await;
        Ok(answer.map_err(unreachable)?)
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(topic) => write!(formatter, "topic {topic:?}"),
            Self::Broker(broker) => write!(formatter, "broker {broker}"),
        }
    }
}

fn entry(config: DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.map(|value| value.to_string()),
        source: source(config.config_source),
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    }
}

fn source(number: i8) -> ConfigSource {
    match number {
        CONFIG_SOURCE_TOPIC => ConfigSource::Topic,
        CONFIG_SOURCE_DYNAMIC_BROKER | CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER => {
            ConfigSource::DynamicBroker
        }
        CONFIG_SOURCE_STATIC_BROKER => ConfigSource::StaticBroker,
        CONFIG_SOURCE_DEFAULT => ConfigSource::Default,
        number => ConfigSource::Other(number),
    }
}
