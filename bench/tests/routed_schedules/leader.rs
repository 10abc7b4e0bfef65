//! Leaders: the real producer state, over a log on a disk that forgets what was not synced.

use std::collections::BTreeMap;

use bytes::Bytes;
use keylane_broker::partition::producer_state::ProducerLimits;
use keylane_broker::partition::producers::{Judgement, NumberedBatch, PartitionProducers, Refusal};
use keylane_broker::partition::routed_state::{self, Original, Routing};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{RecordBatch, RecordBatchHeader};

use super::faults::Bug;
use super::router::{Frame, Part};
use super::world::{EXPIRY_MS, Event, LIFETIME_MS, Place, World};

/// A leader of one partition.
pub(crate) struct Leader {
    bug: Option<Bug>,
    /// One for all epochs; with a bug, one for each.
    producers: BTreeMap<ProducerEpoch, PartitionProducers>,
    pub(crate) log: Vec<Stored>,
    pub(crate) durable_end: i64,
    /// The state when everything up to an offset was durable.
    snapshot: Option<(i64, Vec<u8>)>,
    waiting: Vec<Waiting>,
    /// Counts its crashes.
    life: u64,
    pub(crate) is_up: bool,
    /// When each producer's last batch was appended, or the log recovered: to count what comes after an expiry.
    used_ms: BTreeMap<ProducerId, u64>,
}

/// A batch in the log.
pub(crate) struct Stored {
    /// As a log holds it, with its base offset.
    header: RecordBatchHeader,
    pub(crate) bytes: Bytes,
}

/// Someone who waits until something is durable.
struct Waiting {
    request: u64,
    base_offset: i64,
    end: i64,
}

impl Stored {
    pub(crate) fn base_offset(&self) -> i64 {
        self.header.base_offset.0
    }

    fn end(&self) -> i64 {
        self.header.end_offset().0
    }
}

fn limits(bug: Option<Bug>) -> ProducerLimits {
    let expiry_ms = match bug {
        Some(Bug::ExpiryTooEarly) => LIFETIME_MS / 2,
        _ => EXPIRY_MS,
    };
    ProducerLimits {
        producers_max: 100,
        expiry_ms,
        idle_ms_min: expiry_ms,
    }
}

