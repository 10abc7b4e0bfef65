//! Creates topics.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{TopicId, TopicName};
use keylane_protocol::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use tokio::time::{Instant, sleep};

use super::topics::{known, text};
use super::{Admin, AskError, CreateTopicError};
use crate::limits::{BACKOFF_FIRST, UNKNOWN_TOPIC_PATIENCE};

/// A topic to create.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication_factor: i16,
    configs: Vec<(String, String)>,
}

/// A topic that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; `None` from brokers without topic ids.
    pub id: Option<TopicId>,
    /// The number of its partitions; `None` from old brokers.
    pub partitions: Option<usize>,
}

impl NewTopic {
    /// Returns a topic with the cluster's default number of partitions and replicas.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            configs: Vec::new(),
        }
    }

    /// Sets the number of partitions; -1 for the cluster's default.
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets the number of replicas of each partition; -1 for the cluster's default.
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// Sets a topic setting, such as `durability` or `retention.ms`.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((key.into(), value.into()));
        self
    }
}

impl Admin {
    /// Creates a topic, and waits, for three seconds at most, until a broker names its leaders.
    ///
    /// # Errors
    /// When the name is taken or not allowed, the cluster refuses, or no answer came; see
    /// [`CreateTopicError::is_outcome_unknown`].
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, CreateTopicError> {
        let name = TopicName::new(&topic.name)?.as_str().to_owned();
        let config = |(name, value): (String, String)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: ByteString::from(name.as_str()),
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                assignments: Vec::new(),
                configs: topic.configs.into_iter().map(config).collect(),
            }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self.ask_once(&request).await;
        let response = response.map_err(|source| CreateTopicError::Cluster {
            topic: name.clone(),
            source,
        })?;
        let answers = response.topics.into_iter();
        let answer = answers.into_iter().find(|answer| *answer.name == *name);
        let created = created(name, answer)?;
        self.await_topic(&created.name).await;
        Ok(created)
    }

    /// Waits until a broker knows a topic that was just created: Apache Kafka answers before that. What comes next, such
    /// as describing it, would otherwise find no such topic now and then.
    async fn await_topic(&self, topic: &str) {
        let patience = Instant::now() + UNKNOWN_TOPIC_PATIENCE;
        while Instant::now() < patience {
            match self.describe_topic(topic).await {
                Ok(known) if known.partitions.iter().all(|place| place.leader.is_some()) => return,
                Ok(_) | Err(AskError::UnknownTopic { .. }) => sleep(BACKOFF_FIRST).await,
                // The topic is created all the same; whoever uses it will meet the error.
                Err(_) => return,
            }
        }
    }
}

fn created(
    topic: String,
    answer: Option<CreatableTopicResult>,
) -> Result<CreatedTopic, CreateTopicError> {
    let Some(answer) = answer else {
        return Err(CreateTopicError::Refused {
            topic,
            code: ErrorCode::UnknownServerError,
            message: Some("the broker's answer does not mention the topic".to_owned()),
        });
    };
    match answer.error_code {
        ErrorCode::None => Ok(CreatedTopic {
            name: topic,
            id: known(answer.topic_id),
            partitions: usize::try_from(answer.num_partitions).ok(),
        }),
        ErrorCode::TopicAlreadyExists => Err(CreateTopicError::AlreadyExists { topic }),
        code => Err(CreateTopicError::Refused {
            topic,
            code,
            message: text(answer.error_message),
        }),
    }
}
