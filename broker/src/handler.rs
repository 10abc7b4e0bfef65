//! From requests to commands and from outcomes to responses: the only place of the broker that knows wire messages.

pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod cluster;
pub(crate) mod controller_calls;
pub(crate) mod create_partitions;
pub(crate) mod describe_configs;
pub(crate) mod exchange;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod init_producer_id;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod on_demand;
pub(crate) mod produce;
pub(crate) mod topic_changes;

use bytestring::ByteString;

use crate::limits::ERROR_WORDS_BYTES_MAX;

/// Returns what an answer says about an error, cut if it is very long.
fn words(mut text: String) -> ByteString {
    const CUT: &str = " …";
    if text.len() > ERROR_WORDS_BYTES_MAX {
        let is_boundary = |at: &usize| text.is_char_boundary(*at);
        let end = (0..=ERROR_WORDS_BYTES_MAX).rev().find(is_boundary);
        text.truncate(end.unwrap_or(0));
        text.push_str(CUT);
    }
    ByteString::from(text)
}