impl Leader {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            bug,
            producers: BTreeMap::new(),
            log: Vec::new(),
            durable_end: 0,
            snapshot: None,
            waiting: Vec::new(),
            life: 0,
            is_up: true,
            used_ms: BTreeMap::new(),
        }
    }

    pub(crate) fn end(&self) -> i64 {
        self.log.last().map_or(0, Stored::end)
    }

    /// Returns the state that judges an epoch.
    fn producers_of(&mut self, epoch: ProducerEpoch) -> &mut PartitionProducers {
        let all = ProducerEpoch(0);
        let epoch = if self.bug == Some(Bug::EpochsSideBySide) {
            epoch
        } else {
            all
        };
        let bug = self.bug;
        let producers = self.producers.entry(epoch);
        producers.or_insert_with(|| PartitionProducers::new(limits(bug)))
    }

    fn judge(&mut self, header: &RecordBatchHeader, routing: Routing, now_ms: u64) -> Judgement {
        let numbered = NumberedBatch::of(header, routing).expect("it is numbered");
        let judgement = self
            .producers_of(header.producer_epoch)
            .judge(&numbered, now_ms);
        match judgement {
            Judgement::Refused(Refusal::Routed(routed_state::Refusal::OutOfOrder {
                previous: Sequence::NONE,
                ..
            })) if self.bug == Some(Bug::NeitherAboveLastNorBelowFloor) => Judgement::Append,
            judgement => judgement,
        }
    }

    /// Appends a batch and returns the offset of its first record.
    fn append(&mut self, batch: &RecordBatch, routing: Routing, now_ms: u64) -> i64 {
        let base_offset = Offset(self.end());
        let header = RecordBatchHeader {
            base_offset,
            ..*batch.header()
        };
        let numbered = NumberedBatch::of(&header, routing).expect("it is numbered");
        let producers = self.producers_of(header.producer_epoch);
        producers.remember(&numbered, base_offset, now_ms);
        self.log.push(Stored {
            header,
            bytes: batch.bytes().clone(),
        });
        base_offset.0
    }

    /// Notes that the log is durable so far, and returns whom to tell.
    fn on_durable(&mut self, end: i64) -> Vec<Waiting> {
        self.durable_end = self.durable_end.max(end);
        for producers in self.producers.values_mut() {
            producers.on_durable(Offset(end));
        }
        let (told, waiting) = (self.waiting.drain(..)).partition(|waiting| waiting.end <= end);
        self.waiting = waiting;
        told
    }

    /// Loses what is not durable, but for so many batches, and recovers.
    fn crash(&mut self, spared: usize, takes_snapshot: bool, now_ms: u64) {
        let durable = self
            .log
            .iter()
            .filter(|stored| stored.end() <= self.durable_end)
            .count();
        self.log.truncate(durable + spared);
        self.durable_end = self.end();
        self.waiting.clear();
        self.life += 1;
        self.used_ms.clear();
        self.is_up = false;
        if self.bug == Some(Bug::StateNotTruncated) {
            return;
        }
        self.producers.clear();
        if self.bug == Some(Bug::StateTruncatedToNothing) {
            return;
        }
        let mut from = 0;
        if let Some((end, bytes)) = self.snapshot.take().filter(|_| takes_snapshot) {
            let decoded = PartitionProducers::decode(&bytes, limits(self.bug), now_ms);
            *self.producers_of(ProducerEpoch(0)) = decoded.expect("just encoded");
            from = end;
        }
        let headers: Vec<RecordBatchHeader> = self.log.iter().map(|stored| stored.header).collect();
        for header in headers.iter().filter(|header| header.base_offset.0 >= from) {
            self.producers_of(header.producer_epoch)
                .recover(header, now_ms);
        }
    }
}

impl World {
    /// Has a leader judge a frame.
    pub(crate) fn receive(&mut self, frame: &Frame) {
        if self.now_ms > frame.made_ms + LIFETIME_MS {
            return;
        }
        let (request, partition) = (frame.request, frame.place.1);
        let batch = RecordBatch::check(frame.batch.clone()).expect("the split makes sound batches");
        let now_ms = self.now_ms;
        let leader = self.leader(frame.place);
        if !leader.is_up {
            self.tell(
                request,
                Part::failed(partition, ErrorCode::NotLeaderOrFollower),
            );
            return;
        }
        let judgement = leader.judge(batch.header(), frame.routing(), now_ms);
        match judgement {
            Judgement::Append => self.append_part(frame, &batch),
            Judgement::Duplicate(original) => self.on_duplicate(frame, original),
            Judgement::Refused(refusal) => {
                self.note_refusal(refusal);
                self.tell(request, Part::failed(partition, code_of(refusal)));
            }
        }
        let header = batch.header();
        let numbers = [partition.0, header.base_sequence.0, frame.previous.0];
        self.trace
            .note(now_ms, "a leader judges", numbers.map(i64::from));
        self.trace
            .detail(&(frame.place, header.producer_id, judgement));
    }

    fn append_part(&mut self, frame: &Frame, batch: &RecordBatch) {
        let now_ms = self.now_ms;
        let (place, request) = (frame.place, frame.request);
        let leader = self.leader(place);
        let before = leader.used_ms.insert(batch.header().producer_id, now_ms);
        let is_after_expiry = before.is_some_and(|before| now_ms - before >= EXPIRY_MS);
        let base_offset = leader.append(batch, frame.routing(), now_ms);
        let (life, end) = (leader.life, leader.end());
        leader.waiting.push(Waiting {
            request,
            base_offset,
            end,
        });
        self.tally.appended += 1;
        self.tally.after_expiry += u64::from(is_after_expiry);
        let delay = self.chance.one_of(&[1, 10, 500]);
        self.after(delay, Event::Synced { place, life, end });
    }

