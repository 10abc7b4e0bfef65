//! What brokers and routers ask a controller, and what it answers.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::cluster::RouterRegistered;
use keylane_protocol::cluster::call::{
    BrokerHeartbeatAnswer, BrokerHeartbeatRequest, CallBody, CallKind, DescribeQuorumAnswer,
    DescribeQuorumRequest, FetchMetadataAnswer, FetchMetadataRequest, RegisterBrokerAnswer,
    RegisterBrokerRequest, RouterHeartbeatAnswer, RouterHeartbeatRequest, SeenRegistration, Voter,
};
use keylane_protocol::cluster::{decode_records, encode_records};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, ClusterId};
use keylane_protocol::primitive::DecodeError;

use super::{alter_configs, create_partitions, topic_changes};
use crate::config::BrokerConfig;
use crate::controller::core::{Answer, Ask, AskError};
use crate::controller::raft;
use crate::controller::registration::RegisterError;
use crate::controller::replica::Missing;
use crate::controller::service::ControllerHandle;

/// The longest a request for metadata waits for a change.
const METADATA_WAIT_MAX: Duration = Duration::from_secs(5);

/// Answers a call.
///
/// # Errors
/// When the body is not one of its kind.
pub(crate) async fn answer(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    kind: CallKind,
    body: Bytes,
) -> Result<Bytes, DecodeError> {
    match kind {
        CallKind::RegisterBroker => {
            encoded(&register_broker(controller, CallBody::from_bytes(body)?).await)
        }
        CallKind::BrokerHeartbeat => {
            encoded(&broker_heartbeat(controller, CallBody::from_bytes(body)?).await)
        }
        CallKind::FetchMetadata => {
            encoded(&fetch_metadata(controller, CallBody::from_bytes(body)?).await)
        }
        CallKind::Forward => {
            let request = CallBody::from_bytes(body)?;
            encoded(&topic_changes::forwarded(controller, config, request).await?)
        }
        CallKind::RouterHeartbeat => {
            encoded(&router_heartbeat(controller, CallBody::from_bytes(body)?).await)
        }
        CallKind::DescribeQuorum => encoded(&describe_quorum(
            controller,
            config,
            &CallBody::from_bytes(body)?,
        )),
    }
}

fn encoded(answer: &impl CallBody) -> Result<Bytes, DecodeError> {
    Ok(answer.to_bytes().expect("words and names in it are short"))
}

/// Returns the code of a refusal.
pub(crate) fn code(error: &AskError) -> ErrorCode {
    match error {
        AskError::Register(RegisterError::OtherCluster { .. }) => ErrorCode::InconsistentClusterId,
        AskError::Register(RegisterError::Alive { .. } | RegisterError::CopyAlive { .. }) => {
            ErrorCode::DuplicateBrokerRegistration
        }
        AskError::Register(_) | AskError::Router { .. } | AskError::Founded => {
            ErrorCode::InvalidRequest
        }
        AskError::CreateTopic(error) => topic_changes::create_topic_code(error),
        AskError::CreatePartitions(error) => create_partitions::code(error),
        AskError::ChangeConfigs(error) => alter_configs::code(error),
        AskError::UnknownName { .. } => ErrorCode::UnknownTopicOrPartition,
        AskError::UnknownId { .. } => ErrorCode::UnknownTopicId,
        AskError::Stale { .. } => ErrorCode::StaleBrokerEpoch,
        AskError::NotController => ErrorCode::NotController,
        AskError::Busy => ErrorCode::ThrottlingQuotaExceeded,
        AskError::Unknown => ErrorCode::RequestTimedOut,
    }
}

fn index(controller: &ControllerHandle) -> i64 {
    i64::try_from(controller.view().image().0).unwrap_or(i64::MAX)
}

