//! A router's life: started, it follows the cluster and serves clients, until it is stopped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keylane_protocol::config::InvalidConfig;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::budget::RequestBudget;
use crate::config::RouterConfig;
use crate::control::{Asks, Follower, Known, controllers};
use crate::limits::CONNECTIONS_HANDED_OVER_MAX;
use crate::meters::Meters;
use crate::probe::{Probe, ProbeParts};
use crate::runtime::Runtime;
use crate::server::{self, Handover, Shared};
use crate::threads;
use crate::watching::Watching;
use keylane_protocol::transport::{BytePool, ConnectionSlots, Pulse, ReceiveBudget};

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The listener cannot be used.
    #[error("cannot listen on {address}: {source}; choose another port, or 0 for a free one")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A thread could not be made.
    #[error("cannot start a thread")]
    Thread(#[from] io::Error),
}

/// A running router. Dropping it ends it without waiting for requests under way.
#[derive(Debug)]
pub struct Router {
    address: SocketAddr,
    known: watch::Receiver<Known>,
    /// Cancelled to end well.
    stopping: CancellationToken,
    /// Cancelled to end at once.
    aborting: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    /// One for each runtime.
    pulses: Vec<Pulse>,
    /// There once everything is started.
    probe: Option<Probe>,
}

/// Tells when a router has found its cluster.
#[derive(Clone, Debug)]
pub struct Serving {
    known: watch::Receiver<Known>,
}

impl Serving {
    /// Waits until the router has found its cluster; returns whether it has, which it has not if it was stopped.
    pub async fn begun(&mut self) -> bool {
        self.known.wait_for(Known::is_founded).await.is_ok()
    }
}

impl Router {
    /// Starts a router: it listens at once, and serves as soon as it has found its cluster ([`Router::serving`]), which
    /// it looks for as long as it takes.
    ///
    /// # Errors
    /// When the configuration or the listener cannot be used; nothing is left running then.
    pub fn start(config: RouterConfig) -> Result<Self, StartError> {
        config.validate()?;
        let (listener, address) = listen(config.listen)?;
        if config.insecure {
            warn!(
                "nothing is encrypted or authenticated: whoever reaches this listener can read and write everything"
            );
        }
        match &config.advertise {
            Some(advertise) => info!(%address, %advertise, "router started"),
            None => warn!(
                %address,
                "no address is advertised: clients are told the one they have dialled, which is wrong behind address \
                 translation and container port mappings"
            ),
        }
        let node = format!("router@{address}");
        let (controllers, asks) = controllers();
        let mut router = Self {
            address,
            known: controllers.known(),
            stopping: CancellationToken::new(),
            aborting: CancellationToken::new(),
            threads: Vec::new(),
            pulses: Vec::new(),
            probe: None,
        };
        let limits = &config.clients;
        let shared = Arc::new(Shared {
            controllers,
            requests: RequestBudget::new(
                limits.request_bytes_total_max,
                limits.connection_request_bytes_max,
            ),
            received: ReceiveBudget::new(limits.request_bytes_total_max),
            answers: BytePool::new(limits.fetch_bytes_total_max),
            is_listening: AtomicBool::new(false),
            meters: Meters::new(node.clone()),
            watching: Watching::default(),
            stopping: router.stopping.clone(),
            config,
        });
        // From here on dropping `router` ends what was started.
        router.spawn_follower(&shared, asks)?;
        router.spawn_runtimes(&shared, listener)?;
        router.probe = Some(Probe::new(ProbeParts {
            node,
            shared: Arc::downgrade(&shared),
            pulses: router.pulses.clone(),
        }));
        Ok(router)
    }

    /// Returns the address of the Kafka listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what looks at the router while somebody else owns it.
    ///
    /// # Panics
    /// Never: there is no router outside this crate that is not started.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone().expect("it is there once it is started")
    }

    /// Returns what tells when the cluster is found.
    #[must_use]
    pub fn serving(&self) -> Serving {
        Serving {
            known: self.known.clone(),
        }
    }

    /// Ends the router well: no further request is read, and what is under way is answered. Blocks until then.
    pub fn stop(mut self) {
        self.stopping.cancel();
        threads::join(std::mem::take(&mut self.threads));
        info!("router stopped");
    }

    fn spawn_follower(&mut self, shared: &Arc<Shared>, asks: Asks) -> io::Result<()> {
        let (brokers, advertise) = (
            shared.config.brokers.clone(),
            shared.config.advertise.clone(),
        );
        let (stopping, aborting) = (self.stopping.clone(), self.aborting.clone());
        let (pulse, answering) = Pulse::new();
        self.pulses.push(pulse);
        let main = move || async move {
            tokio::task::spawn_local(answering);
            let follower = Follower::new(asks, brokers, advertise);
            tokio::select! {
                biased;
                () = aborting.cancelled() => {}
                () = follower.run(stopping) => {}
            }
        };
        self.threads.push(threads::spawn_runtime("control", main)?);
        Ok(())
    }

    fn spawn_runtimes(&mut self, shared: &Arc<Shared>, listener: TcpListener) -> io::Result<()> {
        let count = match shared.config.runtimes {
            0 => threads::default_runtimes(),
            count => count,
        };
        let (handovers, handed_over): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| mpsc::channel::<Handover>(CONNECTIONS_HANDED_OVER_MAX))
            .unzip();
        let ended = CancellationToken::new();
        let mut leading = Some((listener, handovers));
        for (index, handed_over) in handed_over.into_iter().enumerate() {
            let shared = Arc::clone(shared);
            let (leading, ended) = (leading.take(), ended.clone());
            let aborting = self.aborting.clone();
            let (pulse, answering) = Pulse::new();
            self.pulses.push(pulse);
            let main = move || async move {
                tokio::task::spawn_local(answering);
                let runtime = Runtime::new(Arc::clone(&shared));
                tokio::task::spawn_local(Rc::clone(&runtime).follow());
                tokio::task::spawn_local(server::serve_handed_over(handed_over, runtime));
                let work = async {
                    match leading {
                        Some((listener, handovers)) => {
                            lead(&shared, listener, handovers).await;
                            ended.cancel();
                        }
                        None => ended.cancelled().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = aborting.cancelled() => {}
                    () = work => {}
                }
            };
            let name = format!("router-{index}");
            self.threads.push(threads::spawn_runtime(&name, main)?);
        }
        Ok(())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.aborting.cancel();
        threads::join(std::mem::take(&mut self.threads));
    }
}

/// Accepts until the router stops, then waits for what is under way.
async fn lead(shared: &Shared, listener: TcpListener, handovers: Vec<mpsc::Sender<Handover>>) {
    let mut serving = Serving {
        known: shared.controllers.known(),
    };
    tokio::select! {
        () = shared.stopping.cancelled() => return,
        is_found = serving.begun() => {
            if !is_found {
                return;
            }
        }
    }
    info!("the cluster is found; clients are served");
    let limits = &shared.config.clients;
    let slots = ConnectionSlots::new(limits.connections_max, limits.connections_per_address_max);
    let stopping = shared.stopping.clone();
    match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => {
            shared.is_listening.store(true, Ordering::Relaxed);
            let refused = shared.meters.refused.clone();
            server::accept((listener, refused), slots.clone(), handovers, stopping).await;
            shared.is_listening.store(false, Ordering::Relaxed);
        }
        Err(error) => warn!(%error, "the listener cannot be used"),
    }
    let patience: Duration = limits.stop_timeout;
    if timeout(patience, slots.none_left()).await.is_err() {
        warn!("some connections were not done in time");
    }
}

fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = || {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|source| StartError::Listen {
        address: at,
        source,
    })
}
