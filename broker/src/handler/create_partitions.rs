//! CreatePartitions: more partitions for topics (KIP-195).
//!
//! As with CreateTopics, a broker passes the request on to the leading controller ([`answer`]), and answers when its own
//! view has the partitions; [`create`] is what the controller makes of it.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::topic_changes::{self, Asker, NO_CONTROLLER, forward};
use super::{controller_calls, words};
use crate::controller::core::Ask;
use crate::controller::partitions::{MorePartitions, MorePartitionsError};
use crate::controller::service::ControllerHandle;
use crate::server::BrokerState;

/// Returns how many topics and partitions a request names.
pub(crate) fn items(request: &CreatePartitionsRequest) -> usize {
    let topics = request.topics.iter();
    let assigned = topics.map(|topic| topic.assignments.as_ref().map_or(0, Vec::len));
    request.topics.len() + assigned.sum::<usize>()
}

/// Has partitions added, and returns the answer.
pub(crate) async fn answer(
    broker: &BrokerState,
    asker: &Asker,
    request: CreatePartitionsRequest,
    version: i16,
) -> CreatePartitionsResponse {
    match forward(broker, asker, &request, version).await {
        Ok(response) => response,
        Err(error_code) => {
            let topics = request.topics.into_iter();
            let results = topics.map(|topic| CreatePartitionsTopicResult {
                name: topic.name,
                error_code,
                error_message: Some(NO_CONTROLLER),
            });
            CreatePartitionsResponse {
                throttle_time_ms: 0,
                results: results.collect(),
            }
        }
    }
}

/// Adds partitions, or checks whether they could be added, as the controller.
pub(super) async fn create(
    controller: &ControllerHandle,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times_named: BTreeMap<ByteString, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times_named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times_named.len());
    for topic in request.topics {
        match times_named.remove(&topic.name) {
            Some(1) => results.push(create_one(controller, topic, request.validate_only).await),
            Some(_) => results.push(CreatePartitionsTopicResult {
                name: topic.name,
                error_code: ErrorCode::InvalidRequest,
                error_message: Some(topic_changes::NAMED_TWICE),
            }),
            // Answered at its first place: clients match answers by name.
            None => {}
        }
    }
    CreatePartitionsResponse {
        throttle_time_ms: 0,
        results,
    }
}

async fn create_one(
    controller: &ControllerHandle,
    asked: CreatePartitionsTopic,
    validate_only: bool,
) -> CreatePartitionsTopicResult {
    let assignments = asked.assignments.map(|assignments| {
        let brokers = assignments.into_iter();
        brokers.map(|assignment| assignment.broker_ids).collect()
    });
    let more = MorePartitions {
        topic: asked.name.to_string(),
        count: asked.count,
        assignments,
    };
    let decided = controller.ask(Ask::CreatePartitions {
        more,
        validate_only,
    });
    let (error_code, error_message) = match decided.await {
        Ok(_) => (ErrorCode::None, None),
        Err(error) => (
            controller_calls::code(&error),
            Some(words(error.to_string())),
        ),
    };
    CreatePartitionsTopicResult {
        name: asked.name,
        error_code,
        error_message,
    }
}

/// Returns the code for partitions that cannot be added.
pub(super) fn code(error: &MorePartitionsError) -> ErrorCode {
    match error {
        MorePartitionsError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        MorePartitionsError::NotMore { .. } => ErrorCode::InvalidPartitions,
        MorePartitionsError::Rules(error) => topic_changes::create_topic_code(error),
    }
}
