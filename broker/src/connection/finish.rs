//! The second half of a request: wait for its outcome, or serve it, and build the answer's frame.

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{response_frame, unsupported_api_versions_frame};
use keylane_protocol::transport::HeldBytes;
use tokio::sync::watch;

use super::begin::Begun;
use super::{Connection, ConnectionError};
use crate::handler::exchange::Exchange;
use crate::handler::fetch::Parking;
use crate::handler::topic_changes::Asker;

/// An answer's frame, and the record bytes it counts.
pub(super) struct Answer {
    pub segments: Vec<Bytes>,
    pub held: Option<HeldBytes>,
}

impl Answer {
    fn of(segments: Vec<Bytes>) -> Self {
        Self {
            segments,
            held: None,
        }
    }
}

/// Returns the answer, empty if the client wants none.
pub(super) async fn finish(
    connection: &Connection,
    begun: Begun,
    sequence: u64,
    last_other: watch::Receiver<u64>,
) -> Result<Answer, ConnectionError> {
    match begun {
        Begun::UnknownApiVersions { correlation_id } => {
            Ok(Answer::of(unsupported_api_versions_frame(correlation_id)))
        }
        Begun::Produce {
            version,
            correlation_id,
            underway,
        } => {
            let wants_answer = underway.wants_answer();
            let response = underway.finish().await;
            if wants_answer {
                let frame = response_frame(&response, version, correlation_id)?;
                return Ok(Answer::of(frame));
            }
            match crate::handler::produce::first_fault(&response) {
                Some(reason) => Err(ConnectionError::UnacknowledgedProduce { reason }),
                None => Ok(Answer::of(Vec::new())),
            }
        }
        Begun::Waiting {
            api,
            version,
            correlation_id,
            client_id,
            body,
        } => {
            let exchange = Exchange {
                broker: &connection.broker,
                local: connection.local,
                asker: Asker {
                    client_id,
                    client_host: connection.peer.ip().to_string().into(),
                },
                version,
                correlation_id: Some(correlation_id),
            };
            if api != ApiKey::Fetch {
                return Ok(Answer::of(exchange.serve(api, body).await?));
            }
            let parking = Parking {
                connection: connection.id,
                wake: &connection.wake,
                sequence,
                last_other,
            };
            let (segments, held) = exchange.fetch(exchange.decode(body)?, parking).await?;
            Ok(Answer {
                segments,
                held: Some(held),
            })
        }
    }
}
