//! The task that fetches: one long poll per broker, as far as there is room for what it may bring.
//!
//! Thin on purpose: `positions` decides. What takes time (dialling, metadata, finding where to go on) runs beside it and
//! comes back as an event.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::fetch::{FetchRequest, FetchResponse};
use keylane_protocol::offset::Offset;
use tokio::time::sleep_until;

use super::Shared;
use super::config::{OutOfRange, StartAt, resolve};
use super::positions::{PlannedFetch, Wanted};
use super::request::{answers, fetch_request, version_max};
use crate::ambient;
use crate::connection::{ConnectionError, Connections, Terms};
use crate::inbox::Inbox;

/// What happened beside the fetcher: one answer and one dialling per broker at most, one refresh, one reset per partition.
enum Event {
    Fetched(Fetched),
    Dialled(BrokerId),
    Refreshed,
    Reset {
        index: usize,
        seeks: u64,
        offset: Option<Offset>,
    },
}

/// What came of a fetch.
struct Fetched {
    broker: BrokerId,
    wanted: Vec<Wanted>,
    version: i16,
    answer: Result<FetchResponse, ConnectionError>,
}

struct Fetcher {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    inbox: Arc<Inbox<Event>>,
    dialling: BTreeSet<BrokerId>,
    resetting: BTreeSet<(usize, u64)>,
    is_refreshing: bool,
    generation: u64,
}

/// Fetches until the reader is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let connections = Arc::new(shared.client.inner.new_connections());
    let mut fetcher = Fetcher {
        inbox: Inbox::new(&shared.wake),
        shared,
        connections,
        dialling: BTreeSet::new(),
        resetting: BTreeSet::new(),
        is_refreshing: false,
        generation: 0,
    };
    while !fetcher.shared.is_ending.load(Ordering::Acquire) {
        let now = ambient::now();
        fetcher.take_events(now);
        fetcher.follow_metadata();
        fetcher.fetch(now);
        fetcher.reset(now);
        fetcher.refresh_if_stale();
        let pause = fetcher.shared.lock().next_attempt(now);
        tokio::select! {
            () = fetcher.shared.wake.notified() => {}
            () = sleep_until(pause.unwrap_or(now).into()), if pause.is_some() => {}
        }
    }
}

impl Fetcher {
    fn take_events(&mut self, now: Instant) {
        let events = self.inbox.take();
        for event in events {
            match event {
                Event::Fetched(fetched) => self.take_answer(fetched, now),
                Event::Dialled(broker) => {
                    self.dialling.remove(&broker);
                    if self.connections.ready(broker).is_none() {
                        self.shared.lock().is_metadata_stale = true;
                    }
                }
                Event::Refreshed => self.is_refreshing = false,
                Event::Reset {
                    index,
                    seeks,
                    offset,
                } => {
                    self.resetting.remove(&(index, seeks));
                    let mut positions = self.shared.lock();
                    match offset {
                        None => positions.on_reset_failed(index, seeks, now),
                        Some(offset) => positions.on_reset(index, seeks, offset),
                    }
                }
            }
        }
    }

    fn take_answer(&self, fetched: Fetched, now: Instant) {
        let Fetched {
            broker,
            wanted,
            version,
            answer,
        } = fetched;
        let answers = match answer {
            Ok(response) => answers(response, &wanted, version),
            Err(error) => {
                tracing::debug!(%broker, %error, "fetch got no answer");
                vec![None; wanted.len()]
            }
        };
        let mut positions = self.shared.lock();
        positions.on_fetch_done(broker);
        for (wanted, answer) in wanted.iter().zip(answers) {
            positions.on_answer(wanted, answer, now);
        }
    }

    fn follow_metadata(&mut self) {
        let view = self.shared.client.inner.metadata.view();
        if view.generation != self.generation {
            self.generation = view.generation;
            self.shared.lock().follow(&view);
        }
    }

