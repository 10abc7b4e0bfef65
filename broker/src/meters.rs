//! What a broker counts of itself: handles made once at its start, and the partitions it has.
//!
//! Every series has the label `node`, since one process may hold several brokers. `docs/metrics.md` says what each means,
//! and `describe` says it to whoever records them. Nothing here locks or looks anything up while requests are served.

mod described;
mod levels;
mod table;

use std::time::Instant;

use keylane_protocol::api::{APIS, ApiKey};
use keylane_protocol::meters::{Share, StateGauges};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

pub(crate) use levels::LinkLevels;
pub(crate) use table::PartitionTable;

use crate::log::writer::WriterMeters;
use crate::partition::AppendError;
use crate::server::Speech;

/// The meters of one broker.
pub(crate) struct Meters {
    pub kafka: ListenerMeters,
    pub link: ListenerMeters,
    /// Bytes of requests and answers of clients.
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    pub waits: WaitMeters,
    pub writer: WriterMeters,
    pub records: RecordMeters,
    /// Requests of clients that wait for those before them on their connection.
    pub queued: Gauge,
    /// Fetches that wait for records.
    pub parked: Gauge,
    pub levels: LevelMeters,
    pub observed: ObservedMeters,
}

/// What is counted of a listener.
pub(crate) struct ListenerMeters {
    pub open: Gauge,
    pub accepted: Counter,
    pub refused: Counter,
    /// By the number of the API.
    requests: Vec<Histogram>,
}

/// How long things wait before a stage.
pub(crate) struct WaitMeters {
    pub connection: Histogram,
    pub lane: Histogram,
    pub shard: Histogram,
    pub reader: Histogram,
}

/// What is counted of records, of all partitions together.
pub(crate) struct RecordMeters {
    pub appended_bytes: Counter,
    pub appended_records: Counter,
    pub fetched_bytes: Counter,
    pub fetched_records: Counter,
    pub duplicates: Counter,
    refused_producer: Counter,
    refused_no_space: Counter,
    refused_offline: Counter,
    refused_gone: Counter,
    refused_not_leader: Counter,
    /// Sub-batches whose time was over before they had a place.
    pub late: Counter,
}

/// What is under way on all links.
pub(crate) struct LevelMeters {
    pub lanes: Gauge,
    pub appends: Gauge,
    pub fetches: Gauge,
    pub requests: Gauge,
    /// Requests that wait for others of their lane.
    pub waiting: Gauge,
    pub calls: Gauge,
    pub credit_bytes: Gauge,
    pub queued_bytes: Gauge,
}

/// What is looked at only when it is asked for.
pub(crate) struct ObservedMeters {
    pub partitions: Gauge,
    pub queue_shard: Gauge,
    pub queue_writer: Gauge,
    pub queue_reader: Gauge,
    pub room_bytes: Gauge,
    pub state: StateGauges,
    pub leads: Gauge,
    /// Sub-batches that a link dropped before they had a place.
    pub dropped: Counter,
}

/// Returns the time that meters go by.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Meters {
    pub(crate) fn new(node: &str) -> Self {
        described::describe();
        let node = node.to_owned();
        let wait =
            |stage| histogram!("keylane_queue_seconds", "node" => node.clone(), "stage" => stage);
        let queue =
            |stage| gauge!("keylane_queue_length", "node" => node.clone(), "stage" => stage);
        let level = |kind| gauge!("keylane_link_in_flight", "node" => node.clone(), "kind" => kind);
        Self {
            kafka: ListenerMeters::new(&node, "kafka"),
            link: ListenerMeters::new(&node, "link"),
            received_bytes: counter!("keylane_received_bytes_total", "node" => node.clone()),
            sent_bytes: counter!("keylane_sent_bytes_total", "node" => node.clone()),
            waits: WaitMeters {
                connection: wait("connection"),
                lane: wait("lane"),
                shard: wait("shard"),
                reader: wait("reader"),
            },
            writer: WriterMeters::new(&node),
            records: RecordMeters::new(&node),
            queued: queue("connection"),
            parked: gauge!("keylane_fetches_parked", "node" => node.clone()),
            levels: LevelMeters {
                lanes: gauge!("keylane_link_lanes", "node" => node.clone()),
                appends: level("append"),
                fetches: level("fetch"),
                requests: level("request"),
                waiting: queue("lane"),
                calls: level("call"),
                credit_bytes: gauge!("keylane_link_credit_used_bytes", "node" => node.clone()),
                queued_bytes: gauge!("keylane_link_queued_bytes", "node" => node.clone()),
            },
            observed: ObservedMeters::new(&node),
        }
    }
}

