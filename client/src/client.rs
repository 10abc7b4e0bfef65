//! The entry: finds the cluster and hands out producers, readers and the admin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::address::{Bootstrap, InvalidAddress, addresses};
use crate::admin::Admin;
use crate::ambient::fresh_seed;
use crate::connection::{ConnectionSettings, Connections};
use crate::limits::{REQUESTS_WAITING_MAX, ROUTER_CONNECTIONS_MAX};
use crate::metadata::{MetadataCache, MetadataError};
use crate::producer::ProducerBuilder;
use crate::reader::ReaderBuilder;
use crate::routers::Routers;

/// A client of one cluster. Clones are cheap and share what is known of the cluster.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: ConnectionSettings,
    pub(crate) metadata: MetadataCache,
    pub(crate) routers: Routers,
    seeds: AtomicU64,
}

/// Why no client could be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The addresses cannot be used.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// None of the addresses leads to a broker.
    #[error(transparent)]
    Cluster(#[from] MetadataError),
}

impl ConnectError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Address(_) | Self::Setting(_) => false,
            Self::Cluster(error) => error.is_retriable(),
        }
    }
}

/// Settings of a client; every one has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    client_id: String,
    request_timeout: Duration,
    router_connections: usize,
    seed: Option<u64>,
}

impl Client {
    /// Finds the cluster through any of the addresses, such as `"localhost:9092"` or `["a:9092", "b:9092"]`.
    ///
    /// # Errors
    /// When an address is malformed, or none of them answers.
    pub async fn connect(bootstrap: impl Bootstrap) -> Result<Self, ConnectError> {
        Self::builder().connect(bootstrap).await
    }

    /// Returns the settings with which to connect.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            client_id: "keylane".to_owned(),
            request_timeout: Duration::from_secs(30),
            router_connections: 1,
            seed: None,
        }
    }

    /// Returns the settings of a new producer.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Returns the settings of a new reader of chosen partitions.
    pub fn reader(&self) -> ReaderBuilder {
        ReaderBuilder::new(self.clone())
    }

    /// Returns what creates, deletes and describes.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }
}

impl ClientBuilder {
    /// Sets the name the client gives itself in the broker's logs. Default `keylane`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Sets how long an answer may take before the connection is given up. Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how many connections to routers the routed producers of this client share. Default 1, over which a thousand
    /// producers cost least; a few more let large producers use more than one of a router's threads.
    pub fn router_connections(mut self, connections: usize) -> Self {
        self.router_connections = connections;
        self
    }

    /// Sets what jitter and the spreading of records without a key are drawn from, to make a test repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Finds the cluster; see [`Client::connect`].
    ///
    /// # Errors
    /// When an address is malformed, a setting makes no sense, or no address answers.
    pub async fn connect(self, bootstrap: impl Bootstrap) -> Result<Client, ConnectError> {
        let bootstrap = addresses(bootstrap)?;
        if self.request_timeout.is_zero() {
            let fault = "request_timeout must not be zero".to_owned();
            return Err(ConnectError::Setting(fault));
        }
        if self.client_id.len() > 249 {
            let fault = "client_id has at most 249 bytes".to_owned();
            return Err(ConnectError::Setting(fault));
        }
        if !(1..=ROUTER_CONNECTIONS_MAX).contains(&self.router_connections) {
            let fault =
                format!("router_connections must be between 1 and {ROUTER_CONNECTIONS_MAX}");
            return Err(ConnectError::Setting(fault));
        }
        let settings = ConnectionSettings {
            requests_waiting_max: REQUESTS_WAITING_MAX,
            client_id: self.client_id.into(),
            request_timeout: self.request_timeout,
        };
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let connections = Connections::new(settings.clone(), seed);
        let metadata = MetadataCache::new(bootstrap, connections, seed.wrapping_add(1));
        metadata.refresh(0, false).await?;
        let inner = Inner {
            routers: Routers::new(self.router_connections, &settings, seed.wrapping_add(3)),
            settings,
            metadata,
            seeds: AtomicU64::new(seed.wrapping_add(2)),
        };
        Ok(Client {
            inner: Arc::new(inner),
        })
    }
}

impl Inner {
    /// Returns another seed; the sequence follows from the client's own.
    pub(crate) fn next_seed(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.seeds.fetch_add(STEP, Ordering::Relaxed)
    }

    /// Returns an empty set of connections, for one producer or reader.
    pub(crate) fn new_connections(&self) -> Connections {
        Connections::new(self.settings.clone(), self.next_seed())
    }
}
