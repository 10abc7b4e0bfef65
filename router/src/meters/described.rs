//! What the meters of a router mean, in the words that stand beside the numbers; what every node has is described there.

use keylane_protocol::meters;

/// Says what each means.
pub(super) fn describe() {
    meters::describe(COUNTERS, GAUGES, &[]);
}

const COUNTERS: &[(&str, &str)] = &[
    (
        "keylane_forwarded_bytes_total",
        "Bytes of record batches that passed, by direction",
    ),
    (
        "keylane_forwarded_records_total",
        "Records that passed, by direction",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    (
        "keylane_routed_sessions",
        "Sessions of routed producers, those of all connections",
    ),
    (
        "keylane_uplink_up",
        "Links to a broker that are up, one for each runtime",
    ),
    (
        "keylane_uplink_lanes",
        "Lanes of clients that are open to a broker",
    ),
    (
        "keylane_uplink_in_flight",
        "What was asked of a broker and is not answered",
    ),
    (
        "keylane_uplink_credit_used_bytes",
        "Credit for appends that was spent at a broker and has not come back",
    ),
    (
        "keylane_uplink_queued_bytes",
        "Bytes that wait to be sent to a broker",
    ),
];
