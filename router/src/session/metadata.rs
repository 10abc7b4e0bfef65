//! Metadata: what the image does not have is looked up once, then the answer follows from the image alone.
//!
//! Topics are never created by asking for them: brokers may permit that, a router does not.

use std::collections::BTreeSet;
use std::time::Instant;

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::metadata::MetadataRequest;

use super::{ConnectionError, Current, Session, now};
use crate::limits::UNKNOWN_TOPIC_WAIT;
use crate::lookups::Missing;
use crate::plan::{check_items, metadata};
use crate::producing::RequestId;

/// A Metadata that waits for a look-up.
#[derive(Debug)]
pub(super) struct Underway {
    id: RequestId,
    request: MetadataRequest,
    /// What is being looked up.
    pub(super) missing: BTreeSet<Missing>,
    pub(super) until: Instant,
}

impl Session {
    pub(super) fn begin_metadata(
        &mut self,
        id: RequestId,
        request: MetadataRequest,
    ) -> Result<(), ConnectionError> {
        check_items(request.topics.as_ref().map_or(0, Vec::len))?;
        let routing = self.routing();
        let missing = metadata::missing(&request, routing.image()).into_iter();
        let missing = missing.map(|topic| (topic, PartitionIndex(0)));
        let missing = missing.filter(|missing| !self.runtime.look_up(missing));
        let missing = missing.collect();
        let until = now() + UNKNOWN_TOPIC_WAIT;
        self.current = Current::Metadata(Box::new(Underway {
            id,
            request,
            missing,
            until,
        }));
        self.on_metadata_known()
    }

    /// Answers if there is nothing to wait for any more.
    pub(super) fn on_metadata_known(&mut self) -> Result<(), ConnectionError> {
        let routing = self.routing();
        let Current::Metadata(underway) = &mut self.current else {
            return Ok(());
        };
        underway
            .missing
            .retain(|(topic, _)| routing.topic(topic).is_none());
        if !underway.missing.is_empty() {
            return Ok(());
        }
        let current = std::mem::replace(&mut self.current, Current::Nothing);
        let Current::Metadata(underway) = current else {
            return Ok(());
        };
        let version = self
            .queue
            .get(underway.id)
            .map_or(0, |entry| entry.form.version);
        let advertised = self.advertised(&routing);
        let image = routing.image();
        let response = metadata::answer(&underway.request, version, &advertised, image);
        self.conclude(underway.id, &response)
    }
}
