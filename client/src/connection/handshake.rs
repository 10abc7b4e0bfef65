//! From an address to a usable connection: dial, then agree on versions (KIP-511).
//!
//! ApiVersions is asked in our highest version. A broker that does not know it answers in version 0 with
//! UNSUPPORTED_VERSION, usually with the range it speaks, and is asked again in the highest common version.

use std::io;
use std::sync::Arc;

use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::frame::{decode_response, request_frame};
use keylane_protocol::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use keylane_protocol::transport::{FrameReader, FrameWriter, ReadFrameError};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::task::{Halves, run};
use super::versions::SpokenVersions;
use super::{Connection, ConnectionError, ConnectionSettings, Handle, Shared};
use crate::address::BrokerAddress;
use crate::limits::{CONNECT_TIMEOUT, RESPONSE_BYTES_MAX};

const SOFTWARE_NAME: &str = "keylane-client";

impl Connection {
    /// Dials a broker, agrees on versions and starts the connection's task.
    pub(crate) async fn open(
        address: BrokerAddress,
        settings: ConnectionSettings,
    ) -> Result<Self, ConnectionError> {
        let mut halves = dial(&address).await?;
        let patience = settings.request_timeout;
        let agreed = timeout(patience, agree(&address, &settings, &mut halves)).await;
        let versions = agreed.unwrap_or_else(|_| {
            Err(ConnectionError::RequestTimedOut {
                address: address.clone(),
                api: ApiKey::ApiVersions.name(),
                after: patience,
            })
        })?;
        let shared = Arc::new(Shared::new(address, settings, versions));
        tokio::spawn(run(Arc::clone(&shared), halves));
        Ok(Self {
            handle: Arc::new(Handle { shared }),
        })
    }
}

async fn dial(address: &BrokerAddress) -> Result<Halves, ConnectionError> {
    let connect = |source: io::Error| ConnectionError::Connect {
        address: address.clone(),
        source: Arc::new(source),
    };
    let dialling = TcpStream::connect((address.host.as_str(), address.port));
    let timed_out = |_| ConnectionError::ConnectTimedOut {
        address: address.clone(),
        after: CONNECT_TIMEOUT,
    };
    let dialled = timeout(CONNECT_TIMEOUT, dialling)
        .await
        .map_err(timed_out)?;
    let stream = dialled.map_err(connect)?;
    // Small requests must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true).map_err(connect)?;
    let (reader, writer) = stream.into_split();
    Ok(Halves {
        reader: FrameReader::new(reader, RESPONSE_BYTES_MAX),
        writer: FrameWriter::new(writer),
    })
}

async fn agree(
    address: &BrokerAddress,
    settings: &ConnectionSettings,
    halves: &mut Halves,
) -> Result<SpokenVersions, ConnectionError> {
    let key = ApiKey::ApiVersions;
    let first = key.api().version_max;
    let mut response = ask(address, settings, halves, first).await?;
    if response.error_code == ErrorCode::UnsupportedVersion {
        let theirs = SpokenVersions::new(&response.api_keys);
        // A broker that lists the very version it refuses is asked in version 0, as is one that lists nothing.
        let common = theirs.highest_common(key);
        let second = common.filter(|&version| version < first).unwrap_or(0);
        response = ask(address, settings, halves, second).await?;
    }
    if !response.error_code.is_none() {
        return Err(ConnectionError::Malformed {
            address: address.clone(),
            reason: format!("ApiVersions was answered with {}", response.error_code),
        });
    }
    Ok(SpokenVersions::new(&response.api_keys))
}

async fn ask(
    address: &BrokerAddress,
    settings: &ConnectionSettings,
    halves: &mut Halves,
    version: i16,
) -> Result<ApiVersionsResponse, ConnectionError> {
    let request = ApiVersionsRequest {
        client_software_name: ByteString::from_static(SOFTWARE_NAME),
        client_software_version: ByteString::from_static(env!("CARGO_PKG_VERSION")),
    };
    let body = |source| ConnectionError::Body {
        address: address.clone(),
        api: ApiKey::ApiVersions.name(),
        source,
    };
    let frame =
        request_frame(&request, version, 0, Some(&settings.client_id)).map_err(|source| {
            ConnectionError::Inexpressible {
                address: address.clone(),
                api: ApiKey::ApiVersions.name(),
                source,
            }
        })?;
    halves.writer.queue(frame);
    let flushed = halves.writer.flush().await;
    flushed.map_err(|source| broken(address, source))?;
    let read = halves.reader.next_frame().await;
    let answer = read.map_err(|error| unreadable(address, error))?;
    let answer = answer.ok_or_else(|| ConnectionError::Closed {
        address: address.clone(),
    })?;
    // The one answer whose version is not that of the request: a broker that lacks it answers in version 0.
    match decode_response(answer.clone(), version) {
        Ok((_, response)) => Ok(response),
        Err(_) if version > 0 => decode_response(answer, 0)
            .map(|(_, response)| response)
            .map_err(body),
        Err(error) => Err(body(error)),
    }
}

pub(super) fn broken(address: &BrokerAddress, source: io::Error) -> ConnectionError {
    ConnectionError::Broken {
        address: address.clone(),
        source: Arc::new(source),
    }
}

pub(super) fn unreadable(address: &BrokerAddress, error: ReadFrameError) -> ConnectionError {
    let address = address.clone();
    match error {
        ReadFrameError::Io(source) => broken(&address, source),
        ReadFrameError::ClosedInFrame { .. } => ConnectionError::Closed { address },
        ReadFrameError::InvalidLength(invalid) => ConnectionError::Malformed {
            address,
            reason: invalid.to_string(),
        },
    }
}

/// What the socket's two directions are read and written with.
pub(super) type Reader = FrameReader<OwnedReadHalf>;
pub(super) type Writer = FrameWriter<OwnedWriteHalf>;
