//! What arrives on one connection of a link: bodies put together from their chunks, and everything held to the rules.
//!
//! A frame in, at most one frame out: what comes out looks as if it had never been cut, `chunk` and `records` being
//! whole. Each flow has at most one body in assembly, of at most `BODY_BYTES_MAX`; all together have at most
//! `ASSEMBLY_BYTES_MAX`. Answers to lanes that have closed are dropped. A peer that breaks the rules is an error, in
//! words, after which the link must be closed.

mod violation;

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

pub use violation::LinkViolation;

use super::append::{self, Append, Appended, SubBatch};
use super::credit::Granting;
use super::lane::{Cancel, Continue, Flow, LaneOpen};
use super::limits::{
    ASSEMBLY_BYTES_MAX, BODY_BYTES_MAX, CHUNK_BYTES_MIN, LANE_TEXT_BYTES_MAX, LANES_MAX,
};
use super::{Body, Correlation, Frame, Lane};

/// Which end of a link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sends requests.
    Dialer,
    /// Sends answers.
    Listener,
}

/// A body of which a part has arrived: the frame it began with, which holds what has arrived.
#[derive(Debug)]
struct Assembly {
    frame: Frame,
    correlation: Correlation,
    found: usize,
    whole: usize,
}

/// Puts together what arrives; see the module's text.
#[derive(Debug)]
pub struct Inbox {
    side: Side,
    lanes: BTreeSet<Lane>,
    last_lane: Lane,
    assemblies: BTreeMap<Flow, Assembly>,
    assembly_bytes: usize,
    granting: Granting,
}

/// What a frame with a body says of it.
struct Part {
    flow: Flow,
    correlation: Correlation,
    found: usize,
    whole: usize,
}

impl Inbox {
    /// Returns the dialer's inbox.
    #[must_use]
    pub fn dialer() -> Self {
        Self::new(Side::Dialer, 0)
    }

    /// Returns the listener's inbox, with the append bytes its Welcome granted.
    #[must_use]
    pub fn listener(credit_bytes: usize) -> Self {
        Self::new(Side::Listener, credit_bytes)
    }

    fn new(side: Side, credit_bytes: usize) -> Self {
        Self {
            side,
            lanes: BTreeSet::new(),
            last_lane: Lane(0),
            assemblies: BTreeMap::new(),
            assembly_bytes: 0,
            granting: Granting::new(credit_bytes),
        }
    }

    /// Expects answers to a lane that this dialer has opened.
    pub fn open_lane(&mut self, lane: Lane) {
        self.lanes.insert(lane);
    }

    /// Drops what arrives from now on for a lane that this dialer has closed.
    pub fn close_lane(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
        self.drop_assembly(Flow::Lane(lane));
    }

    /// Counts a sub-batch's records as durable, refused or dropped, once for each that arrived.
    pub fn release(&mut self, records_length: usize) {
        self.granting.release(append::cost(records_length));
    }

    /// Returns the append bytes to be granted now, for [`super::Outbox::grant`].
    pub fn take_grant(&mut self) -> Option<usize> {
        self.granting.take_grant()
    }

    /// Returns the append bytes that arrived and were not granted again.
    #[must_use]
    pub fn credit_used(&self) -> usize {
        self.granting.under_way()
    }

    /// Returns the bytes that the bodies in assembly have arrived with.
    #[must_use]
    pub fn assembled_bytes(&self) -> usize {
        self.assemblies
            .values()
            .map(|assembly| assembly.found)
            .sum()
    }

