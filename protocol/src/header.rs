//! What precedes the body of every request and response.
//!
//! ```text
//! request    api key i16, version i16, correlation id i32, client id (i16 length, also in flexible versions), [tags]
//! response   correlation id i32, [tags]
//! ```
//! Tagged fields follow in flexible versions only, and never in an ApiVersions response (KIP-511). A request of an
//! unknown API or version has a readable header too; its body must not be touched.

use bytes::Bytes;
use bytestring::ByteString;

use crate::api::{Api, ApiKey};
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

const FIXED: Format = Format {
    version: 1,
    flexible: false,
};

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's key; [`ApiKey::from_code`] says whether it is known.
    pub api_key: i16,
    /// The version the body is written in, and the answer must be written in.
    pub api_version: i16,
    /// A number that the answer repeats.
    pub correlation_id: i32,
    /// The name the client gives itself.
    pub client_id: Option<ByteString>,
}

/// A request cannot be served because this crate does not speak its API or version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedRequest {
    /// The key is not in the table, or its API is decoded and not offered. Kafka closes the connection.
    #[error("there is no API with key {api_key}")]
    UnknownApi {
        /// The key found.
        api_key: i16,
    },
    /// The version is not served. ApiVersions is answered with a body of version 0
    /// ([`crate::frame::unsupported_api_versions_frame`]); for all others the connection is closed.
    #[error("version {version} of {} is not spoken here", api.name())]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version found.
        version: i16,
    },
}

impl RequestHeader {
    /// Reads the header of a frame (without its length prefix) and returns it with a decoder at the start of the body.
    ///
    /// # Errors
    /// When the header is cut short or malformed.
    pub fn decode(frame: Bytes) -> Result<(Self, Decoder), DecodeError> {
        let mut decoder = Decoder::new(frame);
        let header = Self {
            api_key: decoder.read_i16()?,
            api_version: decoder.read_i16()?,
            correlation_id: decoder.read_i32()?,
            client_id: Wire::decode_value(&mut decoder, FIXED)?,
        };
        let api = ApiKey::from_code(header.api_key).map(ApiKey::api);
        if let Some(api) = api.filter(|api| api.decodes(header.api_version)) {
            skip_tags(&mut decoder, api.is_flexible(header.api_version))?;
        }
        Ok((header, decoder))
    }

    /// Returns the row of the API if this version of it is served: offered, and its body can be decoded.
    ///
    /// # Errors
    /// When it is not, with the reason.
    pub fn supported(&self) -> Result<Api, UnsupportedRequest> {
        let unknown = UnsupportedRequest::UnknownApi {
            api_key: self.api_key,
        };
        let api = ApiKey::from_code(self.api_key).map(ApiKey::api);
        let api = api.filter(|api| api.offered.is_some()).ok_or(unknown)?;
        if !api.serves(self.api_version) {
            return Err(UnsupportedRequest::UnsupportedVersion {
                api: api.key,
                version: self.api_version,
            });
        }
        Ok(api)
    }

    /// Writes a header whose client id need not be owned.
    pub(crate) fn encode(
        api: Api,
        (version, correlation_id): (i16, i32),
        client_id: Option<&str>,
        encoder: &mut Encoder,
    ) -> Result<(), EncodeError> {
        api.key.code().encode_value(encoder, FIXED)?;
        version.encode_value(encoder, FIXED)?;
        correlation_id.encode_value(encoder, FIXED)?;
        encoder.put_nullable_text(client_id, FIXED)?;
        put_no_tags(encoder, api.is_flexible(version));
        Ok(())
    }
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The number of the request this answers.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads only the correlation id of a frame (without its length prefix), which tells which request is answered,
    /// hence the API and version to decode the rest with.
    ///
    /// # Errors
    /// When the frame has fewer than four bytes.
    pub fn peek(frame: &Bytes) -> Result<Self, DecodeError> {
        let correlation_id = Decoder::new(frame.clone()).read_i32()?;
        Ok(Self { correlation_id })
    }

