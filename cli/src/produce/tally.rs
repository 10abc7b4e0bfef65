//! Awaits receipts in the order of sending and counts what was acknowledged.

use keylane_client::{DeliveryError, DeliveryFailure, Receipt};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::cluster::hint_of_code;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::verify::RowPlace;

const HOW_LONG: &str = "--timeout says how long rows wait";

/// A row on its way.
pub(super) struct Sent {
    pub(super) at: RowPlace,
    pub(super) receipt: Receipt,
}

/// What became of all rows that were sent.
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) partitions: BTreeSet<i32>,
    pub(super) elapsed: Duration,
    /// Why the first row that was not acknowledged was not.
    pub(super) failure: Option<Failure>,
}

/// Counts until all receipts are resolved. At the first failure it closes the queue, so that the pump stops; what is
/// in the queue by then is still awaited.
pub(super) async fn count(mut receipts: mpsc::Receiver<Sent>) -> Tally {
    let mut progress = Progress::new("rows acknowledged", None);
    let mut tally = Tally {
        acknowledged: 0,
        partitions: BTreeSet::new(),
        elapsed: Duration::ZERO,
        failure: None,
    };
    while let Some(sent) = receipts.recv().await {
        match sent.receipt.await {
            Ok(place) => {
                tally.acknowledged += 1;
                tally.partitions.insert(place.partition.0);
                progress.set(tally.acknowledged);
            }
            Err(error) => {
                receipts.close();
                tally
                    .failure
                    .get_or_insert_with(|| failure(sent.at, &error));
            }
        }
    }
    progress.finish();
    tally.elapsed = progress.elapsed();
    tally
}

fn failure(at: RowPlace, error: &DeliveryError) -> Failure {
    let failure = Failure::because(at, error);
    let hint = match error.cause() {
        DeliveryFailure::Refused { code, .. } => hint_of_code(*code),
        DeliveryFailure::TimedOut { last, .. } => Some(match last.as_deref() {
            Some(DeliveryFailure::Refused { .. }) => HOW_LONG.to_owned(),
            _ => format!("is the broker running? {HOW_LONG}"),
        }),
        DeliveryFailure::Connection(_)
        | DeliveryFailure::TopicGone { .. }
        | DeliveryFailure::Dropped => None,
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
