//! What can go wrong with an admin call. Each enum belongs to one kind of operation.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::InvalidTopicName;

use crate::metadata::MetadataError;

/// Why a topic was not created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateTopicError {
    /// The name cannot be that of a topic.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// There is a topic of that name already.
    #[error("topic {topic:?} exists already")]
    AlreadyExists {
        /// The topic's name.
        topic: String,
    },
    /// The cluster refuses: partitions, replicas or settings it cannot give.
    #[error("topic {topic:?} was not created: {code}{}", detail(.message))]
    Refused {
        /// The topic's name.
        topic: String,
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<String>,
    },
    /// No broker could be asked, or no answer came.
    #[error("topic {topic:?} could not be created: {source}")]
    Cluster {
        /// The topic's name.
        topic: String,
        /// Why.
        source: MetadataError,
    },
}

/// Why a topic was not given more partitions.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreatePartitionsError {
    /// There is no such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// The cluster refuses: the topic has so many already, or they are too many.
    #[error("topic {topic:?} was not given more partitions: {code}{}", detail(.message))]
    Refused {
        /// The topic's name.
        topic: String,
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<String>,
    },
    /// No broker could be asked, or no answer came.
    #[error("topic {topic:?} could not be given more partitions: {source}")]
    Cluster {
        /// The topic's name.
        topic: String,
        /// Why.
        source: MetadataError,
    },
}

/// Why settings of a topic were not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AlterConfigsError {
    /// There is no such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// The cluster refuses: a setting or a value is not possible, or cannot be changed.
    #[error("the settings of topic {topic:?} were not changed: {code}{}", detail(.message))]
    Refused {
        /// The topic's name.
        topic: String,
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<String>,
    },
    /// No broker could be asked, or no answer came.
    #[error("the settings of topic {topic:?} could not be changed: {source}")]
    Cluster {
        /// The topic's name.
        topic: String,
        /// Why.
        source: MetadataError,
    },
}

/// Why a topic was not deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeleteTopicError {
    /// There is no such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// The cluster refuses.
    #[error("topic {topic:?} was not deleted: {code}{}", detail(.message))]
    Refused {
        /// The topic's name.
        topic: String,
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<String>,
    },
    /// No broker could be asked, or no answer came.
    #[error("topic {topic:?} could not be deleted: {source}")]
    Cluster {
        /// The topic's name.
        topic: String,
        /// Why.
        source: MetadataError,
    },
}

/// Why a question about topics, settings or the cluster was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// There is no such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// The cluster refuses.
    #[error("{subject} cannot be described: {code}{}", detail(.message))]
    Refused {
        /// What was asked about.
        subject: String,
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<String>,
    },
    /// No broker could be asked, or no answer came.
    #[error(transparent)]
    Cluster(#[from] MetadataError),
}

impl CreateTopicError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Name(_) | Self::AlreadyExists { .. } => false,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Cluster { source, .. } => source.is_retriable(),
        }
    }

    /// Returns whether the topic may have been created all the same.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Name(_) | Self::AlreadyExists { .. } => false,
            Self::Refused { code, .. } => is_code_of_unknown_outcome(*code),
            Self::Cluster { source, .. } => is_answer_lost(source),
        }
    }
}

/// What can be told of a change of a topic that was not made, or perhaps was.
macro_rules! outcome_of_change {
    ($error:ident, $perhaps:literal) => {
        impl $error {
            /// Returns whether another attempt may succeed without anything being changed first.
            #[must_use]
            pub fn is_retriable(&self) -> bool {
                match self {
                    Self::UnknownTopic { .. } => false,
                    Self::Refused { code, .. } => code.is_retriable(),
                    Self::Cluster { source, .. } => source.is_retriable(),
                }
            }

            #[doc = concat!("Returns whether ", $perhaps, " all the same.")]
            #[must_use]
            pub fn is_outcome_unknown(&self) -> bool {
                match self {
                    Self::UnknownTopic { .. } => false,
                    Self::Refused { code, .. } => is_code_of_unknown_outcome(*code),
                    Self::Cluster { source, .. } => is_answer_lost(source),
                }
            }
        }
    };
}

outcome_of_change!(CreatePartitionsError, "the topic may have been given them");
outcome_of_change!(AlterConfigsError, "the settings may have been changed");
outcome_of_change!(DeleteTopicError, "the topic may have been deleted");

impl AskError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::UnknownTopic { .. } => false,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Cluster(source) => source.is_retriable(),
        }
    }
}

fn is_code_of_unknown_outcome(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RequestTimedOut | ErrorCode::UnknownServerError | ErrorCode::NetworkException
    )
}

fn is_answer_lost(source: &MetadataError) -> bool {
    match source {
        MetadataError::Unreachable { last } => last.is_outcome_unknown(),
        MetadataError::InvalidName(_)
        | MetadataError::UnknownTopic { .. }
        | MetadataError::TopicRefused { .. } => false,
    }
}

fn detail(message: &Option<String>) -> String {
    message
        .as_ref()
        .map_or_else(String::new, |message| format!(": {message}"))
}