/// Registers a broker.
pub(crate) async fn register_broker(
    controller: &ControllerHandle,
    request: RegisterBrokerRequest,
) -> RegisterBrokerAnswer {
    let broker_id = request.broker_id;
    let is_it = |voter: &raft::Voter| voter.broker_id == broker_id;
    let ask = Ask::RegisterBroker {
        request: Box::new(request),
        votes: controller.quorum().voters().values().any(is_it),
    };
    let decided = controller.ask(ask).await;
    let answer = RegisterBrokerAnswer {
        controller_id: controller.leader(),
        ..RegisterBrokerAnswer::default()
    };
    match decided {
        Ok(Answer::Registered(broker_epoch)) => {
            // Its session begins.
            controller.hear(broker_id, broker_epoch).await;
            let (_, image) = controller.view().image();
            RegisterBrokerAnswer {
                cluster_id: image.cluster_id().unwrap_or_default(),
                broker_epoch,
                index: index(controller),
                ..answer
            }
        }
        Ok(_) => RegisterBrokerAnswer {
            error_code: ErrorCode::RequestTimedOut,
            ..answer
        },
        // Whoever leads instead may know of a later start.
        Err(AskError::Register(_)) if !controller.leads() => RegisterBrokerAnswer {
            error_code: ErrorCode::NotController,
            ..answer
        },
        Err(error) => RegisterBrokerAnswer {
            error_code: code(&error),
            error_message: Some(error.to_string().into()),
            ..answer
        },
    }
}

/// Notes that a broker lives, and lets it take part, or excludes it, as it asks.
pub(crate) async fn broker_heartbeat(
    controller: &ControllerHandle,
    request: BrokerHeartbeatRequest,
) -> BrokerHeartbeatAnswer {
    let (id, epoch) = (request.broker_id, request.broker_epoch);
    controller.hear(id, epoch).await;
    let answer = BrokerHeartbeatAnswer {
        controller_id: controller.leader(),
        index: index(controller),
        ..BrokerHeartbeatAnswer::default()
    };
    let refused = |error_code| BrokerHeartbeatAnswer {
        error_code,
        is_fenced: true,
        ..answer.clone()
    };
    if !controller.leads() {
        return refused(ErrorCode::NotController);
    }
    let is_fenced = || {
        let (_, image) = controller.view().image();
        let broker = image.broker(id).filter(|broker| broker.epoch == epoch)?;
        Some(broker.is_fenced)
    };
    let has_caught_up = request.index >= 0;
    let decided = match (is_fenced(), request.is_stopping) {
        (None, _) => return refused(ErrorCode::StaleBrokerEpoch),
        (Some(false), true) => controller.ask(Ask::Fence(id, epoch)).await,
        (Some(true), false) if has_caught_up => controller.ask(Ask::Unfence(id, epoch)).await,
        (Some(_), _) => Ok(Answer::Done),
    };
    match decided {
        Ok(_) => BrokerHeartbeatAnswer {
            is_fenced: is_fenced().unwrap_or(true),
            index: index(controller),
            ..answer
        },
        Err(error) => refused(code(&error)),
    }
}

/// Returns what has changed; waits for a change as long as the request says.
pub(crate) async fn fetch_metadata(
    controller: &ControllerHandle,
    request: FetchMetadataRequest,
) -> FetchMetadataAnswer {
    let refused = |error_code| FetchMetadataAnswer {
        error_code,
        controller_id: controller.leader(),
        index: request.index,
        ..FetchMetadataAnswer::default()
    };
    let known = u64::try_from(request.index).unwrap_or(0);
    let mut images = controller.view().images();
    let wait = Duration::from_millis(u64::try_from(request.wait_ms).unwrap_or(0));
    // Nothing new within that time is an answer as well.
    let newer = images.wait_for(|(index, _)| *index > known);
    let _ = tokio::time::timeout(wait.min(METADATA_WAIT_MAX), newer).await;
    if !controller.leads() {
        return refused(ErrorCode::NotController);
    }
    let answer = FetchMetadataAnswer {
        controller_id: controller.leader(),
        ..FetchMetadataAnswer::default()
    };
    let number = |index| i64::try_from(index).unwrap_or(i64::MAX);
    match controller.view().missing(known) {
        None => FetchMetadataAnswer {
            index: number(known),
            ..answer
        },
        Some(Missing::All(index, records)) => FetchMetadataAnswer {
            index: number(index),
            is_snapshot: true,
            records: Some(records),
            ..answer
        },
        Some(Missing::Entries(index, entries)) => {
            let records = entries.iter().flat_map(|entry| {
                decode_records(entry).expect("every voter has applied them, this one as well")
            });
            let records = encode_records(&records.collect::<Vec<_>>());
            FetchMetadataAnswer {
                index: number(index),
                records: Some(records.expect("texts came from records")),
                ..answer
            }
        }
    }
}

