//! DescribeConfigs: the settings of topics and of this broker, where they come from, and what they mean (KIP-133).
//!
//! Every entry has a known source: the schema's default stops the Java client.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::create_topics::CreatableTopicConfigs;
use keylane_protocol::message::describe_configs::{
    CONFIG_SOURCE_DEFAULT, CONFIG_SOURCE_STATIC_BROKER, CONFIG_SOURCE_TOPIC, CONFIG_TYPE_BOOLEAN,
    CONFIG_TYPE_INT, CONFIG_TYPE_LIST, CONFIG_TYPE_LONG, CONFIG_TYPE_STRING,
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym, NodeSetting,
    RESOURCE_TYPE_BROKER, RESOURCE_TYPE_TOPIC,
};

use super::words;
use crate::config::BrokerConfig;
use crate::topic_settings::{SETTINGS, Setting, SettingType, TopicSettings};
use crate::topics::{Topic, TopicsImage};

/// Returns the answer.
pub(crate) fn answer(
    request: &DescribeConfigsRequest,
    config: &BrokerConfig,
    image: &TopicsImage,
) -> DescribeConfigsResponse {
    let resources = request.distinct_resources();
    let results = resources.map(|resource| {
        let outcome = match resource.resource_type {
            RESOURCE_TYPE_TOPIC => of_topic(&resource.resource_name, config, image),
            RESOURCE_TYPE_BROKER => of_broker(&resource.resource_name, config),
            other => Err((
                ErrorCode::InvalidRequest,
                format!("configurations exist of topics (2) and brokers (4), not of type {other}"),
            )),
        };
        result(request, resource, outcome)
    });
    DescribeConfigsResponse {
        throttle_time_ms: 0,
        results: results.collect(),
    }
}

type Outcome = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

fn result(
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
    outcome: Outcome,
) -> DescribeConfigsResult {
    let (error_code, error_message, mut configs) = match outcome {
        Ok(configs) => (ErrorCode::None, None, configs),
        Err((code, text)) => (code, Some(words(text)), Vec::new()),
    };
    request.keep_wanted(resource, &mut configs);
    DescribeConfigsResult {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs,
    }
}

fn of_topic(name: &str, config: &BrokerConfig, image: &TopicsImage) -> Outcome {
    match image.named(name) {
        Some(topic) => Ok(SETTINGS
            .iter()
            .map(|setting| entry(setting, topic, config))
            .collect()),
        None => Err((
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic {name:?}"),
        )),
    }
}

/// Returns where the value that is in effect comes from.
fn source(setting: &Setting, topic: &Topic, config: &BrokerConfig) -> i8 {
    let standard = setting.value_in(&TopicSettings::default());
    if topic.overrides.contains_key(setting.key) {
        CONFIG_SOURCE_TOPIC
    } else if setting.value_in(&config.topic_defaults) == standard {
        CONFIG_SOURCE_DEFAULT
    } else {
        CONFIG_SOURCE_STATIC_BROKER
    }
}

fn entry(setting: &Setting, topic: &Topic, config: &BrokerConfig) -> DescribeConfigsResourceResult {
    let key = ByteString::from_static(setting.key);
    let broker = setting.value_in(&config.topic_defaults);
    let standard = setting.value_in(&TopicSettings::default());
    let mut synonyms = Vec::new();
    let mut add = |value: String, source| {
        synonyms.push(DescribeConfigsSynonym {
            name: key.clone(),
            value: Some(value.into()),
            source,
        });
    };
    if let Some(value) = topic.overrides.get(setting.key) {
        add(value.clone(), CONFIG_SOURCE_TOPIC);
    }
    if broker != standard {
        add(broker, CONFIG_SOURCE_STATIC_BROKER);
    }
    add(standard, CONFIG_SOURCE_DEFAULT);
    DescribeConfigsResourceResult {
        name: key,
        value: Some(setting.value_in(&topic.settings).into()),
        read_only: setting.is_read_only(),
        config_source: source(setting, topic, config),
        is_sensitive: false,
        synonyms,
        config_type: match setting.value_type {
            SettingType::Text => CONFIG_TYPE_STRING,
            SettingType::Int => CONFIG_TYPE_INT,
            SettingType::Long => CONFIG_TYPE_LONG,
            SettingType::List => CONFIG_TYPE_LIST,
        },
        documentation: Some(ByteString::from_static(setting.documentation)),
    }
}

/// Returns the settings of a new topic as CreateTopics tells them.
pub(crate) fn of_new_topic(topic: &Topic, config: &BrokerConfig) -> Vec<CreatableTopicConfigs> {
    let setting = |setting: &Setting| CreatableTopicConfigs {
        name: ByteString::from_static(setting.key),
        value: Some(setting.value_in(&topic.settings).into()),
        read_only: setting.is_read_only(),
        config_source: source(setting, topic, config),
        is_sensitive: false,
    };
    SETTINGS.iter().map(setting).collect()
}

fn of_broker(name: &str, config: &BrokerConfig) -> Outcome {
    // What was changed for all brokers while they ran: nothing can be.
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if name != config.id.to_string() {
        let id = config.id;
        return Err((
            ErrorCode::InvalidRequest,
            format!("this is broker {id}; it knows nothing of the settings of broker {name:?}"),
        ));
    }
    let settings = broker_settings(config).into_iter();
    let standard = broker_settings(&BrokerConfig::new(""));
    let settings = settings.zip(standard).map(|(setting, standard)| {
        let (key, config_type, value, documentation) = setting;
        let setting = NodeSetting {
            key,
            config_type,
            value,
            standard: standard.2,
            documentation,
        };
        setting.told()
    });
    Ok(settings.collect())
}

/// Returns what is told of a broker: keys, types, values, and what they mean.
fn broker_settings(config: &BrokerConfig) -> [(&'static str, i8, String, &'static str); 7] {
    [
        (
            "auto.create.topics.enable",
            CONFIG_TYPE_BOOLEAN,
            config.auto_create_topics.to_string(),
            "Whether a topic is created when a client that permits it asks for it.",
        ),
        (
            "connections.max.idle.ms",
            CONFIG_TYPE_LONG,
            config.clients.idle_timeout.as_millis().to_string(),
            "A connection on which nothing happens for so long is closed.",
        ),
        (
            "fetch.max.bytes",
            CONFIG_TYPE_INT,
            config.limits.fetch_bytes_max.to_string(),
            "The most record bytes in one answer to Fetch.",
        ),
        (
            "max.connections",
            CONFIG_TYPE_INT,
            config.clients.connections_max.to_string(),
            "The most connections at once.",
        ),
        (
            "node.id",
            CONFIG_TYPE_INT,
            config.id.to_string(),
            "The broker's id.",
        ),
        (
            "num.partitions",
            CONFIG_TYPE_INT,
            config.default_partitions.to_string(),
            "The partitions of a topic created without a number.",
        ),
        (
            "socket.request.max.bytes",
            CONFIG_TYPE_INT,
            config.clients.request_bytes_max.to_string(),
            "The largest request.",
        ),
    ]
}
