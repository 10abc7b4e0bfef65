//! What the meters of a broker mean, in the words that stand beside the numbers.

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
        "keylane_appended_bytes_total",
        "Bytes of record batches appended",
    ),
    ("keylane_appended_records_total", "Records appended"),
    (
        "keylane_fetched_bytes_total",
        "Bytes of record batches in answers to Fetch",
    ),
    (
        "keylane_fetched_records_total",
        "Records in answers to Fetch",
    ),
    (
        "keylane_appends_duplicate_total",
        "Record batches sent again, found to be in the log already",
    ),
    (
        "keylane_appends_refused_total",
        "Record batches that were not appended, by reason",
    ),
    (
        "keylane_link_dropped_total",
        "Sub-batches of routers dropped before they had a place: their client had gone or given them up",
    ),
    (
        "keylane_group_batches_total",
        "Record batches that the writer has written",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    (
        "keylane_ready",
        "1 while the node serves, as /readyz says; else 0",
    ),
    ("keylane_connections", "Open connections"),
    ("keylane_partitions", "Partitions in the data folder"),
    (
        "keylane_queue_length",
        "What waits before a stage: messages, appends or reads",
    ),
    ("keylane_fetches_parked", "Fetches that wait for records"),
    (
        "keylane_budget_used_bytes",
        "Bytes in use of a bound on memory",
    ),
    ("keylane_budget_bytes", "The bound"),
    (
        "keylane_disk_room_bytes",
        "Bytes that records may take before the reserve is touched",
    ),
    ("keylane_link_lanes", "Open lanes of routers' clients"),
    (
        "keylane_link_in_flight",
        "What routers and brokers have asked and is not answered, by kind",
    ),
    (
        "keylane_link_credit_used_bytes",
        "Credit for appends that links have spent and not got back",
    ),
    (
        "keylane_link_queued_bytes",
        "Bytes of answers that wait in links",
    ),
    (
        "keylane_image_index",
        "How far the metadata are by which the node serves",
    ),
    (
        "keylane_image_age_seconds",
        "Since when no leading controller was heard of; the image may be that much older",
    ),
    (
        "keylane_controller_leads",
        "1 on the broker whose controller leads; else 0",
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
    (
        "keylane_group_seconds",
        "How long a group of appends takes to be written and synced",
    ),
    ("keylane_sync_seconds", "How long one sync takes"),
];
