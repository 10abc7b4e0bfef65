//! Whole frames: a length of four bytes, a header, a body.
//!
//! Building one yields slices for a vectored write, length prefix included; reading one starts from the bytes after
//! the prefix. [`FrameSplitter`] cuts a stream into frames without doing I/O itself; `transport` moves the bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::api::ApiKey;
use crate::error_code::ErrorCode;
use crate::header::{RequestHeader, ResponseHeader};
use crate::message::api_versions::{ApiVersion, ApiVersionsResponse};
use crate::message::{Request, Response};
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder};

/// The bytes of a frame's length prefix.
pub const LENGTH_PREFIX_BYTES: usize = 4;

/// A length prefix that is not taken. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrameLength {
    /// No frame is empty: even the shortest header has bytes.
    #[error("a frame of length {length} was announced; the peer does not speak Kafka's protocol")]
    NotPositive {
        /// The length found.
        length: i32,
    },
    /// The frame is longer than the receiver allows.
    #[error("a frame of {length} bytes was announced, but at most {length_max} are allowed")]
    TooLong {
        /// The length found.
        length: usize,
        /// The most that is allowed.
        length_max: usize,
    },
}

/// Returns the length that a prefix announces.
///
/// # Errors
/// When it is not positive or above `length_max`.
pub fn frame_length(
    prefix: [u8; LENGTH_PREFIX_BYTES],
    length_max: usize,
) -> Result<usize, InvalidFrameLength> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Err(_) | Ok(0) => Err(InvalidFrameLength::NotPositive { length }),
        Ok(length) if length > length_max => {
            Err(InvalidFrameLength::TooLong { length, length_max })
        }
        Ok(length) => Ok(length),
    }
}

/// Cuts bytes into frames, which are slices of the buffer the bytes arrived in.
#[derive(Debug)]
pub struct FrameSplitter {
    /// What has arrived and was not cut off yet.
    pub buffer: BytesMut,
    length_max: usize,
}

impl FrameSplitter {
    /// Returns a splitter with an empty buffer that takes frames of up to `length_max` bytes.
    #[must_use]
    pub fn new(length_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            length_max,
        }
    }

    /// Changes the longest frame taken, for frames whose prefix was not looked at yet.
    pub fn set_length_max(&mut self, length_max: usize) {
        self.length_max = length_max;
    }

    /// Returns the length of the frame at the start of the buffer, `None` if its prefix has not arrived whole.
    ///
    /// # Errors
    /// When the length is not taken.
    pub fn next_length(&self) -> Result<Option<usize>, InvalidFrameLength> {
        match self.buffer.first_chunk() {
            Some(&prefix) => frame_length(prefix, self.length_max).map(Some),
            None => Ok(None),
        }
    }

    /// Cuts off the next frame, without its prefix; `None` if it has not arrived whole.
    ///
    /// # Errors
    /// When the length is not taken.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, InvalidFrameLength> {
        let Some(length) = self.next_length()? else {
            return Ok(None);
        };
        if self.buffer.len() - LENGTH_PREFIX_BYTES < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// Returns a whole request as slices to write.
///
/// # Errors
/// When the version is not known or cannot carry what is set.
pub fn request_frame<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut encoder = start();
    let api = R::API_KEY.api();
    RequestHeader::encode(api, (version, correlation_id), client_id, &mut encoder)?;
    request.encode(version, &mut encoder)?;
    finish(encoder)
}

/// Returns a whole response as slices to write.
///
/// # Errors
/// When the version is not known or cannot carry what is set.
pub fn response_frame<R: Response>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut encoder = start();
    let flexible = R::API_KEY.api().has_flexible_response_header(version);
    ResponseHeader { correlation_id }.encode(flexible, &mut encoder);
    response.encode(version, &mut encoder)?;
    finish(encoder)
}

