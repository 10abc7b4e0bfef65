//! Reaching a cluster, and what to do about the errors that come from there.

use keylane_client::{
    AlterConfigsError, AskError, BuildProducerError, Client, ConnectError, ConnectionError,
    CreatePartitionsError, CreateTopicError, DeleteTopicError, ListOffsetsError, MetadataError,
    SendError,
};
use keylane_protocol::error_code::ErrorCode;
use std::error::Error;
use std::future::Future;

use crate::arguments::ConnectArguments;
use crate::failure::Failure;

const WHAT_A_NAME_IS: &str = "a topic's name has 1 to 249 letters, digits, dots, underscores and dashes, and is neither . nor ..";
const IS_IT_RUNNING: &str = "is the broker still running? Its log on stderr says why it ended";
const ASK_FOR_TOPIC: &str = "`keylane topic list` shows what there is, `keylane topic create NAME --partitions N` makes a topic";

/// Runs a command's asynchronous part to its end on this thread.
///
/// # Errors
/// Those of the command.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start the runtime", &error))?;
    runtime.block_on(command)
}

/// Connects a client.
///
/// # Errors
/// When nobody answers there.
pub(crate) async fn connect(arguments: &ConnectArguments) -> Result<Client, Failure> {
    let address = arguments.connect.as_str();
    let client = Client::builder().client_id("keylane-cli").connect(address);
    client.await.map_err(|error| match &error {
        ConnectError::Address(fault) => Failure::usage(format!("--connect {address}: {fault}")),
        ConnectError::Setting(_) | ConnectError::Cluster(_) => {
            Failure::because(format!("cannot reach a cluster at {address}"), &error).hint(
                "is a broker running there? Start one with `keylane dev`, or name another with --connect HOST:PORT",
            )
        }
    })
}

/// What to do about an error, as far as a cause of it is known.
pub(crate) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(hint) = hint_of_one(error) {
            return Some(hint);
        }
        cause = error.source();
    }
    None
}

fn hint_of_one(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<CreateTopicError>() {
        return hint_of_creation(error);
    }
    if let Some(DeleteTopicError::UnknownTopic { .. }) = error.downcast_ref() {
        return Some("`keylane topic list` shows the names".to_owned());
    }
    if let Some(CreatePartitionsError::UnknownTopic { .. }) = error.downcast_ref() {
        return Some("`keylane topic list` shows the names".to_owned());
    }
    if let Some(AlterConfigsError::UnknownTopic { .. }) = error.downcast_ref() {
        return Some("`keylane topic list` shows the names".to_owned());
    }
    if let Some(AskError::UnknownTopic { .. }) = error.downcast_ref() {
        return Some(ASK_FOR_TOPIC.to_owned());
    }
    if let Some(ListOffsetsError::UnknownPartition { count, .. }) = error.downcast_ref() {
        return Some(format!("give a --partition below {count}"));
    }
    if error.is::<ConnectionError>() {
        return Some(IS_IT_RUNNING.to_owned());
    }
    // These wrap an error without being its effect, so that it is no `source` of theirs.
    let metadata = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(SendError::Metadata(inner)), _) => Some(inner),
        (_, Some(ListOffsetsError::Metadata(inner))) => Some(inner),
        _ => match (error.downcast_ref(), error.downcast_ref()) {
            (Some(AskError::Cluster(inner)), _) => Some(inner),
            (_, Some(BuildProducerError::Cluster(inner))) => Some(inner),
            _ => error.downcast_ref(),
        },
    };
    metadata.and_then(hint_of_metadata)
}

fn hint_of_metadata(error: &MetadataError) -> Option<String> {
    match error {
        MetadataError::Unreachable { .. } => Some(IS_IT_RUNNING.to_owned()),
        MetadataError::UnknownTopic { .. } => Some(ASK_FOR_TOPIC.to_owned()),
        MetadataError::InvalidName(_) => Some(WHAT_A_NAME_IS.to_owned()),
        MetadataError::TopicRefused { code, .. } => hint_of_code(*code),
    }
}

fn hint_of_creation(error: &CreateTopicError) -> Option<String> {
    match error {
        CreateTopicError::Name(_) => Some(WHAT_A_NAME_IS.to_owned()),
        CreateTopicError::AlreadyExists { topic } => Some(format!(
            "choose another name, or delete it with all its records: keylane topic delete {topic}"
        )),
        CreateTopicError::Refused { code, .. } => hint_of_code(*code),
        CreateTopicError::Cluster { .. } => None,
    }
}

/// What to do about a broker's refusal.
pub(crate) fn hint_of_code(code: ErrorCode) -> Option<String> {
    let hint = match code {
        ErrorCode::InvalidTopicException => WHAT_A_NAME_IS,
        ErrorCode::UnknownTopicOrPartition => ASK_FOR_TOPIC,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "raise the topic's max.message.bytes (topic create --config) or the broker's --batch-size-max, or \
             send smaller rows"
        }
        ErrorCode::KafkaStorageError => "the broker's log on stderr says what its disk did",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the failure of an operation on a cluster, with what to do about it.
pub(crate) fn failed(what: &str, error: &(dyn Error + 'static)) -> Failure {
    let failure = match what {
        "" => Failure::from_error(error),
        what => Failure::because(what, error),
    };
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