    fn on_duplicate(&mut self, frame: &Frame, original: Original) {
        let (place, request) = (frame.place, frame.request);
        let (base_offset, end) = (original.base_offset.0, original.end_offset.0);
        let is_durable = end <= self.leader(place).durable_end;
        self.tally.duplicates += 1;
        self.tally.waited += u64::from(!is_durable);
        if is_durable || self.bug == Some(Bug::DuplicateBeforeDurable) {
            self.tell(request, Part::written(place.1, base_offset));
        } else {
            let waiting = Waiting {
                request,
                base_offset,
                end,
            };
            self.leader(place).waiting.push(waiting);
        }
    }

    fn note_refusal(&mut self, refusal: Refusal) {
        match code_of(refusal) {
            ErrorCode::OutOfOrderSequenceNumber => self.tally.out_of_order += 1,
            ErrorCode::InvalidProducerEpoch => self.tally.fenced += 1,
            _ => self.broken = Some(format!("a part is refused: {refusal}")),
        }
    }

    /// Lets a router hear of a part.
    fn tell(&mut self, request: u64, part: Part) {
        if !self.chance.happens(self.faults.unanswered) {
            let delay = self.chance.between(1, 10);
            self.after(delay, Event::PartAnswered { request, part });
        }
    }

    pub(crate) fn on_synced(&mut self, place: Place, life: u64, end: i64) {
        let leader = self.leader(place);
        if leader.life != life {
            return;
        }
        for told in leader.on_durable(end) {
            let part = Part::written(place.1, told.base_offset);
            self.tell(told.request, part);
        }
        let leader = self.leader(place);
        if leader.end() == end && leader.bug != Some(Bug::EpochsSideBySide) {
            let all = leader.producers_of(ProducerEpoch(0));
            leader.snapshot = Some((end, all.encode()));
        }
        self.trace.note(
            self.now_ms,
            "a log is durable",
            [i64::from(place.1.0), end, 0],
        );
    }

    /// Takes a leader's power.
    pub(crate) fn crash(&mut self, place: Place) {
        let now_ms = self.now_ms;
        let (draw, takes_snapshot) = (self.chance.below(100), self.chance.happens(500));
        let leader = self.leader(place);
        let volatile = leader
            .log
            .iter()
            .filter(|stored| stored.end() > leader.durable_end)
            .count();
        let spared = draw as usize % (volatile + 1);
        leader.crash(spared, takes_snapshot, now_ms);
        let lost = volatile - spared;
        let numbers = [i64::from(place.1.0), leader.end(), lost as i64];
        self.tally.lost += lost as u64;
        self.trace.note(now_ms, "a leader loses power", numbers);
        let delay = self.chance.one_of(&[1, 100, 3_000]);
        self.after(delay, Event::Up { place });
        if self.chance.happens(500) {
            self.after(
                1,
                Event::Leads {
                    place,
                    is_led: false,
                },
            );
            let delay = delay + self.chance.one_of(&[1, 200]);
            self.after(
                delay,
                Event::Leads {
                    place,
                    is_led: true,
                },
            );
        }
    }
}

fn code_of(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Plain(_) => ErrorCode::UnknownServerError,
        Refusal::Routed(routed_state::Refusal::Fenced { .. }) => ErrorCode::InvalidProducerEpoch,
        Refusal::Routed(routed_state::Refusal::OutOfOrder { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        Refusal::Routed(routed_state::Refusal::OtherContent { .. }) => {
            ErrorCode::DuplicateSequenceNumber
        }
        Refusal::Routed(routed_state::Refusal::TooMany { .. }) => ErrorCode::KafkaStorageError,
    }
}
