//! Metadata: what the image does not have is looked up once, and created where the cluster permits it; then the answer
//! follows from the image alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::metadata::{MetadataRequest, MetadataResponse};

use super::changes::read;
use super::{ConnectionError, Current, Session, now};
use crate::control::Forwarded;
use crate::limits::{CREATION_WAIT, UNKNOWN_TOPIC_WAIT};
use crate::lookups::Missing;
use crate::plan::for_controller::{ForController, Unanswered};
use crate::plan::{check_items, metadata};
use crate::producing::RequestId;

/// A Metadata that waits for a look-up or a creation.
#[derive(Debug)]
pub(super) struct Underway {
    id: RequestId,
    request: MetadataRequest,
    /// What is being looked up.
    pub(super) missing: BTreeSet<Missing>,
    creation: Creation,
    pub(super) until: Instant,
}

/// How the creation of what does not exist stands.
#[derive(Debug)]
enum Creation {
    /// It is not known yet what does not exist.
    Unasked,
    /// The controllers are asked.
    Asked(MetadataRequest),
    /// The image must be so far; these topics could not be created.
    Decided(i64, BTreeMap<ByteString, ErrorCode>),
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
            creation: Creation::Unasked,
            until,
        }));
        self.on_metadata_known()
    }

    /// Goes on if there is nothing to wait for any more.
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
        match &underway.creation {
            Creation::Unasked => {
                let wanted = metadata::to_create(&underway.request, routing.image());
                match wanted.filter(|_| self.runtime.may_create(now())) {
                    Some(wanted) => self.create_missing(&wanted),
                    None => self.finish_metadata(&BTreeMap::new()),
                }
            }
            Creation::Decided(index, failed) if self.runtime.has_reached(*index) => {
                let failed = failed.clone();
                self.finish_metadata(&failed)
            }
            Creation::Asked(_) | Creation::Decided(..) => Ok(()),
        }
    }

    /// Answers with what there is: the time is up.
    pub(super) fn give_up_metadata(&mut self) -> Result<(), ConnectionError> {
        let Current::Metadata(underway) = &self.current else {
            return Ok(());
        };
        let failed = match &underway.creation {
            Creation::Unasked => BTreeMap::new(),
            Creation::Asked(wanted) => metadata::not_created(wanted),
            Creation::Decided(_, failed) => failed.clone(),
        };
        self.finish_metadata(&failed)
    }

    /// Has the controllers create topics, if the cluster permits that.
    fn create_missing(&mut self, wanted: &MetadataRequest) -> Result<(), ConnectionError> {
        let until = now() + CREATION_WAIT;
        let Current::Metadata(underway) = &mut self.current else {
            return Ok(());
        };
        let id = underway.id;
        underway.until = until;
        underway.creation = Creation::Asked(wanted.clone());
        self.forward(id, wanted, until)
    }

    /// Takes what the controllers have said.
    pub(super) fn on_created(
        &mut self,
        id: RequestId,
        answered: Result<Forwarded, Unanswered>,
    ) -> Result<(), ConnectionError> {
        let Current::Metadata(underway) = &mut self.current else {
            return Ok(());
        };
        let Creation::Asked(wanted) = &underway.creation else {
            return Ok(());
        };
        if underway.id != id {
            return Ok(());
        }
        let read = |forwarded: Forwarded| {
            let response = read::<MetadataResponse>(forwarded.body, MetadataRequest::VERSION)?;
            Ok((forwarded.index, metadata::failed(wanted, &response)))
        };
        let unanswered = |_| (0, metadata::not_created(wanted));
        let (index, failed) = answered.and_then(read).unwrap_or_else(unanswered);
        if metadata::is_refused(&failed) {
            self.runtime.on_creation_refused(now());
        }
        underway.creation = Creation::Decided(index, failed);
        self.on_metadata_known()
    }

    fn finish_metadata(
        &mut self,
        failed: &BTreeMap<ByteString, ErrorCode>,
    ) -> Result<(), ConnectionError> {
        let current = std::mem::replace(&mut self.current, Current::Nothing);
        let Current::Metadata(underway) = current else {
            return Ok(());
        };
        let form = self.queue.form(underway.id);
        let version = form.map_or(0, |form| form.version);
        let routing = self.routing();
        let advertised = self.advertised(&routing);
        let image = routing.image();
        let mut response = metadata::answer(&underway.request, version, &advertised, image);
        metadata::mark_failed(&mut response, failed);
        self.conclude(underway.id, &response)
    }
}
