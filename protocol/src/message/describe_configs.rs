//! DescribeConfigs (key 32), versions 1 to 4: the settings of topics and brokers (KIP-133).
//!
//! v1 sources and synonyms (KIP-226) · v2 throttles after answering · v3 types and documentation (KIP-569) · v4 flexible.
//! Every entry of an answer needs a known source: the default -1 makes the Java client fail.

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
