//! What an answer says of the parts of a batch.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::routed_produce::RoutedProducePartition;

use super::RoutedEffects;
use super::verdict::{Setback, failure, weigh};
use super::window::Numbered;
use crate::producer::error::DeliveryFailure;

/// What was read besides the parts that are written.
#[derive(Debug, Default)]
pub(super) struct PartsRead {
    /// Whether a part is written of which that was not known.
    pub(super) is_news: bool,
    /// Why the first part is refused for good, if one is.
    pub(super) refusal: Option<DeliveryFailure>,
    /// Parts that are refused for good and certainly not written.
    pub(super) not_written: Vec<PartitionIndex>,
    /// What is in the way of the others: the worst of it.
    pub(super) setback: Option<(Setback, DeliveryFailure)>,
}

impl PartsRead {
    fn set_back(&mut self, setback: Setback, cause: DeliveryFailure) {
        let worst = self.setback.as_ref().map(|(worst, _)| *worst);
        if worst < Some(setback) {
            self.setback = Some((setback, cause));
        }
    }
}

impl Numbered {
    /// Notes which parts are written, and returns what else is said of those that are not.
    pub(super) fn read_answer(
        &mut self,
        answers: &[RoutedProducePartition],
        effects: &mut RoutedEffects,
    ) -> PartsRead {
        let mut read = PartsRead::default();
        for part in &mut self.parts {
            let answer = answers.iter().find(|one| one.partition == part.partition);
            let Some(answer) = answer else {
                let text = "the router's answer does not mention a partition".into();
                let cause = failure(ErrorCode::UnknownServerError, Some(&text));
                read.set_back(Setback::Whole, cause);
                continue;
            };
            if answer.error_code.is_none() {
                let offset = answer.base_offset;
                read.is_news |= part.written.is_none();
                part.written
                    .get_or_insert((offset.0 >= 0).then_some(offset));
                continue;
            }
            let weight = weigh(answer.error_code);
            effects.note(weight);
            if part.written.is_some() {
                continue;
            }
            let cause = failure(answer.error_code, answer.error_message.as_ref());
            if !weight.is_final {
                read.set_back(weight.setback, cause);
                continue;
            }
            if weight.is_clean && self.attempts <= 1 {
                read.not_written.push(part.partition);
            }
            read.refusal.get_or_insert(cause);
        }
        read
    }
}
