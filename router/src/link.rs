//! Links to brokers: one for each broker of the image and runtime, dialled again whenever it is lost.
//!
//! Sessions of the runtime put requests into the [`Dialer`] themselves; the link's task moves the bytes and puts what is
//! told into the mailbox of who asked. It never waits for a session, so that one who reads nothing holds up no other.

pub(crate) mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::handshake::{Hello, Role};
use keylane_protocol::link::{Dialer, Lane, Told};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::wire::{LinkError, Port, Wire};
use crate::limits::{PAUSE_FIRST, PAUSE_MAX};
use crate::mailbox::{Asked, Event, Mailbox};
use crate::meters::UplinkLevels;
use crate::runtime::Runtime;

/// Who asks something of a broker, and what.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) mailbox: Rc<Mailbox>,
    pub(crate) asked: Asked,
}

/// One connection of a link, as long as it lasts.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(crate) port: Port<Asker>,
    /// Whose lanes these are.
    pub(crate) owners: RefCell<BTreeMap<Lane, Rc<Mailbox>>>,
}

impl Uplink {
    /// Shows what is under way.
    fn show(&self, levels: &mut UplinkLevels) {
        levels.lanes.set(self.owners.borrow().len());
        self.port.look(|dialer| {
            levels.in_flight.set(dialer.pending());
            levels.credit_bytes.set(dialer.credit_used());
            levels.queued_bytes.set(dialer.queued_bytes());
        });
    }
}

/// The link to a broker.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) broker: BrokerId,
    pub(crate) endpoint: Endpoint,
    up: RefCell<Option<Rc<Uplink>>>,
    ended: CancellationToken,
}

impl Link {
    /// Returns the link's connection, if there is one.
    pub(crate) fn up(&self) -> Option<Rc<Uplink>> {
        self.up.borrow().clone()
    }

    /// Begins to dial a broker.
    pub(crate) fn begin(runtime: &Rc<Runtime>, broker: BrokerId, endpoint: Endpoint) -> Rc<Self> {
        let link = Rc::new(Self {
            broker,
            endpoint,
            up: RefCell::default(),
            ended: CancellationToken::new(),
        });
        let (running, runtime) = (Rc::clone(&link), Rc::clone(runtime));
        tokio::task::spawn_local(async move {
            let ended = running.ended.clone();
            tokio::select! {
                () = ended.cancelled() => running.down(&runtime),
                () = running.run(&runtime) => {}
            }
        });
        link
    }

    /// Ends the link: the broker has gone from the image, or has another address.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    async fn run(&self, runtime: &Runtime) {
        let mut pause = Pause::default();
        loop {
            let error = match Wire::dial(&self.endpoint, &self.hello(runtime)).await {
                Ok((wire, welcome)) => {
                    let now = Instant::now();
                    let uplink = Rc::new(Uplink {
                        port: Port::new(Dialer::new(&welcome, now.into_std())),
                        owners: RefCell::default(),
                    });
                    *self.up.borrow_mut() = Some(Rc::clone(&uplink));
                    info!(broker = self.broker.0, endpoint = %self.endpoint, "linked to a broker");
                    runtime.on_linked(self.broker, &welcome);
                    let error = self.carry(wire, &uplink, runtime).await;
                    self.down(runtime);
                    info!(broker = self.broker.0, %error, "a link was lost");
                    pause = Pause::default();
                    error
                }
                Err(error) => error,
            };
            debug!(broker = self.broker.0, endpoint = %self.endpoint, %error, "no link to a broker");
            tokio::time::sleep(pause.next()).await;
        }
    }

    fn hello(&self, runtime: &Runtime) -> Hello {
        let cluster_id = runtime.routing.borrow().image().cluster_id();
        Hello {
            cluster_id: cluster_id.unwrap_or_default(),
            role: Role::Router,
            wanted_broker_id: self.broker,
            name: "a router".into(),
            ..Hello::default()
        }
    }

    /// Moves bytes until the connection is lost.
    async fn carry(&self, mut wire: Wire, uplink: &Uplink, runtime: &Runtime) -> LinkError {
        let mut told = Vec::new();
        let mut levels = runtime.shared.meters.uplink(self.broker);
        levels.up.set(1);
        loop {
            uplink.show(&mut levels);
            let turned = wire.turn(&uplink.port, &mut told).await;
            for told in told.drain(..) {
                self.pass_on(uplink, told);
            }
            if let Err(error) = turned {
                return error;
            }
        }
    }

    fn pass_on(&self, uplink: &Uplink, told: Told<Asker>) {
        match told {
            Told::Answer(asker, answer) => asker.tell(|asked| Event::Answer(asked, answer)),
            Told::Outcome(asker, outcome) => asker.tell(|asked| Event::Outcome(asked, outcome)),
            Told::Lost(asker, fate) => asker.tell(|asked| Event::Lost(asked, fate)),
            Told::Room(lane) => {
                let owner = uplink.owners.borrow().get(&lane).cloned();
                if let Some(owner) = owner {
                    owner.put(Event::Room(self.broker));
                }
            }
            // A link for clients makes no calls.
            Told::Reply(..) | Told::Push(_) => {}
        }
    }

    fn down(&self, runtime: &Runtime) {
        let uplink = self.up.borrow_mut().take();
        if let Some(uplink) = uplink {
            for (asker, fate) in uplink.port.lose() {
                asker.tell(|asked| Event::Lost(asked, fate));
            }
            runtime.on_unlinked(self.broker);
        }
    }
}

impl Asker {
    fn tell(self, event: impl FnOnce(Asked) -> Event) {
        self.mailbox.put(event(self.asked));
    }
}

/// The pauses between attempts: doubling up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
}

impl Pause {
    /// Counts a failure and returns how long to pause.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = PAUSE_FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(PAUSE_MAX)
    }
}
