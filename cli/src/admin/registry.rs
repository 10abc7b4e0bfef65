//! The metrics of this process: what the nodes in it count by, through the handles of the crate `metrics`.
//!
//! Handles are made once, where something begins; from then on counting touches nothing but numbers. A series is there
//! as long as somebody holds its handle: what has gone is left out at the next look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SetRecorderError, SharedString,
    Unit,
};

use super::cells::{CounterCell, GaugeCell, HistogramCell};
use super::text::{Exposition, Kind, Labels};

/// All series.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    families: Arc<Mutex<BTreeMap<String, Family>>>,
}

/// Series of one name.
#[derive(Debug, Default)]
struct Family {
    help: String,
    /// What it counts; `None` while it was only described.
    kind: Option<Kind>,
    series: BTreeMap<Labels, Cell>,
}

#[derive(Debug)]
enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

impl Registry {
    /// Makes this what all nodes of the process count by, from now on.
    ///
    /// # Errors
    /// When there is another already.
    pub(super) fn install(&self) -> Result<(), SetRecorderError<Self>> {
        metrics::set_global_recorder(self.clone())
    }

    /// Writes all families, and forgets the series that nobody holds.
    pub(super) fn write(&self, exposition: &mut Exposition) {
        for (name, family) in &mut *self.lock() {
            family.series.retain(|_, cell| cell.is_held());
            let Some(kind) = family.kind else {
                continue;
            };
            exposition.family(name, kind, &family.help);
            for (labels, cell) in &family.series {
                match cell {
                    Cell::Counter(counter) => exposition.sample(name, labels, counter.value()),
                    Cell::Gauge(gauge) => exposition.sample(name, labels, gauge.value()),
                    Cell::Histogram(histogram) => {
                        exposition.histogram(name, labels, &histogram.distribution());
                    }
                }
            }
        }
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        let mut families = self.lock();
        let family = families.entry(name.as_str().to_owned()).or_default();
        help.as_ref().clone_into(&mut family.help);
    }

    /// Returns the cell of a series, which is made if need be; one of another kind than its family is not shown.
    fn cell<T>(&self, key: &Key, kind: Kind, known: impl Fn(&Cell) -> Option<Arc<T>>) -> Arc<T>
    where
        T: Default,
        Arc<T>: Into<Cell>,
    {
        let labels = key.labels().fold(Labels::default(), |labels, label| {
            labels.with(label.key(), label.value())
        });
        let mut families = self.lock();
        let family = families.entry(key.name().to_owned()).or_default();
        if let Some(cell) = family.series.get(&labels).and_then(known) {
            return cell;
        }
        let cell: Arc<T> = Arc::default();
        if *family.kind.get_or_insert(kind) == kind {
            family.series.insert(labels, Arc::clone(&cell).into());
        }
        cell
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    /// Tells whether anybody can still count by it.
    fn is_held(&self) -> bool {
        let held = match self {
            Self::Counter(counter) => Arc::strong_count(counter),
            Self::Gauge(gauge) => Arc::strong_count(gauge),
            Self::Histogram(histogram) => Arc::strong_count(histogram),
        };
        held > 1
    }
}

impl From<Arc<CounterCell>> for Cell {
    fn from(cell: Arc<CounterCell>) -> Self {
        Self::Counter(cell)
    }
}

impl From<Arc<GaugeCell>> for Cell {
    fn from(cell: Arc<GaugeCell>) -> Self {
        Self::Gauge(cell)
    }
}

impl From<Arc<HistogramCell>> for Cell {
    fn from(cell: Arc<HistogramCell>) -> Self {
        Self::Histogram(cell)
    }
}

impl Recorder for Registry {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key, Kind::Counter, |cell| match cell {
            Cell::Counter(counter) => Some(Arc::clone(counter)),
            _ => None,
        }))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key, Kind::Gauge, |cell| match cell {
            Cell::Gauge(gauge) => Some(Arc::clone(gauge)),
            _ => None,
        }))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key, Kind::Histogram, |cell| match cell {
            Cell::Histogram(histogram) => Some(Arc::clone(histogram)),
            _ => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is exposed while `act` has counted and its handles are still held.
    fn exposed<T>(registry: &Registry, act: impl FnOnce() -> T) -> (String, T) {
        let held = metrics::with_local_recorder(registry, act);
        let mut exposition = Exposition::default();
        registry.write(&mut exposition);
        (exposition.into_text(), held)
    }

    #[test]
    fn handles_of_one_series_count_together_and_others_apart() {
        let registry = Registry::default();
        let (text, _held) = exposed(&registry, || {
            metrics::describe_counter!("seen_total", "what was seen");
            let handles =
                ["a", "a", "b"].map(|node| metrics::counter!("seen_total", "node" => node));
            for handle in &handles {
                handle.increment(2);
            }
            handles
        });
        let expected = "# HELP seen_total what was seen\n# TYPE seen_total counter\n\
                        seen_total{node=\"a\"} 4\nseen_total{node=\"b\"} 2\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_series_goes_with_its_last_handle_and_its_family_stays() {
        let registry = Registry::default();
        let (text, handle) = exposed(&registry, || metrics::gauge!("links", "node" => "a"));
        assert!(text.contains("links{node=\"a\"} 0"), "{text}");
        drop(handle);
        let (text, ()) = exposed(&registry, || ());
        assert_eq!(text, "# HELP links \n# TYPE links gauge\n");
    }

    #[test]
    fn a_name_has_one_kind() {
        let registry = Registry::default();
        let (text, _held) = exposed(&registry, || {
            let gauge = metrics::gauge!("same", "node" => "a");
            let counter = metrics::counter!("same", "node" => "b");
            counter.increment(1);
            (gauge, counter)
        });
        assert_eq!(
            text,
            "# HELP same \n# TYPE same gauge\nsame{node=\"a\"} 0\n"
        );
    }

    #[test]
    fn a_histogram_is_exposed_with_its_labels() {
        let registry = Registry::default();
        let (text, _held) = exposed(&registry, || {
            let handle = metrics::histogram!("wait_seconds", "node" => "a", "api" => "Fetch");
            handle.record(0.2);
            handle
        });
        let bucket = "wait_seconds_bucket{node=\"a\",api=\"Fetch\",le=\"0.25\"} 1";
        assert!(text.contains(bucket), "{text}");
        assert!(
            text.contains("wait_seconds_count{node=\"a\",api=\"Fetch\"} 1"),
            "{text}"
        );
    }
}