impl Meters {
    /// Returns the meters of the listener at which something is spoken.
    pub(crate) fn of(&self, speech: Speech) -> &ListenerMeters {
        match speech {
            Speech::Kafka => &self.kafka,
            Speech::Link => &self.link,
        }
    }
}

impl ListenerMeters {
    fn new(node: &str, listener: &'static str) -> Self {
        let node = node.to_owned();
        let requests = APIS.iter().map(|api| match api.offered {
            Some(_) => histogram!(
                "keylane_request_seconds",
                "node" => node.clone(), "listener" => listener, "api" => api.name
            ),
            // Nobody asks, so a scrape need not show it.
            None => Histogram::noop(),
        });
        Self {
            open: gauge!("keylane_connections", "node" => node.clone(), "listener" => listener),
            accepted: counter!(
                "keylane_connections_accepted_total",
                "node" => node.clone(), "listener" => listener
            ),
            refused: counter!(
                "keylane_connections_refused_total",
                "node" => node.clone(), "listener" => listener
            ),
            requests: requests.collect(),
        }
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, api: ApiKey, since: Instant, now: Instant) {
        self.requests[api.row()].record(now.saturating_duration_since(since));
    }

    /// Counts a connection as long as what is returned is kept.
    pub(crate) fn enter(&self) -> Share {
        self.accepted.increment(1);
        let mut open = Share::of(&self.open);
        open.set(1);
        open
    }
}

impl RecordMeters {
    fn new(node: &str) -> Self {
        let node = node.to_owned();
        let refused = |reason| {
            counter!(
                "keylane_appends_refused_total",
                "node" => node.clone(), "reason" => reason
            )
        };
        Self {
            appended_bytes: counter!("keylane_appended_bytes_total", "node" => node.clone()),
            appended_records: counter!("keylane_appended_records_total", "node" => node.clone()),
            fetched_bytes: counter!("keylane_fetched_bytes_total", "node" => node.clone()),
            fetched_records: counter!("keylane_fetched_records_total", "node" => node.clone()),
            duplicates: counter!("keylane_appends_duplicate_total", "node" => node.clone()),
            refused_producer: refused("producer"),
            refused_no_space: refused("no-space"),
            refused_offline: refused("offline"),
            refused_gone: refused("gone"),
            refused_not_leader: refused("not-leader"),
            late: refused("late"),
        }
    }

    /// Counts a batch that was refused.
    pub(crate) fn refused(&self, error: &AppendError) {
        let counter = match error {
            AppendError::Producer { .. } => &self.refused_producer,
            AppendError::NoSpace => &self.refused_no_space,
            AppendError::Offline => &self.refused_offline,
            AppendError::Gone => &self.refused_gone,
            AppendError::NotLeader => &self.refused_not_leader,
        };
        counter.increment(1);
    }
}

impl ObservedMeters {
    fn new(node: &str) -> Self {
        let node = node.to_owned();
        let queue =
            |stage| gauge!("keylane_queue_length", "node" => node.clone(), "stage" => stage);
        Self {
            partitions: gauge!("keylane_partitions", "node" => node.clone()),
            queue_shard: queue("shard"),
            queue_writer: queue("writer"),
            queue_reader: queue("reader"),
            room_bytes: gauge!("keylane_disk_room_bytes", "node" => node.clone()),
            state: StateGauges::of(&node),
            leads: gauge!("keylane_controller_leads", "node" => node.clone()),
            dropped: counter!("keylane_link_dropped_total", "node" => node),
        }
    }
}
