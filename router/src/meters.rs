//! What a router counts of itself: handles made once at its start, or when a link begins.
//!
//! Every series has the label `node`, since one process may hold several routers. `docs/metrics.md` says what each means.
//! Nothing here locks or looks anything up while requests are served.

mod described;

use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::api::{APIS, ApiKey};
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::meters::{Share, StateGauges};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Where in a batch its length stands, and the length counts from behind it.
const LENGTH_AT: usize = 8;
const LENGTH_COUNTS_FROM: usize = 12;

/// Where in a batch the number of its records stands.
const COUNT_AT: usize = 57;

/// The meters of one router.
pub(crate) struct Meters {
    node: String,
    pub(crate) connections: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    /// From a request's arrival until it is begun.
    pub(crate) wait: Histogram,
    pub(crate) produced: RecordMeters,
    pub(crate) fetched: RecordMeters,
    /// Requests that were read and are not answered.
    pub(crate) queued: Gauge,
    /// What waits for room in a link.
    pub(crate) stalled: Gauge,
    /// Sessions of routed producers.
    pub(crate) routed_sessions: Gauge,
    /// What is looked at only when it is asked for.
    pub(crate) state: StateGauges,
    /// By the number of the API.
    requests: Vec<Histogram>,
}

/// What is counted of records that pass in one direction.
pub(crate) struct RecordMeters {
    bytes: Counter,
    records: Counter,
}

/// What is shown of the link of one runtime to a broker, as long as it is there.
pub(crate) struct UplinkLevels {
    pub(crate) up: Share,
    pub(crate) lanes: Share,
    pub(crate) in_flight: Share,
    pub(crate) credit_bytes: Share,
    pub(crate) queued_bytes: Share,
}

impl Meters {
    pub(crate) fn new(node: String) -> Self {
        described::describe();
        let requests = APIS.iter().map(|api| match api.offered {
            Some(_) => histogram!(
                "keylane_request_seconds",
                "node" => node.clone(), "listener" => "kafka", "api" => api.name
            ),
            // Nobody asks, so a scrape need not show it.
            None => Histogram::noop(),
        });
        let queue =
            |stage| gauge!("keylane_queue_length", "node" => node.clone(), "stage" => stage);
        let connections = ["node", "listener"];
        let labels = || {
            let values = [node.clone(), "kafka".to_owned()];
            let labels = connections.iter().zip(values);
            labels
                .map(|(name, value)| metrics::Label::new(*name, value))
                .collect::<Vec<_>>()
        };
        Self {
            connections: gauge!("keylane_connections", labels()),
            accepted: counter!("keylane_connections_accepted_total", labels()),
            refused: counter!("keylane_connections_refused_total", labels()),
            received_bytes: counter!("keylane_received_bytes_total", "node" => node.clone()),
            sent_bytes: counter!("keylane_sent_bytes_total", "node" => node.clone()),
            wait: histogram!(
                "keylane_queue_seconds",
                "node" => node.clone(), "stage" => "connection"
            ),
            produced: RecordMeters::new(&node, "produce"),
            fetched: RecordMeters::new(&node, "fetch"),
            queued: queue("connection"),
            stalled: queue("link"),
            routed_sessions: gauge!("keylane_routed_sessions", "node" => node.clone()),
            state: StateGauges::of(&node),
            requests: requests.collect(),
            node,
        }
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, api: ApiKey, since: Instant, now: Instant) {
        self.requests[api.row()].record(now.saturating_duration_since(since));
    }

    /// Returns the meters of a link that begins.
    pub(crate) fn uplink(&self, broker: BrokerId) -> UplinkLevels {
        let share = |name: &'static str| {
            let (node, broker) = (self.node.clone(), broker.to_string());
            Share::of(&gauge!(name, "node" => node, "broker" => broker))
        };
        UplinkLevels {
            up: share("keylane_uplink_up"),
            lanes: share("keylane_uplink_lanes"),
            in_flight: share("keylane_uplink_in_flight"),
            credit_bytes: share("keylane_uplink_credit_used_bytes"),
            queued_bytes: share("keylane_uplink_queued_bytes"),
        }
    }
}

impl RecordMeters {
    fn new(node: &str, direction: &'static str) -> Self {
        let node = node.to_owned();
        Self {
            bytes: counter!(
                "keylane_forwarded_bytes_total",
                "node" => node.clone(), "direction" => direction
            ),
            records: counter!(
                "keylane_forwarded_records_total",
                "node" => node, "direction" => direction
            ),
        }
    }

    /// Counts whole batches that follow one another in slices.
    pub(crate) fn pass<'a>(&self, batches: impl Iterator<Item = &'a Bytes> + Clone) {
        let bytes: usize = batches.clone().map(Bytes::len).sum();
        if bytes > 0 {
            let bytes = u64::try_from(bytes).expect("a size fits 64 bits");
            self.bytes.increment(bytes);
            self.records.increment(records_in(batches));
        }
    }
}

/// Returns how many records batches hold, by their headers; what is no batch counts as none.
fn records_in<'a>(batches: impl Iterator<Item = &'a Bytes>) -> u64 {
    let (mut records, mut begins) = (0, 0);
    let (mut passed, mut number, mut found) = (0, [0; 4], 0);
    let mut length: usize = 0;
    for slice in batches {
        // One number after the other: the length and the count of each batch, each perhaps in two slices.
        loop {
            let is_length = length == 0;
            let at = begins + if is_length { LENGTH_AT } else { COUNT_AT };
            let Some(byte) = (at + found)
                .checked_sub(passed)
                .and_then(|at| slice.get(at))
            else {
                break;
            };
            number[found] = *byte;
            found += 1;
            if found < number.len() {
                continue;
            }
            found = 0;
            let value = u32::from_be_bytes(number);
            if is_length {
                length = LENGTH_COUNTS_FROM + value as usize;
            } else {
                records += u64::from(value);
                begins += length;
                length = 0;
            }
        }
        passed += slice.len();
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a batch of so many bytes that says that it holds so many records.
    fn batch(length: usize, records: u8) -> Vec<u8> {
        let mut batch = vec![0xee; length];
        let counted = u32::try_from(length - LENGTH_COUNTS_FROM).expect("a short one");
        batch[LENGTH_AT..LENGTH_COUNTS_FROM].copy_from_slice(&counted.to_be_bytes());
        batch[COUNT_AT..=COUNT_AT + 3].copy_from_slice(&[0, 0, 0, records]);
        batch
    }

    #[test]
    fn records_are_counted_wherever_slices_end() {
        let bytes = Bytes::from([batch(61, 3), batch(100, 4), batch(75, 5)].concat());
        for cut in 0..=bytes.len() {
            for second in [cut, (cut + 2).min(bytes.len()), bytes.len()] {
                let slices = [
                    bytes.slice(..cut),
                    bytes.slice(cut..second),
                    bytes.slice(second..),
                ];
                assert_eq!(records_in(slices.iter()), 12, "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_batch_counts_as_few_records_as_it_can() {
        for bytes in [vec![0; 10], vec![0xff; 200], batch(61, 3)[..60].to_vec()] {
            let _ = records_in([Bytes::from(bytes)].iter());
        }
        assert_eq!(records_in(std::iter::empty()), 0);
    }
}