    fn fetch(&mut self, now: Instant) {
        let mut unreached = BTreeSet::new();
        let connections = Arc::clone(&self.connections);
        let is_ready = |broker| connections.ready(broker).is_some();
        let planned = self.shared.lock().plan(now, is_ready, &mut unreached);
        for fetch in planned {
            self.send(fetch, now);
        }
        for broker in unreached {
            self.dial(broker);
        }
    }

    fn send(&self, planned: PlannedFetch, now: Instant) {
        let config = self.shared.lock().config;
        let request = fetch_request(&planned, &config);
        let version_max = version_max(&planned);
        let terms = Terms {
            timeout: self.shared.client.inner.settings.request_timeout + config.max_wait,
            is_answered: true,
            version_max,
        };
        let broker = planned.broker;
        let wanted = planned.partitions;
        let connection = self.connections.ready(broker);
        let connection = connection.ok_or(ConnectionError::UnknownBroker { broker: broker.0 });
        let sent = connection.and_then(|connection| {
            let version = connection.version_of::<FetchRequest>()?.min(version_max);
            let inbox = Arc::clone(&self.inbox);
            let wanted = wanted.clone();
            connection.send(&request, terms, move |answer| {
                inbox.push(Event::Fetched(Fetched {
                    broker,
                    wanted,
                    version,
                    answer,
                }));
            })
        });
        if let Err(error) = sent {
            let fetched = Fetched {
                broker,
                wanted,
                version: 0,
                answer: Err(error),
            };
            self.take_answer(fetched, now);
        }
    }

    fn dial(&mut self, broker: BrokerId) {
        let view = self.shared.client.inner.metadata.view();
        let Some(address) = view.brokers.get(&broker).cloned() else {
            self.shared.lock().is_metadata_stale = true;
            return;
        };
        if !self.dialling.insert(broker) {
            return;
        }
        let connections = Arc::clone(&self.connections);
        self.inbox.start(async move {
            // A failure shows in that no connection is ready; the next attempt pauses by itself.
            let _ = connections.connect(broker, &address).await;
            Event::Dialled(broker)
        });
    }

    /// Asks where to go on with partitions whose offset is out of range, if the policy says so.
    fn reset(&mut self, now: Instant) {
        let positions = self.shared.lock();
        let start = match positions.config.out_of_range {
            OutOfRange::Fail => return,
            OutOfRange::Earliest => StartAt::Earliest,
            OutOfRange::Latest => StartAt::Latest,
        };
        let resetting = positions.resetting(now).into_iter();
        let named = resetting.map(|(index, seeks)| {
            let position = &positions.all[index];
            (
                index,
                seeks,
                Arc::clone(&position.topic),
                position.partition,
            )
        });
        let named: Vec<_> = named.collect();
        drop(positions);
        for (index, seeks, topic, partition) in named {
            if !self.resetting.insert((index, seeks)) {
                continue;
            }
            let client = Arc::clone(&self.shared.client.inner);
            self.inbox.start(async move {
                let starts = BTreeMap::from([(partition, start)]);
                let offset = match resolve(&client, &topic, &starts).await {
                    Ok(offsets) => offsets.get(&partition).copied(),
                    Err(error) => {
                        tracing::warn!(topic = &*topic, %partition, %error, "no offset to go on at");
                        None
                    }
                };
                Event::Reset {
                    index,
                    seeks,
                    offset,
                }
            });
        }
    }

    fn refresh_if_stale(&mut self) {
        if self.is_refreshing || !mem::take(&mut self.shared.lock().is_metadata_stale) {
            return;
        }
        self.is_refreshing = true;
        let client = Arc::clone(&self.shared.client.inner);
        let generation = self.generation;
        self.inbox.start(async move {
            if let Err(error) = client.metadata.refresh(generation, false).await {
                tracing::debug!(%error, "metadata not refreshed");
            }
            Event::Refreshed
        });
    }
}
