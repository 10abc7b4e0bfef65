//! What the meters of a router mean, in the words that stand beside the numbers.

use keylane_protocol::meters;

/// Says what each means.
pub(super) fn describe() {
    meters::describe(COUNTERS, GAUGES, HISTOGRAMS);
}

const COUNTERS: &[(&str, &str)] = &[
    (
        "keylane_connections_accepted_total",
        "Connections that were accepted",
    ),
    (
        "keylane_connections_refused_total",
        "Connections that were closed at once, at a limit",
    ),
    (
        "keylane_received_bytes_total",
        "Bytes of requests of clients",
    ),
    ("keylane_sent_bytes_total", "Bytes of answers to clients"),
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
        "keylane_ready",
        "1 while the node serves, as /readyz says; else 0",
    ),
    ("keylane_connections", "Open connections"),
    ("keylane_queue_length", "What waits before a stage"),
    (
        "keylane_budget_used_bytes",
        "Bytes in use of a bound on memory",
    ),
    ("keylane_budget_bytes", "The bound"),
    (
        "keylane_image_index",
        "How far the metadata are by which the node serves",
    ),
    (
        "keylane_image_age_seconds",
        "Since when no leading controller was heard of; the image may be that much older",
    ),
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

const HISTOGRAMS: &[(&str, &str)] = &[
    (
        "keylane_request_seconds",
        "From a request's arrival to its answer, waiting for records included",
    ),
    (
        "keylane_queue_seconds",
        "How long a request or a part of it waits before a stage",
    ),
];
