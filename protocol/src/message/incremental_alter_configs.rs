//! IncrementalAlterConfigs (key 44), versions 0 and 1: changes some settings of resources and leaves the others (KIP-339).
//!
//! v1 flexible. The changes of one resource are made together or not at all; resources are independent of one another.
//! Types of resources are those of `describe_configs`.

use bytestring::ByteString;

use crate::error_code::ErrorCode;

exchange!(IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse);

/// The setting gets the value.
pub const CONFIG_OPERATION_SET: i8 = 0;
/// The setting goes back to its default.
pub const CONFIG_OPERATION_DELETE: i8 = 1;
/// The value is added to a setting that is a list.
pub const CONFIG_OPERATION_APPEND: i8 = 2;
/// The value is taken out of a setting that is a list.
pub const CONFIG_OPERATION_SUBTRACT: i8 = 3;

message! {
    /// Changes settings of resources.
    pub struct IncrementalAlterConfigsRequest {
        /// The resources.
        resources: Vec<AlterConfigsResource>,
        /// Only check whether they could be changed.
        validate_only: bool,
    }
}

message! {
    /// A resource whose settings to change.
    pub struct AlterConfigsResource {
        /// One of `describe_configs::RESOURCE_TYPE_…`.
        resource_type: i8,
        /// The topic's name, or the broker's id as text.
        resource_name: ByteString,
        /// The changes.
        configs: Vec<AlterableConfig>,
    }
}

message! {
    /// A change of a setting.
    pub struct AlterableConfig {
        /// The setting.
        name: ByteString,
        /// One of `CONFIG_OPERATION_…`.
        config_operation: i8,
        /// The value; `None` where the operation needs none.
        value: Option<ByteString> = Some(ByteString::new()),
    }
}

message! {
    /// Tells which settings were changed.
    pub struct IncrementalAlterConfigsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The resources.
        responses: Vec<AlterConfigsResourceResponse>,
    }
}

message! {
    /// What became of one resource.
    pub struct AlterConfigsResourceResponse {
        /// Why nothing was changed, if so.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString> = Some(ByteString::new()),
        /// One of `describe_configs::RESOURCE_TYPE_…`.
        resource_type: i8,
        /// The topic's name, or the broker's id as text.
        resource_name: ByteString,
    }
}
