//! DeleteTopics (key 20), versions 1 to 6.
//!
//! v1 throttle time · v2 throttles after answering · v3 TOPIC_DELETION_DISABLED · v4 flexible · v5 error messages,
//! THROTTLING_QUOTA_EXCEEDED (KIP-599) · v6 by name or id (KIP-516). Up to version 5 topics are in `topic_names`, then in
//! `topics`. As in Kafka's schema `topic_names` is dropped from version 6 on, whereas `topics` before it is an error.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::TopicId;

exchange!(DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse);

message! {
    /// Deletes topics with their records.
    pub struct DeleteTopicsRequest {
        /// The topics by name or id.
        topics: Vec<DeleteTopicState> [6..],
        /// The topics by name.
        topic_names: Vec<ByteString> [..=5 ; ignorable],
        /// How long the deletion may take, in milliseconds.
        timeout_ms: i32,
    }
}

message! {
    /// A topic to delete.
    pub struct DeleteTopicState {
        /// Its name; `None` if the id says which.
        name: Option<ByteString>,
        /// Its id; zero if the name says which.
        topic_id: TopicId,
    }
}

message! {
    /// Tells which topics were deleted.
    pub struct DeleteTopicsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        responses: Vec<DeletableTopicResult>,
    }
}

message! {
    /// What became of one topic.
    pub struct DeletableTopicResult {
        /// Its name; `None` if it was named by an id that does not exist.
        name: Option<ByteString> [.., null 6..] = Some(ByteString::new()),
        /// Its id.
        topic_id: TopicId [6.. ; ignorable],
        /// Why it was not deleted, if so.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString> [5.. ; ignorable],
    }
}