    /// Takes a frame, and returns one that is whole, if there is one: the frame itself, or what it completes.
    ///
    /// # Errors
    /// When the peer has broken the rules of the link.
    pub fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>, LinkViolation> {
        let name = frame.name();
        match (self.side, frame) {
            (_, frame @ (Frame::Ping(_) | Frame::Pong(_))) => Ok(Some(frame)),
            (_, Frame::Continue(next)) => self.go_on(&next),
            (_, Frame::Cancel(cancel)) => Ok(self.cancel(cancel)),
            (Side::Listener, Frame::LaneOpen(open)) => self.lane_opened(&open).map(Some),
            (Side::Listener, Frame::LaneClose(close)) => {
                self.check_open(close.lane, name)?;
                self.close_lane(close.lane);
                Ok(Some(close.into()))
            }
            (Side::Listener, Frame::Request(request)) => {
                self.check_open(request.lane, name)?;
                self.begin(request.into())
            }
            (Side::Listener, Frame::Append(append)) => self.append(append),
            (Side::Listener, Frame::Finish(finish)) => {
                self.check_open(finish.lane, name)?;
                Ok(Some(finish.into()))
            }
            (Side::Listener, frame @ Frame::Call(_)) => self.begin(frame),
            (Side::Dialer, Frame::Answer(answer)) => match self.lanes.contains(&answer.lane) {
                true => self.begin(answer.into()),
                false => Ok(None),
            },
            (Side::Dialer, Frame::Appended(appended)) => Ok(self.appended(appended)),
            (Side::Dialer, frame @ (Frame::Reply(_) | Frame::Push(_))) => self.begin(frame),
            (Side::Dialer, frame @ Frame::Credit(_)) => Ok(Some(frame)),
            (side, _) => Err(LinkViolation::Unexpected { name, side }),
        }
    }

    fn check_open(&self, lane: Lane, name: &'static str) -> Result<(), LinkViolation> {
        match self.lanes.contains(&lane) {
            true => Ok(()),
            false => Err(LinkViolation::LaneNotOpen { name, lane }),
        }
    }

    fn lane_opened(&mut self, open: &LaneOpen) -> Result<Frame, LinkViolation> {
        let (lane, last) = (open.lane, self.last_lane);
        if lane <= last {
            return Err(LinkViolation::LaneNotNew { lane, last });
        }
        if self.lanes.len() >= LANES_MAX {
            return Err(LinkViolation::TooManyLanes);
        }
        self.last_lane = lane;
        self.lanes.insert(lane);
        // What is kept as long as the lane must not keep the buffer it arrived in.
        let copy = |text: &ByteString| {
            let mut ends = (0..=text.len().min(LANE_TEXT_BYTES_MAX)).rev();
            let end = ends.find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            ByteString::from(text[..end].to_owned())
        };
        let copied = LaneOpen {
            lane,
            principal: copy(&open.principal),
            client_id: open.client_id.as_ref().map(copy),
            client_host: copy(&open.client_host),
            listener: copy(&open.listener),
        };
        Ok(copied.into())
    }

    fn append(&mut self, append: Append) -> Result<Option<Frame>, LinkViolation> {
        for sub_batch in &append.sub_batches {
            self.check_open(sub_batch.lane, "Append")?;
            let flow = Flow::Lane(sub_batch.lane);
            if self.assemblies.contains_key(&flow) {
                return Err(LinkViolation::Interleaved { flow });
            }
            let length = sub_batch.records_length as usize;
            let is_whole = sub_batch.records.len() == length;
            if !is_whole && append.sub_batches.len() > 1 {
                return Err(LinkViolation::PartAmongOthers { length });
            }
        }
        for sub_batch in &append.sub_batches {
            let cost = append::cost(sub_batch.records_length as usize);
            self.granting.receive(cost)?;
        }
        match append.sub_batches.len() {
            0 => Ok(None),
            1 => self.begin(append.into()),
            _ => Ok(Some(append.into())),
        }
    }

    fn appended(&self, appended: Appended) -> Option<Frame> {
        let mut outcomes = appended.outcomes;
        outcomes.retain(|outcome| self.lanes.contains(&outcome.lane));
        (!outcomes.is_empty()).then(|| Appended { outcomes }.into())
    }

    /// Takes the first chunk of a body.
    fn begin(&mut self, frame: Frame) -> Result<Option<Frame>, LinkViolation> {
        let Part {
            flow,
            correlation,
            found,
            whole,
        } = part(&frame);
        let is_answer = matches!(frame, Frame::Answer(_));
        let is_whole = found == whole;
        // A short answer may overtake a long one of its lane.
        if self.assemblies.contains_key(&flow) && !(is_answer && is_whole) {
            return Err(LinkViolation::Interleaved { flow });
        }
        if whole > BODY_BYTES_MAX {
            return Err(LinkViolation::BodyTooLong { length: whole });
        }
        check_chunk(flow, 0, found, (0, whole))?;
        if is_whole {
            return Ok(Some(frame));
        }
        let length = self.assembly_bytes + whole;
        if length > ASSEMBLY_BYTES_MAX {
            return Err(LinkViolation::AssemblyTooLarge { length });
        }
        self.assembly_bytes = length;
        let assembly = Assembly {
            frame,
            correlation,
            found,
            whole,
        };
        self.assemblies.insert(flow, assembly);
        Ok(None)
    }

