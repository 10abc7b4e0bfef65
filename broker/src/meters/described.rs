//! What the meters of a broker mean, in the words that stand beside the numbers; what every node has is described there.

use keylane_protocol::meters;

/// Says what each means.
pub(super) fn describe() {
    meters::describe(COUNTERS, GAUGES, HISTOGRAMS);
}

const COUNTERS: &[(&str, &str)] = &[
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
    ("keylane_partitions", "Partitions in the data folder"),
    ("keylane_fetches_parked", "Fetches that wait for records"),
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
        "keylane_controller_leads",
        "1 on the broker whose controller leads; else 0",
    ),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    (
        "keylane_group_seconds",
        "How long a group of appends takes to be written and synced",
    ),
    ("keylane_sync_seconds", "How long one sync takes"),
];
