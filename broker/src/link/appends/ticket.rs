//! Who wants to know what becomes of a sub-batch, and the words in which it is told.

use std::time::{Duration, Instant};

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::link::append::{Outcome, SubBatch};
use keylane_protocol::link::{Correlation, Lane};
use keylane_protocol::offset::LeaderEpoch;
use keylane_protocol::record_batch::RecordBatch;
use tracing::debug;

use super::super::standing::NotLeader;
use crate::handler::produce::{self, Fault};
use crate::log::TopicPartition;
use crate::partition::routed_state::Routing;
use crate::shard::receipts::Receipt;
use crate::shard::request::{AppendOutcome, LonePart};

/// A sub-batch without its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub lane: Lane,
    pub correlation: Correlation,
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub leader_epoch: LeaderEpoch,
    pub acks: i16,
    /// What its router tells of a routed batch; `None` of another.
    pub routing: Option<Routing>,
    /// What the credit counts.
    pub records_length: usize,
    pub deadline: Instant,
    pub taken_at: Instant,
}

/// What has become of a sub-batch.
#[derive(Debug)]
pub(in crate::link) struct Settlement {
    /// The outcome to tell, if one is wanted.
    pub outcome: Option<Outcome>,
    pub records_length: usize,
}

impl Ticket {
    pub(super) fn new(sub_batch: &SubBatch, now: Instant) -> Self {
        Self {
            lane: sub_batch.lane,
            correlation: sub_batch.correlation,
            topic_id: sub_batch.topic_id,
            partition: sub_batch.partition,
            leader_epoch: sub_batch.leader_epoch,
            acks: sub_batch.acks,
            routing: routing(sub_batch),
            records_length: sub_batch.records_length as usize,
            taken_at: now,
            deadline: now + Duration::from_millis(u64::from(sub_batch.time_left_ms)),
        }
    }

    /// Returns what is wrong, whatever the records are.
    pub(super) fn fault(self, now: Instant) -> Option<Fault> {
        if !matches!(self.acks, -1..=1) {
            let text = format!("acks is -1, 0 or 1, not {}", self.acks);
            return Some(Fault::new(ErrorCode::InvalidRequiredAcks, text));
        }
        if self.routing.is_some() && self.acks != -1 {
            let text = format!(
                "a routed batch is answered when all in-sync replicas have it: acks is -1, not {}",
                self.acks
            );
            return Some(Fault::new(ErrorCode::InvalidRequiredAcks, text));
        }
        (self.deadline <= now).then(|| {
            let text = "the time for the records was over before they were appended";
            Fault::new(ErrorCode::RequestTimedOut, text)
        })
    }

    pub(super) fn part(self, batch: RecordBatch, receipt: Receipt) -> LonePart {
        LonePart {
            partition: TopicPartition {
                topic_id: self.topic_id,
                partition: self.partition,
            },
            leader_epoch: self.leader_epoch,
            batch,
            routing: self.routing.unwrap_or(Routing::NONE),
            receipt,
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        Outcome {
            lane: self.lane,
            correlation: self.correlation,
            topic_id: self.topic_id,
            partition: self.partition,
            ..Outcome::default()
        }
    }

    pub(super) fn settled(self, outcome: AppendOutcome) -> Settlement {
        let told = produce::outcome_response(outcome);
        self.told(Outcome {
            error_code: told.error_code,
            base_offset: told.base_offset,
            log_start_offset: told.log_start_offset,
            words: told.error_message,
            ..self.outcome()
        })
    }

    pub(super) fn refused(self, fault: Fault) -> Settlement {
        self.told(Outcome {
            error_code: fault.code,
            words: Some(fault.text.into()),
            ..self.outcome()
        })
    }

    pub(super) fn not_led(self, not_leader: NotLeader) -> Settlement {
        self.told(Outcome {
            error_code: not_leader.code,
            words: Some(not_leader.words().into()),
            leader_id: not_leader.leader_id,
            leader_epoch: not_leader.leader_epoch,
            ..self.outcome()
        })
    }

    pub(super) fn dropped(self) -> Settlement {
        Settlement {
            outcome: None,
            records_length: self.records_length,
        }
    }

    pub(super) fn told(self, outcome: Outcome) -> Settlement {
        let is_wanted = self.acks != 0;
        if !is_wanted && !outcome.error_code.is_none() {
            let error = outcome.error_code.name();
            debug!(lane = self.lane.0, %error, "records without acknowledgement were refused");
        }
        Settlement {
            outcome: is_wanted.then_some(outcome),
            records_length: self.records_length,
        }
    }
}

/// Returns what is told of a routed batch, be it sound or not.
fn routing(sub_batch: &SubBatch) -> Option<Routing> {
    let routing = Routing {
        floor: sub_batch.floor,
        previous: sub_batch.previous,
    };
    (routing != Routing::NONE).then_some(routing)
}