/// Returns the answer to an ApiVersions request of an unknown version: a body of version 0 with the range of
/// ApiVersions, so that the client asks again in a version both speak (KIP-511).
#[must_use]
pub fn unsupported_api_versions_frame(correlation_id: i32) -> Vec<Bytes> {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: Vec::from_iter(ApiVersion::offered(ApiKey::ApiVersions.api())),
        ..ApiVersionsResponse::default()
    };
    response_frame(&response, 0, correlation_id).expect("version 0 carries these fields")
}

/// Reads a whole response from a frame (without its length prefix).
///
/// # Errors
/// When the bytes are not that response, or more than it.
pub fn decode_response<R: Response>(
    frame: Bytes,
    version: i16,
) -> Result<(ResponseHeader, R), DecodeError> {
    let (header, mut decoder) = ResponseHeader::decode(frame, R::API_KEY.api(), version)?;
    let response = R::decode(&mut decoder, version)?;
    decoder.finish()?;
    Ok((header, response))
}

/// Reads the body of a request, after [`RequestHeader::decode`], up to its last byte.
///
/// librdkafka 2.16 asks for all topics with a Metadata that goes on for three bytes after its end. Kafka ignores what
/// follows a request, so this is done here for Metadata, and for nothing else.
///
/// # Errors
/// When the bytes are not that request, or more than it.
pub fn decode_request_body<R: Request>(mut body: Decoder, version: i16) -> Result<R, DecodeError> {
    let request = R::decode(&mut body, version)?;
    if R::API_KEY != ApiKey::Metadata {
        body.finish()?;
    }
    Ok(request)
}

fn start() -> Encoder {
    let mut encoder = Encoder::new();
    encoder.put(&[0; LENGTH_PREFIX_BYTES]);
    encoder
}

fn finish(mut encoder: Encoder) -> Result<Vec<Bytes>, EncodeError> {
    encoder.set_length_prefix()?;
    Ok(encoder.into_segments())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::delete_topics::DeleteTopicsRequest;
    use crate::message::metadata::MetadataRequest;

    #[test]
    fn a_metadata_of_librdkafka_that_goes_on_after_its_end_is_read() {
        // From librdkafka 2.16.0: null topics as one byte, then what looks like the rest of a length of four.
        let body = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
        let request = decode_request_body::<MetadataRequest>(Decoder::new(body), 12);
        assert_eq!(request.expect("it is read").topics, None);
        let other = Bytes::from_static(&[1, 0, 0, 0, 1, 0, 0, 0]);
        let refused = decode_request_body::<DeleteTopicsRequest>(Decoder::new(other), 6);
        assert!(refused.is_err(), "{refused:?}");
    }

    #[test]
    fn lengths_are_taken_from_one_to_the_limit() {
        assert_eq!(frame_length([0, 0, 0, 1], 10), Ok(1));
        assert_eq!(frame_length([0, 0, 0, 10], 10), Ok(10));
        for (prefix, message) in [
            ([0, 0, 0, 0], "a frame of length 0 was announced"),
            (
                [0xff, 0xff, 0xff, 0xfe],
                "a frame of length -2 was announced",
            ),
            (
                [0, 0, 0, 11],
                "a frame of 11 bytes was announced, but at most 10",
            ),
        ] {
            let refused = frame_length(prefix, 10).expect_err("refused").to_string();
            assert!(refused.starts_with(message), "{refused}");
        }
    }

    #[test]
    fn frames_are_slices_of_the_buffer_they_arrived_in() {
        let mut splitter = FrameSplitter::new(10);
        splitter
            .buffer
            .extend_from_slice(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 1]);
        let place = splitter.buffer[4..].as_ptr();
        let frame = splitter.next_frame().expect("valid").expect("whole");
        assert_eq!((&frame[..], frame.as_ptr()), (&[7, 8][..], place));
        assert_eq!(splitter.next_frame(), Ok(None));
        splitter.buffer.extend_from_slice(&[9]);
        assert_eq!(splitter.next_frame(), Ok(Some(Bytes::from_static(&[9]))));
        assert_eq!(splitter.next_frame(), Ok(None));
    }
}
