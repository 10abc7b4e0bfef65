//! Which part of which partitions is read: from the start asked for to the end at this moment.

use keylane_client::{Admin, ListOffsetsError, OffsetSpec, PartitionIndex};
use std::collections::BTreeMap;

use crate::arguments::ConsumeArguments;
use crate::cluster::failed;
use crate::failure::Failure;
use crate::start::Start;
use crate::verify::Place;

/// The offsets still to be read, by partition: from `next` to before `end`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    spans: BTreeMap<i32, Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    next: i64,
    end: i64,
}

/// Asks for the offsets of the topic's partitions.
///
/// # Errors
/// When the topic or a chosen partition is not there, or the cluster does not answer.
pub(super) async fn make(admin: &Admin, arguments: &ConsumeArguments) -> Result<Plan, Failure> {
    let end = offsets(admin, arguments, OffsetSpec::Latest).await?;
    let start = match arguments.from {
        Start::Latest => end.clone(),
        Start::Timestamp(time) => offsets(admin, arguments, OffsetSpec::Timestamp(time)).await?,
        Start::Earliest | Start::Offset(_) => {
            offsets(admin, arguments, OffsetSpec::Earliest).await?
        }
    };
    let chosen: Vec<i32> = match arguments.partitions.as_slice() {
        [] => end.keys().copied().collect(),
        partitions => partitions.to_vec(),
    };
    let mut spans = BTreeMap::new();
    for partition in chosen {
        let end_offset = end.get(&partition).copied().flatten();
        let end_offset = end_offset.ok_or_else(|| {
            let topic = &arguments.topic;
            Failure::new(format!("{topic}-{partition} was not said to end anywhere"))
        })?;
        // No record is as late as the time asked for.
        let found = start
            .get(&partition)
            .copied()
            .flatten()
            .unwrap_or(end_offset);
        let next = match arguments.from {
            Start::Offset(wanted) if wanted < found => {
                return Err(Failure::new(format!(
                    "partition {partition} begins at offset {found}: {wanted} is no longer there"
                ))
                .hint("give --from earliest, or a later offset"));
            }
            // Beyond the end there is nothing, yet.
            Start::Offset(wanted) => wanted.min(end_offset),
            Start::Earliest | Start::Latest | Start::Timestamp(_) => found,
        };
        let span = Span {
            next,
            end: end_offset,
        };
        spans.insert(partition, span);
    }
    Ok(Plan { spans })
}

async fn offsets(
    admin: &Admin,
    arguments: &ConsumeArguments,
    spec: OffsetSpec,
) -> Result<BTreeMap<i32, Option<i64>>, Failure> {
    let chosen = arguments.partitions.iter();
    let chosen: Vec<_> = chosen.map(|&partition| PartitionIndex(partition)).collect();
    let listed = match chosen.as_slice() {
        [] => admin.list_offsets(&arguments.topic, spec).await,
        chosen => admin.list_offsets_of(&arguments.topic, chosen, spec).await,
    };
    let listed = listed.map_err(|error| match &error {
        ListOffsetsError::UnknownPartition { count, .. } => {
            Failure::new(error.to_string()).hint(format!("give a --partition below {count}"))
        }
        _ => failed("", &error),
    })?;
    Ok(listed
        .into_iter()
        .map(|(partition, listed)| (partition.0, listed.offset.map(|offset| offset.0)))
        .collect())
}

impl Plan {
    /// Returns where to begin, of the partitions in which something is left, or of all.
    pub(super) fn starts(&self, all: bool) -> Vec<(i32, i64)> {
        self.spans
            .iter()
            .filter(|(_, span)| all || span.next < span.end)
            .map(|(partition, span)| (*partition, span.next))
            .collect()
    }

    /// Returns how many offsets are left.
    pub(super) fn total(&self) -> Option<u64> {
        self.spans
            .values()
            .map(|span| u64::try_from(span.end - span.next).ok())
            .sum()
    }

    /// Returns whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.spans.values().all(|span| span.next >= span.end)
    }

    /// Notes that a record was read; returns whether it lies before the end.
    pub(super) fn take(&mut self, place: Place) -> bool {
        let Some(span) = self.spans.get_mut(&place.partition) else {
            return false;
        };
        span.next = span.next.max(place.offset + 1);
        place.offset < span.end
    }

    /// Notes that no record lies below an offset any more.
    pub(super) fn advance(&mut self, partition: i32, next: i64) {
        if let Some(span) = self.spans.get_mut(&partition) {
            span.next = span.next.max(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_without_records_end_a_partition_too() {
        let span = Span { next: 7, end: 9 };
        let mut plan = Plan {
            spans: BTreeMap::from([(3, span)]),
        };
        plan.advance(3, 9);
        assert!(plan.is_done());
    }

    #[test]
    fn a_plan_ends_where_the_partitions_ended() {
        let span = |next, end| Span { next, end };
        let mut plan = Plan {
            spans: BTreeMap::from([(0, span(2, 4)), (1, span(7, 7))]),
        };
        assert_eq!(plan.starts(false), [(0, 2)]);
        assert_eq!(plan.starts(true), [(0, 2), (1, 7)]);
        assert_eq!(plan.total(), Some(2));
        let place = |offset| Place {
            partition: 0,
            offset,
        };
        assert!(plan.take(place(2)));
        assert!(!plan.is_done());
        assert!(plan.take(place(3)));
        assert!(plan.is_done());
        plan.advance(0, 1);
        assert!(plan.is_done(), "a position never goes back");
        assert!(!plan.take(place(4)), "written after the plan was made");
    }
}
