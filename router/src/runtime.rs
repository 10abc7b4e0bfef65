//! What the sessions of one runtime share: the routing, the links, what is being looked up. All on one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::handshake::Welcome;
use tokio::time::Instant;

use crate::control::Known;
use crate::limits::UNKNOWN_TOPIC_BELIEVED;
use crate::link::{Link, Uplink};
use crate::lookups::{LookUp, Lookups, Missing};
use crate::mailbox::{Event, Mailbox};
use crate::plan::produce::SubBatch;
use crate::routing::{Moment, Routing};
use crate::server::Shared;
use crate::skew::{Passed, PlacedBy};
use crate::watching::Watch;

/// One runtime's state.
pub(crate) struct Runtime {
    pub(crate) shared: Arc<Shared>,
    pub(crate) routing: RefCell<Routing>,
    links: RefCell<BTreeMap<BrokerId, Rc<Link>>>,
    lookups: RefCell<Lookups>,
    /// The index of the metadata that the routing has.
    index: Cell<i64>,
    /// When the controllers last said that the cluster creates no topics on demand.
    creation_refused: Cell<Option<StdInstant>>,
    /// The mailboxes of living sessions.
    sessions: RefCell<BTreeMap<u64, Rc<Mailbox>>>,
    /// What is seen of keys.
    watch: Arc<Watch>,
}

