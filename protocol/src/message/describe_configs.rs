//! DescribeConfigs (key 32), versions 1 to 4: the settings of topics and brokers (KIP-133).
//!
//! v1 sources and synonyms (KIP-226) · v2 throttles after answering · v3 types and documentation (KIP-569) · v4 flexible.
//! Every entry of an answer needs a known source: the default -1 makes the Java client fail.

use std::collections::BTreeSet;

use bytestring::ByteString;

use crate::error_code::ErrorCode;

exchange!(DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse);

/// The resource is a topic.
pub const RESOURCE_TYPE_TOPIC: i8 = 2;
/// The resource is a broker.
pub const RESOURCE_TYPE_BROKER: i8 = 4;

/// The setting was made for this topic.
pub const CONFIG_SOURCE_TOPIC: i8 = 1;
/// The setting was made for this broker while it ran.
pub const CONFIG_SOURCE_DYNAMIC_BROKER: i8 = 2;
/// The setting was made for all brokers while they ran.
pub const CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER: i8 = 3;
/// The setting was made when the broker was started.
pub const CONFIG_SOURCE_STATIC_BROKER: i8 = 4;
/// Nobody made the setting.
pub const CONFIG_SOURCE_DEFAULT: i8 = 5;

/// The value is `true` or `false`.
pub const CONFIG_TYPE_BOOLEAN: i8 = 1;
/// The value is a text.
pub const CONFIG_TYPE_STRING: i8 = 2;
/// The value is a 32-bit number.
pub const CONFIG_TYPE_INT: i8 = 3;
/// The value is a 16-bit number.
pub const CONFIG_TYPE_SHORT: i8 = 4;
/// The value is a 64-bit number.
pub const CONFIG_TYPE_LONG: i8 = 5;
/// The value is a fraction.
pub const CONFIG_TYPE_DOUBLE: i8 = 6;
/// The value is a list, separated by commas.
pub const CONFIG_TYPE_LIST: i8 = 7;

message! {
    /// Asks for the settings of resources.
    pub struct DescribeConfigsRequest {
        /// The resources.
        resources: Vec<DescribeConfigsResource>,
        /// Whether to tell where else each setting could come from.
        include_synonyms: bool,
        /// Whether to explain each setting.
        include_documentation: bool [3..],
    }
}

message! {
    /// A resource to tell about.
    pub struct DescribeConfigsResource {
        /// One of `RESOURCE_TYPE_…`.
        resource_type: i8,
        /// The topic's name, or the broker's id as text.
        resource_name: ByteString,
        /// The settings wanted; `None` for all.
        configuration_keys: Option<Vec<ByteString>> = Some(Vec::new()),
    }
}

message! {
    /// Tells the settings of resources.
    pub struct DescribeConfigsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The resources.
        results: Vec<DescribeConfigsResult>,
    }
}

message! {
    /// The settings of one resource.
    pub struct DescribeConfigsResult {
        /// Why they cannot be told, if so.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString> = Some(ByteString::new()),
        /// One of `RESOURCE_TYPE_…`.
        resource_type: i8,
        /// The topic's name, or the broker's id as text.
        resource_name: ByteString,
        /// The settings.
        configs: Vec<DescribeConfigsResourceResult>,
    }
}

message! {
    /// A setting.
    pub struct DescribeConfigsResourceResult {
        /// Its name.
        name: ByteString,
        /// Its value; `None` if it is sensitive.
        value: Option<ByteString> = Some(ByteString::new()),
        /// Whether it cannot be changed.
        read_only: bool,
        /// Where it comes from: one of `CONFIG_SOURCE_…`.
        config_source: i8 = -1,
        /// Whether its value must not be shown.
        is_sensitive: bool,
        /// Where else it could come from, the strongest first.
        synonyms: Vec<DescribeConfigsSynonym>,
        /// What its value is: one of `CONFIG_TYPE_…`; 0 for unknown.
        config_type: i8 [3.. ; ignorable],
        /// What it means.
        documentation: Option<ByteString> [3.. ; ignorable] = Some(ByteString::new()),
    }
}

message! {
    /// Another source of a setting.
    pub struct DescribeConfigsSynonym {
        /// The name there.
        name: ByteString,
        /// The value there; `None` if it is sensitive.
        value: Option<ByteString> = Some(ByteString::new()),
        /// One of `CONFIG_SOURCE_…`.
        source: i8,
    }
}

/// A setting of a node, as it is and as it would be without configuration; no client can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSetting {
    /// Its key.
    pub key: &'static str,
    /// One of `CONFIG_TYPE_…`.
    pub config_type: i8,
    /// Its value.
    pub value: String,
    /// The value if nobody sets it.
    pub standard: String,
    /// What it means.
    pub documentation: &'static str,
}

impl NodeSetting {
    /// Returns all that can be told of it.
    #[must_use]
    pub fn told(&self) -> DescribeConfigsResourceResult {
        let name = ByteString::from_static(self.key);
        let synonym = |value: &String, source| DescribeConfigsSynonym {
            name: name.clone(),
            value: Some(value.clone().into()),
            source,
        };
        let mut synonyms = vec![synonym(&self.standard, CONFIG_SOURCE_DEFAULT)];
        if self.value != self.standard {
            synonyms.insert(0, synonym(&self.value, CONFIG_SOURCE_STATIC_BROKER));
        }
        DescribeConfigsResourceResult {
            value: Some(self.value.clone().into()),
            read_only: true,
            config_source: synonyms[0].source,
            is_sensitive: false,
            config_type: self.config_type,
            documentation: Some(ByteString::from_static(self.documentation)),
            synonyms,
            name,
        }
    }
}

impl DescribeConfigsRequest {
    /// Returns the resources, each once: a short name stands for all of its settings.
    pub fn distinct_resources(&self) -> impl Iterator<Item = &DescribeConfigsResource> {
        let mut seen = BTreeSet::new();
        let resources = self.resources.iter();
        resources.filter(move |resource| {
            let key = (resource.resource_type, &*resource.resource_name);
            seen.insert(key)
        })
    }

    /// Leaves what is asked for of the settings of one of the resources.
    pub fn keep_wanted(
        &self,
        resource: &DescribeConfigsResource,
        configs: &mut Vec<DescribeConfigsResourceResult>,
    ) {
        let keys = resource.configuration_keys.as_ref();
        if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
            configs.retain(|config| keys.contains(&config.name));
        }
        for config in configs {
            if !self.include_synonyms {
                config.synonyms = Vec::new();
            }
            if !self.include_documentation {
                config.documentation = None;
            }
        }
    }
}
