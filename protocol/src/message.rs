//! Requests and responses, one file per API.
//!
//! Each file declares its types with `message!` (see `declaration`): fields, versions, nullability, defaults, tags.
//! [`Request`] and [`Response`] encode and decode a body; [`crate::frame`] adds header and length. Names are Kafka's in
//! snake case. Beware: schema defaults are not safe answers. They fill fields that a version lacks; what a client
//! sees must be set, such as the source of a configuration (-1 stops the Java client).

use crate::api::ApiKey;
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

#[macro_use]
mod declaration;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod init_routed_producer;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod routed_produce;
pub mod sync_group;

/// Stands in authorized operations for "not asked for"; anything else must consist of known bits.
pub const AUTHORIZED_OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// The body of a request or response. Implemented by declarations in this module only.
pub trait Message: Wire {
    /// The API this belongs to.
    const API_KEY: ApiKey;

    /// Appends the body in a version.
    ///
    /// Fields that the version lacks are dropped if their declaration says `ignorable`, or if they have their default.
    ///
    /// # Errors
    /// When the version is not in the table, or a field that it lacks and that is not ignorable is set.
    fn encode(&self, version: i16, encoder: &mut Encoder) -> Result<(), EncodeError> {
        let api = Self::API_KEY.api();
        let unsupported = EncodeError::UnsupportedVersion {
            api: api.name,
            version,
        };
        let format = api.format(version).ok_or(unsupported)?;
        self.encode_value(encoder, format)
    }

    /// Reads the body in a version; bytes that follow it are left in the decoder.
    ///
    /// Fields that the version lacks get their default. Unknown tagged fields are skipped.
    ///
    /// # Errors
    /// When the version is not in the table, or the bytes are not such a body.
    fn decode(decoder: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        let api = Self::API_KEY.api();
        let unsupported = DecodeError::UnsupportedVersion {
            api: api.name,
            version,
        };
        let format: Format = api.format(version).ok_or(unsupported)?;
        Self::decode_value(decoder, format)
    }
}

/// The body of a request.
pub trait Request: Message {
    /// What it is answered with.
    type Response: Response;
}

/// The body of a response.
pub trait Response: Message {}
