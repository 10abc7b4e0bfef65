//! The admin port of a process: its metrics, whether it lives, and whether it serves, over HTTP.
//!
//! ```text
//! nodes count by handles ─▶ registry ─┐
//! nodes tell of themselves ───────────┴▶ pages ─▶ serve ─▶ GET /metrics, /healthz, /readyz, /keys
//! ```
//! One port for all nodes of a process; every series says by its label `node` which it is of. Nothing here waits for a
//! node longer than a bound, and no client can make it hold more than a few answers.

mod cells;
mod keys;
mod pages;
mod partitions;
mod registry;
mod request;
mod serve;
mod text;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use self::pages::Pages;
use self::registry::Registry;
use crate::failure::Failure;

/// A node of this process.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Broker(keylane_broker::Probe),
    Router(keylane_router::Probe),
}

/// The admin port, or that there is none.
#[derive(Debug)]
pub(crate) struct Admin {
    port: Option<(SocketAddr, Arc<Pages>)>,
}

impl Admin {
    /// Opens the port of a process that will have so many nodes, and lets them be counted; to be called before they are
    /// started. Without an address nothing is counted or opened.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub(crate) fn start(listen: Option<SocketAddr>, nodes: usize) -> Result<Self, Failure> {
        let Some(listen) = listen else {
            return Ok(Self { port: None });
        };
        let fail = |error: &std::io::Error| {
            Failure::because(format!("cannot listen on {listen}, the admin port"), error).hint(
                "choose another with --admin-listen; port 0 takes a free one, and `off` opens none",
            )
        };
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((tokio::net::TcpListener::from_std(listener)?, address))
        };
        let (listener, address) = bind().map_err(|error| fail(&error))?;
        let registry = Registry::default();
        registry
            .install()
            .map_err(|_| Failure::new("the metrics of this process are kept already"))?;
        let pages = Arc::new(Pages::new(registry, nodes));
        tokio::spawn(serve::serve(listener, Arc::clone(&pages)));
        tracing::info!(%address, "metrics at /metrics, health at /healthz and /readyz");
        Ok(Self {
            port: Some((address, pages)),
        })
    }

    /// Shows a node that was started.
    pub(crate) fn show(&self, node: Node) {
        if let Some((_, pages)) = &self.port {
            pages.show(node);
        }
    }

    /// Returns the address of the port, if there is one, as the ready line names it.
    pub(crate) fn address(&self) -> Option<String> {
        self.port.as_ref().map(|(address, _)| address.to_string())
    }
}

impl Node {
    /// Returns the value of the label `node`.
    fn name(&self) -> &str {
        match self {
            Self::Broker(probe) => probe.node(),
            Self::Router(probe) => probe.node(),
        }
    }

    /// Tells whether it serves; if not, why.
    fn readiness(&self) -> Result<(), String> {
        match self {
            Self::Broker(probe) => probe.readiness(),
            Self::Router(probe) => probe.readiness(),
        }
    }

    /// Sets its gauges that are not kept up by what they measure.
    fn refresh(&self) {
        match self {
            Self::Broker(probe) => probe.refresh(),
            Self::Router(probe) => probe.refresh(),
        }
    }

    /// Waits until all of its runtimes have answered.
    async fn answers(&self) {
        match self {
            Self::Broker(probe) => probe.answers().await,
            Self::Router(probe) => probe.answers().await,
        }
    }
}
