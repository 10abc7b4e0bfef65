//! What threads of a load share: when it starts, which part of it is measured, and how far it is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::Barrier;

use super::LoadPlan;
use crate::clock::{monotonic_ns, nanoseconds};

/// How long after the last producer is ready the load begins.
const LEAD_NS: u64 = 5_000_000;

/// How often waiting threads look up.
const GLANCE: Duration = Duration::from_millis(5);

/// How far a load is.
#[derive(Debug, Default)]
pub struct Gauge {
    records: AtomicU64,
    bytes: AtomicU64,
    is_produced: AtomicBool,
}

impl Gauge {
    /// Returns the number of records acknowledged so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Returns the bytes acknowledged so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn end_production(&self) {
        self.is_produced.store(true, Ordering::Release);
    }

    /// Returns whether nothing more will be produced.
    pub(super) fn is_produced(&self) -> bool {
        self.is_produced.load(Ordering::Acquire)
    }
}

/// The measured part of a load, in monotonic nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// When sending begins.
    pub(super) load_ns: u64,
    /// When measuring begins.
    pub(super) start_ns: u64,
    /// When sending and measuring end; the end of time if the workload ends by itself.
    pub(super) end_ns: u64,
}

impl Window {
    pub(super) fn holds(self, moment_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&moment_ns)
    }

    /// Waits for the end of the window or until `is_over`.
    pub(super) fn sleep_to_end(self, is_over: impl Fn() -> bool) {
        sleep_until(self.end_ns, is_over);
    }
}

/// Where the threads of producers meet before any of them sends.
#[derive(Debug)]
pub(super) struct Start {
    barrier: Barrier,
    window: OnceLock<Window>,
    is_endless: bool,
}

impl Start {
    pub(super) fn new(threads: usize, ends_by_itself: bool) -> Self {
        Self {
            barrier: Barrier::new(threads),
            window: OnceLock::new(),
            is_endless: !ends_by_itself,
        }
    }

    /// Waits for the other threads and returns the window, which begins a moment later.
    pub(super) async fn meet(&self, plan: &LoadPlan) -> Window {
        self.barrier.wait().await;
        *self.window.get_or_init(|| {
            let load_ns = monotonic_ns() + LEAD_NS;
            if self.is_endless {
                let start_ns = load_ns + nanoseconds(plan.warm_up);
                Window {
                    load_ns,
                    start_ns,
                    end_ns: start_ns + nanoseconds(plan.duration),
                }
            } else {
                Window {
                    load_ns,
                    start_ns: load_ns,
                    end_ns: u64::MAX,
                }
            }
        })
    }

    /// Waits, outside any runtime, until measuring begins, or until `is_over`.
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) -> Window {
        loop {
            if let Some(&window) = self.window.get() {
                sleep_until(window.start_ns, &is_over);
                return window;
            }
            if is_over() {
                return Window::default();
            }
            thread::sleep(GLANCE);
        }
    }
}

fn sleep_until(moment_ns: u64, is_over: impl Fn() -> bool) {
    loop {
        let rest = Duration::from_nanos(moment_ns.saturating_sub(monotonic_ns()));
        if rest.is_zero() || is_over() {
            return;
        }
        thread::sleep(rest.min(GLANCE));
    }
}