/// Registers a router, or notes that it lives, or removes it.
pub(crate) async fn router_heartbeat(
    controller: &ControllerHandle,
    request: RouterHeartbeatRequest,
) -> RouterHeartbeatAnswer {
    let id = request.router_id;
    let known = || controller.view().image().1.router(id).cloned();
    if let Some(router) = known() {
        controller.hear(id, router.epoch).await;
    }
    let answer = RouterHeartbeatAnswer {
        controller_id: controller.leader(),
        ..RouterHeartbeatAnswer::default()
    };
    if !controller.leads() {
        return RouterHeartbeatAnswer {
            error_code: ErrorCode::NotController,
            ..answer
        };
    }
    let decided = match (known(), request.is_stopping) {
        (Some(router), true) => controller.ask(Ask::RemoveRouter(id, router.epoch)).await,
        (None, true) => Ok(Answer::Done),
        (_, false) => {
            let router = RouterRegistered {
                router_id: id,
                host: request.host,
                port: request.port,
                ..RouterRegistered::default()
            };
            controller.ask(Ask::RegisterRouter(router)).await
        }
    };
    match decided {
        Ok(_) => RouterHeartbeatAnswer {
            index: index(controller),
            ..answer
        },
        Err(error) => RouterHeartbeatAnswer {
            error_code: code(&error),
            error_message: Some(error.to_string().into()),
            ..answer
        },
    }
}

/// Returns the voters.
pub(crate) fn describe_quorum(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    request: &DescribeQuorumRequest,
) -> DescribeQuorumAnswer {
    let quorum = controller.quorum();
    let voter = |(node_id, voter): (u64, raft::Voter)| Voter {
        broker_id: voter.broker_id,
        internal_host: ByteString::from(voter.host),
        internal_port: i32::from(voter.port),
        index: -1,
        node_id,
    };
    let listed = config.voters.iter().map(|voter| Voter {
        broker_id: voter.id,
        internal_host: ByteString::from(voter.host.as_str()),
        internal_port: i32::from(voter.port),
        index: -1,
        node_id: 0,
    });
    DescribeQuorumAnswer {
        // It is known before the metadata says so.
        cluster_id: quorum.cluster_id().unwrap_or(ClusterId::ZERO),
        controller_id: controller.leader(),
        term: {
            let leadership = quorum.leadership();
            let term = leadership.borrow().term;
            i64::try_from(term).unwrap_or(i64::MAX)
        },
        index: index(controller),
        voters: quorum.voters().into_iter().map(voter).collect(),
        node_id: quorum.node_id(),
        listed: listed.collect(),
        registered: seen(controller, request.registered_id),
    }
}

/// Returns the registration of a broker in the metadata as this voter has them.
fn seen(controller: &ControllerHandle, id: BrokerId) -> SeenRegistration {
    let (_, image) = controller.view().image();
    let broker = image.broker(id);
    let seen = broker.map(|broker| SeenRegistration {
        folder_id: broker.folder_id,
        incarnation: broker.incarnation,
        start: broker.start,
        broker_epoch: broker.epoch,
    });
    seen.unwrap_or_default()
}