    /// Takes a further chunk.
    fn go_on(&mut self, next: &Continue) -> Result<Option<Frame>, LinkViolation> {
        let flow = next.flow;
        let Some(assembly) = self.assemblies.get_mut(&flow) else {
            // A dialer drops the answers of a lane it has closed while chunks of them are under way.
            return match (self.side, flow) {
                (Side::Dialer, Flow::Lane(lane)) if !self.lanes.contains(&lane) => Ok(None),
                _ => Err(LinkViolation::NothingBegun { flow }),
            };
        };
        let (at, length) = (next.at as usize, next.chunk.len());
        check_chunk(flow, at, length, (assembly.found, assembly.whole))?;
        assembly.found += length;
        let body = body(&mut assembly.frame);
        for slice in next.chunk.slices() {
            body.push(slice.clone());
        }
        if assembly.found < assembly.whole {
            return Ok(None);
        }
        self.assembly_bytes -= assembly.whole;
        Ok(self.assemblies.remove(&flow).map(|assembly| assembly.frame))
    }

    fn cancel(&mut self, cancel: Cancel) -> Option<Frame> {
        let Cancel { flow, correlation } = cancel;
        let assembly = self.assemblies.get(&flow);
        if assembly.is_some_and(|assembly| assembly.correlation == correlation) {
            self.drop_assembly(flow);
            return None;
        }
        (self.side == Side::Listener).then(|| cancel.into())
    }

    fn drop_assembly(&mut self, flow: Flow) {
        let Some(assembly) = self.assemblies.remove(&flow) else {
            return;
        };
        self.assembly_bytes -= assembly.whole;
        if let Frame::Append(_) = assembly.frame {
            self.release(assembly.whole);
        }
    }
}

/// Checks that a chunk goes on after `found` of `whole` bytes.
fn check_chunk(
    flow: Flow,
    at: usize,
    length: usize,
    (found, whole): (usize, usize),
) -> Result<(), LinkViolation> {
    if at != found || length > whole - found {
        return Err(LinkViolation::ChunkMisplaced {
            flow,
            at,
            length,
            found,
            whole,
        });
    }
    if length < CHUNK_BYTES_MIN && found + length < whole {
        return Err(LinkViolation::ChunkTooShort { flow, length });
    }
    Ok(())
}

fn only(append: &Append) -> &SubBatch {
    append.sub_batches.first().expect("it has one sub-batch")
}

fn part(frame: &Frame) -> Part {
    let (flow, correlation, found, whole) = match frame {
        Frame::Request(request) => (
            Flow::Lane(request.lane),
            request.correlation,
            &request.chunk,
            request.body_length,
        ),
        Frame::Append(append) => {
            let sub_batch = only(append);
            let flow = Flow::Lane(sub_batch.lane);
            let correlation = sub_batch.correlation;
            (
                flow,
                correlation,
                &sub_batch.records,
                sub_batch.records_length,
            )
        }
        Frame::Answer(answer) => (
            Flow::Lane(answer.lane),
            answer.correlation,
            &answer.chunk,
            answer.body_length,
        ),
        Frame::Call(call) => (
            Flow::Call(call.correlation),
            call.correlation,
            &call.chunk,
            call.body_length,
        ),
        Frame::Reply(reply) => (
            Flow::Call(reply.correlation),
            reply.correlation,
            &reply.chunk,
            reply.body_length,
        ),
        Frame::Push(push) => (
            Flow::Push(push.stream),
            Correlation(0),
            &push.chunk,
            push.body_length,
        ),
        _ => unreachable!("only frames with a body are put together"),
    };
    Part {
        flow,
        correlation,
        found: found.len(),
        whole: whole as usize,
    }
}

fn body(frame: &mut Frame) -> &mut Body {
    match frame {
        Frame::Request(request) => &mut request.chunk,
        Frame::Append(append) => {
            let first = append.sub_batches.first_mut();
            &mut first.expect("it has one sub-batch").records
        }
        Frame::Answer(answer) => &mut answer.chunk,
        Frame::Call(call) => &mut call.chunk,
        Frame::Reply(reply) => &mut reply.chunk,
        Frame::Push(push) => &mut push.chunk,
        _ => unreachable!("only frames with a body are put together"),
    }
}

#[cfg(test)]
mod tests;
