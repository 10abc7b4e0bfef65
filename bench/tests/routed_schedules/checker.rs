//! What must hold when a schedule has ended: nothing is lost, doubled or out of order, every receipt is true, and all that
//! was open when the faults ended is acknowledged.

use std::collections::BTreeMap;

use keylane_client::{DeliveryError, DeliveryFailure, ErrorCode};
use keylane_protocol::record_batch::RecordBatch;

use super::client::{Sent, of_value};
use super::world::{LIFETIME_MS, Place, TIME_TO_SETTLE_MS, World};

/// Where each record lies, by who sent it and as which of its records.
type Found = BTreeMap<(usize, usize), (Place, i64)>;

/// How many records there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Receipts {
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
}

/// Returns how many records were acknowledged, or the first promise that is broken.
pub(crate) fn check(world: &World) -> Result<Receipts, String> {
    let mut receipts = Receipts::default();
    let found = read_logs(world)?;
    let healed_ms = world
        .healed_ms
        .ok_or("the schedule ended before its faults")?;
    for (producer, sender) in world.producers.iter().enumerate() {
        for (index, sent) in sender.sent.iter().enumerate() {
            let place = found.get(&(producer, index)).copied();
            check_receipt(world, sent, place, healed_ms)
                .map_err(|broken| format!("record {index} of producer {producer} {broken}"))?;
            match sent.receipt.now() {
                Some(Ok(_)) => receipts.acknowledged += 1,
                _ => receipts.failed += 1,
            }
        }
    }
    Ok(receipts)
}

/// Reads what the logs hold; it rises by records of each producer, and holds none twice.
fn read_logs(world: &World) -> Result<Found, String> {
    let mut found = Found::new();
    for (place, leader) in &world.leaders {
        let mut last = BTreeMap::new();
        for stored in &leader.log {
            let batch = RecordBatch::check(stored.bytes.clone()).expect("it was checked before");
            let records = batch.records(1 << 20).expect("small");
            for (offset, record) in (stored.base_offset()..).zip(records) {
                let value = record.expect("sound").value.expect("each has a value");
                let (producer, index) = of_value(&value);
                if let Some(other) = found.insert((producer, index), (*place, offset)) {
                    return Err(format!(
                        "record {index} of producer {producer} is doubled: at {:?} and at {:?}",
                        (place, offset),
                        other,
                    ));
                }
                if last
                    .insert(producer, index)
                    .is_some_and(|last| last > index)
                {
                    return Err(format!(
                        "record {index} of producer {producer} is out of order"
                    ));
                }
            }
        }
    }
    Ok(found)
}

fn check_receipt(
    world: &World,
    sent: &Sent,
    found: Option<(Place, i64)>,
    healed_ms: u64,
) -> Result<(), String> {
    // A record may have joined a batch that had used up a quarter of its time.
    let had_time = sent.at_ms + LIFETIME_MS * 3 / 4 >= healed_ms + TIME_TO_SETTLE_MS;
    match sent.receipt.now() {
        None => Err("is not settled".to_owned()),
        Some(Ok(acknowledged)) => {
            let topic = world.topics[sent.topic].id;
            let offset = acknowledged.offset.map_or(-1, |offset| offset.0);
            let said = ((topic, acknowledged.partition), offset);
            match found {
                Some(found) if found == said => Ok(()),
                Some(found) => Err(format!("is at {found:?}, and said to be at {said:?}")),
                None => Err(format!("is lost, and said to be at {said:?}")),
            }
        }
        Some(Err(error)) if !error.is_outcome_unknown() && found.is_some() => {
            Err(format!("is written at {found:?}, and yet: {error}"))
        }
        // Who is refused for good may hear of it later; nothing else that had time may fail.
        Some(Err(error)) if sent.at_ms < healed_ms && is_refused_for_good(&error) => Ok(()),
        Some(Err(error)) if had_time && sent.failed_since(healed_ms) => {
            Err(format!("failed though nothing went wrong: {error}"))
        }
        Some(Err(_)) => Ok(()),
    }
}

/// Tells whether a router refused the batch as only faults have it.
fn is_refused_for_good(error: &DeliveryError) -> bool {
    let codes = [ErrorCode::MessageTooLarge, ErrorCode::InvalidRecord];
    matches!(error.cause(), DeliveryFailure::Refused { code, .. } if codes.contains(code))
}