impl Runtime {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let routing = Routing::new(Arc::default(), Instant::now().into_std());
        let watch = shared.watching.begin();
        Rc::new(Self {
            watch,
            shared,
            routing: RefCell::new(routing),
            links: RefCell::default(),
            lookups: RefCell::default(),
            index: Cell::new(0),
            creation_refused: Cell::new(None),
            sessions: RefCell::default(),
        })
    }

    /// Follows the metadata for ever.
    pub(crate) async fn follow(self: Rc<Self>) {
        let mut known = self.shared.controllers.known();
        known.mark_changed();
        while known.changed().await.is_ok() {
            let newest: Known = known.borrow_and_update().clone();
            self.index.set(newest.index);
            self.on_image(newest.image);
        }
    }

    fn on_image(self: &Rc<Self>, image: Arc<ClusterImage>) {
        let now = Instant::now().into_std();
        let mut links = self.links.borrow_mut();
        links.retain(|id, link| {
            let is_same = image
                .broker(*id)
                .is_some_and(|broker| broker.internal == link.endpoint);
            if !is_same {
                link.end();
            }
            is_same
        });
        let mut routing = self.routing.borrow_mut();
        for broker in image.brokers() {
            if links.contains_key(&broker.id) {
                continue;
            }
            // There is none until it is up.
            routing.on_unlinked(broker.id, now);
            let link = Link::begin(self, broker.id, broker.internal.clone());
            links.insert(broker.id, link);
        }
        routing.on_image(image, now);
        drop((links, routing));
        self.tell_routing();
    }

    /// Sees a batch on its way to a leader.
    pub(crate) fn watch(&self, sub_batch: &SubBatch, client_id: Option<&str>) {
        let placed_by = match sub_batch.order {
            Some(_) => PlacedBy::Router,
            None => {
                let routing = self.routing.borrow();
                let topic = routing.image().topic(sub_batch.topic_id);
                PlacedBy::Client {
                    id: client_id.unwrap_or_default(),
                    partition_count: topic.map(|topic| topic.partition_count()),
                }
            }
        };
        self.watch.lock().on_batch(&Passed {
            topic_id: sub_batch.topic_id,
            partition: sub_batch.partition,
            placed_by,
            batch: &sub_batch.records,
        });
    }

    /// Returns how far the metadata is that the routing has.
    pub(crate) fn index(&self) -> i64 {
        self.index.get()
    }

    /// Tells whether the routing has what the metadata had at an index.
    pub(crate) fn has_reached(&self, index: i64) -> bool {
        self.index.get() >= index
    }

    /// Tells whether the controllers are to be asked to create a topic: not if they have just refused it.
    pub(crate) fn may_create(&self, now: StdInstant) -> bool {
        let refused = self.creation_refused.get();
        refused.is_none_or(|refused| now >= refused + UNKNOWN_TOPIC_BELIEVED)
    }

    /// Notes that the cluster creates no topics on demand.
    pub(crate) fn on_creation_refused(&self, now: StdInstant) {
        self.creation_refused.set(Some(now));
    }

    /// Notes that a link has come up.
    pub(crate) fn on_linked(&self, broker: BrokerId, welcome: &Welcome) {
        let max = usize::try_from(welcome.message_bytes_max).ok();
        let max = max.filter(|max| *max > 0);
        self.routing.borrow_mut().on_linked(broker, max);
        self.tell_routing();
    }

    /// Notes that a link has gone.
    pub(crate) fn on_unlinked(&self, broker: BrokerId) {
        let now = Instant::now().into_std();
        self.routing.borrow_mut().on_unlinked(broker, now);
        self.tell_routing();
    }

    fn tell_routing(&self) {
        for mailbox in self.sessions.borrow().values() {
            mailbox.on_routing();
        }
    }

    /// Returns the connection to a broker.
    pub(crate) fn uplink(&self, broker: BrokerId) -> Option<Rc<Uplink>> {
        self.links.borrow().get(&broker)?.up()
    }

    /// Returns a broker that can be reached, another for each turn.
    pub(crate) fn any_broker(&self, turn: u64) -> Option<BrokerId> {
        let routing = self.routing.borrow();
        let ids = routing.image().brokers().map(|broker| broker.id);
        let reachable: Vec<BrokerId> = ids.filter(|id| routing.is_reachable(*id)).collect();
        let count = u64::try_from(reachable.len()).unwrap_or(u64::MAX);
        let place = turn.checked_rem(count)?;
        reachable.get(usize::try_from(place).ok()?).copied()
    }

    /// Remembers a session.
    pub(crate) fn enter(&self, id: u64, mailbox: &Rc<Mailbox>) {
        self.sessions.borrow_mut().insert(id, Rc::clone(mailbox));
    }

    /// Forgets a session.
    pub(crate) fn leave(&self, id: u64) {
        self.sessions.borrow_mut().remove(&id);
    }

    /// Begins to look something up; returns whether it is known not to exist. Else sessions are told.
    pub(crate) fn look_up(self: &Rc<Self>, missing: &Missing) -> bool {
        let now = Instant::now().into_std();
        let decision = self.lookups.borrow_mut().look_up(missing, now);
        if decision == LookUp::Ask {
            let runtime = Rc::clone(self);
            tokio::task::spawn_local(async move { runtime.ask_how_far().await });
        }
        decision == LookUp::Unknown
    }

    /// Asks the controllers how far the metadata is, until nothing is to be looked up.
    async fn ask_how_far(&self) {
        loop {
            if !self.shared.controllers.catch_up().await {
                self.lookups.borrow_mut().on_failed();
                return;
            }
            // The image may have come to other runtimes first.
            let image = self.shared.controllers.known().borrow().image.clone();
            let now = Instant::now().into_std();
            let (unknown, asks_again) = {
                let mut routing = self.routing.borrow().clone();
                routing.on_image(image, now);
                let moment = Moment {
                    routing: &routing,
                    now,
                };
                self.lookups.borrow_mut().on_caught_up(moment)
            };
            self.tell_unknown(unknown);
            if !asks_again {
                return;
            }
        }
    }

    fn tell_unknown(&self, unknown: BTreeSet<Missing>) {
        if unknown.is_empty() {
            return;
        }
        let unknown = Rc::new(unknown);
        for mailbox in self.sessions.borrow().values() {
            mailbox.put(Event::Unknown(Rc::clone(&unknown)));
        }
    }
}