    /// Reads the header of a frame and returns it with a decoder at the start of the body.
    ///
    /// # Errors
    /// When the header is cut short or malformed.
    pub fn decode(frame: Bytes, api: Api, version: i16) -> Result<(Self, Decoder), DecodeError> {
        let mut decoder = Decoder::new(frame);
        let correlation_id = decoder.read_i32()?;
        skip_tags(&mut decoder, api.has_flexible_response_header(version))?;
        Ok((Self { correlation_id }, decoder))
    }

    pub(crate) fn encode(self, flexible: bool, encoder: &mut Encoder) {
        encoder.put(&self.correlation_id.to_be_bytes());
        put_no_tags(encoder, flexible);
    }
}

fn skip_tags(decoder: &mut Decoder, flexible: bool) -> Result<(), DecodeError> {
    let format = Format { flexible, ..FIXED };
    let mut tags = decoder.read_tags(format)?;
    while let Some(tag) = decoder.next_tag(&mut tags)? {
        decoder.skip_tag(&tag);
        decoder.end_tag(&tag)?;
    }
    Ok(())
}

fn put_no_tags(encoder: &mut Encoder, flexible: bool) {
    if flexible {
        encoder.put_unsigned_varint(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(api_key: i16, api_version: i16, rest: &'static [u8]) -> (RequestHeader, Decoder) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&api_key.to_be_bytes());
        bytes.extend_from_slice(&api_version.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 9]);
        bytes.extend_from_slice(rest);
        RequestHeader::decode(bytes.into()).expect("a header")
    }

    #[test]
    fn the_client_id_is_fixed_in_flexible_versions_and_tags_follow_it() {
        let (found, body) = header(3, 12, &[0, 1, b'c', 1, 5, 2, 0, 0, 0xaa]);
        assert_eq!(found.client_id.as_deref(), Some("c"));
        assert_eq!(body.remaining(), 1);
        let (found, body) = header(3, 8, &[0xff, 0xff, 0xaa]);
        assert_eq!(found.client_id, None);
        assert_eq!(body.remaining(), 1);
    }

    #[test]
    fn unknown_apis_and_versions_have_a_header_and_an_untouched_body() {
        let (found, body) = header(7, 4, &[0xff, 0xff, 0, 1, 2]);
        let unknown = UnsupportedRequest::UnknownApi { api_key: 7 };
        assert_eq!((found.supported(), body.remaining()), (Err(unknown), 3));
        let (found, body) = header(18, 77, &[0xff, 0xff, 0, 1, 2]);
        let newer = UnsupportedRequest::UnsupportedVersion {
            api: ApiKey::ApiVersions,
            version: 77,
        };
        assert_eq!((found.supported(), body.remaining()), (Err(newer), 3));
        assert_eq!(
            newer.to_string(),
            "version 77 of ApiVersions is not spoken here"
        );
    }

    #[test]
    fn what_is_decoded_and_not_offered_has_a_header_and_is_refused() {
        let join_group = ApiKey::JoinGroup.code();
        let (found, body) = header(join_group, 6, &[0xff, 0xff, 0, 1, 2]);
        let unknown = UnsupportedRequest::UnknownApi {
            api_key: join_group,
        };
        assert_eq!((found.supported(), body.remaining()), (Err(unknown), 2));
        let (found, body) = header(10, 4, &[0xff, 0xff, 0, 1, 2]);
        let later = UnsupportedRequest::UnsupportedVersion {
            api: ApiKey::FindCoordinator,
            version: 4,
        };
        assert_eq!((found.supported(), body.remaining()), (Err(later), 2));
    }

    #[test]
    fn a_header_that_is_cut_short_is_refused() {
        let whole = [0, 3, 0, 12, 0, 0, 0, 1, 0, 2, b'm', b'e', 0];
        for end in 0..whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..end]);
            RequestHeader::decode(cut).expect_err("cut short");
        }
    }
}
