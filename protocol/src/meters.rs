//! What the meters of every node are made of: how it is, shares of gauges, and the words beside the numbers.

use std::fmt;
use std::time::Duration;

use metrics::{Gauge, describe_counter, describe_gauge, describe_histogram, gauge};

/// Names of series, and what each means.
pub type Words = [(&'static str, &'static str)];

const COUNTERS: &Words = &[
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
];

const GAUGES: &Words = &[
    (
        "keylane_ready",
        "1 while the node serves, as /readyz says; else 0",
    ),
    ("keylane_connections", "Open connections"),
    (
        "keylane_queue_length",
        "What waits before a stage: requests, messages, appends or reads",
    ),
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
];

const HISTOGRAMS: &Words = &[
    (
        "keylane_request_seconds",
        "From a request's arrival to its answer, waiting for records included",
    ),
    (
        "keylane_queue_seconds",
        "How long a request or a part of it waits before a stage",
    ),
];

/// Says what series mean, by their kind: those that every node has, and these besides.
pub fn describe(counters: &Words, gauges: &Words, histograms: &Words) {
    for (name, words) in COUNTERS.iter().chain(counters) {
        describe_counter!(*name, *words);
    }
    for (name, words) in GAUGES.iter().chain(gauges) {
        describe_gauge!(*name, *words);
    }
    for (name, words) in HISTOGRAMS.iter().chain(histograms) {
        describe_histogram!(*name, *words);
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug)]
pub struct NodeState {
    /// Whether it serves.
    pub is_ready: bool,
    /// How many bytes of requests it holds, and how many it may.
    pub request_bytes: (usize, usize),
    /// How many bytes of records in answers it holds, and how many it may.
    pub answer_bytes: (usize, usize),
    /// How far the metadata are by which it serves.
    pub image_index: u64,
    /// Since when it has not heard of a leading controller; `None` if it never has.
    pub silence: Option<Duration>,
}

/// The gauges that show how a node is.
pub struct StateGauges {
    ready: Gauge,
    requests: [Gauge; 2],
    answers: [Gauge; 2],
    image_index: Gauge,
    image_age: Gauge,
}

impl fmt::Debug for StateGauges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StateGauges")
    }
}

impl StateGauges {
    /// Makes the gauges of a node.
    #[must_use]
    pub fn of(node: &str) -> Self {
        let own = |name: &'static str| gauge!(name, "node" => node.to_owned());
        let budget = |budget: &'static str| {
            ["keylane_budget_used_bytes", "keylane_budget_bytes"]
                .map(|name| gauge!(name, "node" => node.to_owned(), "budget" => budget))
        };
        Self {
            ready: own("keylane_ready"),
            requests: budget("requests"),
            answers: budget("answers"),
            image_index: own("keylane_image_index"),
            image_age: own("keylane_image_age_seconds"),
        }
    }

    /// Shows how the node is.
    pub fn show(&self, state: &NodeState) {
        self.ready.set(f64::from(u8::from(state.is_ready)));
        let budgets = [
            (&self.requests, state.request_bytes),
            (&self.answers, state.answer_bytes),
        ];
        for ([used, all], (bytes_used, bytes)) in budgets {
            used.set(number(bytes_used));
            all.set(number(bytes));
        }
        let index = usize::try_from(state.image_index).unwrap_or(usize::MAX);
        self.image_index.set(number(index));
        let age = state
            .silence
            .map_or(f64::INFINITY, |time| time.as_secs_f64());
        self.image_age.set(age);
    }
}

/// A share of a gauge to which several add; it goes with its owner.
pub struct Share {
    gauge: Gauge,
    value: usize,
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Share({})", self.value)
    }
}

impl Share {
    /// Returns a share of 0.
    #[must_use]
    pub fn of(gauge: &Gauge) -> Self {
        Self {
            gauge: gauge.clone(),
            value: 0,
        }
    }

    /// Makes the share this large.
    pub fn set(&mut self, value: usize) {
        if value > self.value {
            self.gauge.increment(number(value - self.value));
        } else if value < self.value {
            self.gauge.decrement(number(self.value - value));
        }
        self.value = value;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Returns a count as a gauge shows it, which is exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "it is shown, not counted with")]
#[must_use]
pub fn number(count: usize) -> f64 {
    count as f64
}
