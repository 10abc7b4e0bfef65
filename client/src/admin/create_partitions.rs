//! Gives topics more partitions.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use tokio::time::{Instant, sleep};

use super::topics::text;
use super::{Admin, AskError, CreatePartitionsError};
use crate::limits::{BACKOFF_FIRST, UNKNOWN_TOPIC_PATIENCE};

impl Admin {
    /// Gives a topic more partitions, so that it has `count` in all, and waits, for three seconds at most, until a broker
    /// names their leaders. Producers of this client then use them from their next batch on.
    ///
    /// Records stay where they are, but a key's later records may go to another partition, and order between the two is
    /// not kept.
    ///
    /// # Errors
    /// When there is no such topic, it has as many partitions or more, the cluster refuses, or no answer came; see
    /// [`CreatePartitionsError::is_outcome_unknown`].
    pub async fn create_partitions(
        &self,
        topic: &str,
        count: i32,
    ) -> Result<(), CreatePartitionsError> {
        let name = ByteString::from(topic);
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.clone(),
                count,
                assignments: None,
            }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self.ask_once(&request).await;
        let response = response.map_err(|source| CreatePartitionsError::Cluster {
            topic: topic.to_owned(),
            source,
        })?;
        let mut answers = response.results.into_iter();
        let answer = answers.find(|answer| answer.name == name);
        let code = answer.as_ref().map(|answer| answer.error_code);
        match code.unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => {
                self.await_partitions(topic, count).await;
                Ok(())
            }
            ErrorCode::UnknownTopicOrPartition => Err(CreatePartitionsError::UnknownTopic {
                topic: topic.to_owned(),
            }),
            code => Err(CreatePartitionsError::Refused {
                topic: topic.to_owned(),
                code,
                message: text(answer.and_then(|answer| answer.error_message)),
            }),
        }
    }

    /// Waits until a broker names the leaders of so many partitions, and has this client's metadata name them.
    async fn await_partitions(&self, topic: &str, count: i32) {
        let patience = Instant::now() + UNKNOWN_TOPIC_PATIENCE;
        let wanted = usize::try_from(count).unwrap_or(0);
        while Instant::now() < patience {
            match self.describe_topic(topic).await {
                Ok(known)
                    if known.partitions.len() >= wanted
                        && known.partitions.iter().all(|place| place.leader.is_some()) =>
                {
                    break;
                }
                Ok(_) | Err(AskError::UnknownTopic { .. }) => sleep(BACKOFF_FIRST).await,
                // They are there all the same; whoever uses them will meet the error.
                Err(_) => return,
            }
        }
        let metadata = &self.client.inner.metadata;
        let view = metadata.view();
        if view.topics.contains_key(topic) {
            // Without it, producers learn of them when they ask next.
            let _ = metadata.refresh(view.generation, false).await;
        }
    }
}
