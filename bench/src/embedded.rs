//! A cluster inside the calling process, for tests of any crate: a real broker, real routers if they are asked for, real
//! sockets, a temporary folder.
//!
//! ```no_run
//! let mut cluster = keylane_bench::EmbeddedCluster::start()?;
//! println!("connect to {}", cluster.address());
//! cluster.restart()?; // the same address and folder
//! cluster.stop()?;
//! # Ok::<(), keylane_bench::EmbeddedError>(())
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use keylane_broker::config::BrokerConfig;
use keylane_broker::{Broker, StartError, StopError};
use keylane_protocol::cluster::Endpoint;
use keylane_router::Router;
use keylane_router::config::RouterConfig;
use tempfile::TempDir;

/// The partitions of topics that are created by being used.
const DEFAULT_PARTITIONS: i32 = 6;

/// How long a router may take to find its cluster.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why an embedded cluster could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// There is no temporary folder.
    #[error("cannot create a temporary folder")]
    Folder(#[from] io::Error),
    /// A broker did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A broker did not end well.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// A router did not start.
    #[error(transparent)]
    StartRouter(#[from] keylane_router::StartError),
    /// A router did not find the broker.
    #[error("the router has not found its cluster")]
    RouterIsLost,
}

/// One broker with a temporary folder, which goes away with the cluster.
///
/// Topics are created by being used, with six partitions. Dropping the cluster ends it as a crash would.
#[derive(Debug)]
pub struct EmbeddedCluster {
    broker: Option<Broker>,
    config: BrokerConfig,
    address: SocketAddr,
    routers: Vec<EmbeddedRouter>,
    folder: TempDir,
}

/// A router and where it is found, also while it is down.
#[derive(Debug)]
struct EmbeddedRouter {
    router: Option<Router>,
    address: SocketAddr,
}

impl EmbeddedCluster {
    /// Starts a cluster on a free port. Blocks until it serves.
    ///
    /// # Errors
    /// When there is no temporary folder or the broker does not start.
    pub fn start() -> Result<Self, EmbeddedError> {
        Self::start_with(|_| {})
    }

    /// Starts a cluster whose configuration `adjust` may change first.
    ///
    /// # Errors
    /// When there is no temporary folder or the broker does not start.
    pub fn start_with(adjust: impl FnOnce(&mut BrokerConfig)) -> Result<Self, EmbeddedError> {
        let folder = tempfile::Builder::new().prefix("keylane-").tempdir()?;
        let mut config = BrokerConfig::new(folder.path());
        config.listen.set_port(0);
        config.auto_create_topics = true;
        config.default_partitions = DEFAULT_PARTITIONS;
        adjust(&mut config);
        let broker = Broker::start(config.clone())?;
        let address = broker.address();
        // A restart must be found where the clients look.
        config.listen = address;
        config.internal_listen = broker.internal_address();
        Ok(Self {
            broker: Some(broker),
            config,
            address,
            routers: Vec::new(),
            folder,
        })
    }

    /// Starts a cluster with so many routers in front of it.
    ///
    /// # Errors
    /// When there is no temporary folder, or the broker or a router does not start.
    pub fn start_with_routers(count: usize) -> Result<Self, EmbeddedError> {
        let mut cluster = Self::start()?;
        for _ in 0..count {
            let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
            let router = cluster.start_router(listen)?;
            cluster.routers.push(EmbeddedRouter {
                address: router.address(),
                router: Some(router),
            });
        }
        Ok(cluster)
    }

    /// Returns where clients reach a router, as `host:port`. It stays the same through restarts.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn router_address(&self, index: usize) -> String {
        self.routers[index].address.to_string()
    }

    /// Ends a router as a crash of its process would.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn crash_router(&mut self, index: usize) {
        drop(self.routers[index].router.take());
    }

    /// Starts a router again where it was.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn restart_router(&mut self, index: usize) -> Result<(), EmbeddedError> {
        self.crash_router(index);
        let router = self.start_router(self.routers[index].address)?;
        self.routers[index].router = Some(router);
        Ok(())
    }

    /// Blocks until the router serves.
    fn start_router(&self, listen: SocketAddr) -> Result<Router, EmbeddedError> {
        let internal = self.config.internal_listen;
        let host = internal.ip().to_string().into();
        let broker = Endpoint::new(&host, i32::from(internal.port()));
        let mut config = RouterConfig::new(vec![broker.expect("a broker's own address")]);
        config.listen = listen;
        config.runtimes = 1;
        let router = Router::start(config)?;
        let mut serving = router.serving();
        let wait = move || -> io::Result<bool> {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build()?;
            let begun = async { tokio::time::timeout(PATIENCE, serving.begun()).await };
            Ok(runtime.block_on(begun).unwrap_or(false))
        };
        // The caller may be on a runtime, which cannot wait for another on its own thread.
        let is_serving = std::thread::spawn(wait).join().unwrap_or(Ok(false))?;
        if is_serving {
            Ok(router)
        } else {
            Err(EmbeddedError::RouterIsLost)
        }
    }

    /// Returns where clients connect, as `host:port`. It stays the same through restarts.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the broker's data folder.
    #[must_use]
    pub fn data_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the broker cleanly, unless it is down, and starts it again.
    ///
    /// # Errors
    /// When it does not end well or does not start.
    pub fn restart(&mut self) -> Result<(), EmbeddedError> {
        if let Some(broker) = self.broker.take() {
            broker.stop()?;
        }
        self.broker = Some(Broker::start(self.config.clone())?);
        Ok(())
    }

    /// Ends the broker as a crash of its process would; [`EmbeddedCluster::restart`] starts it again.
    pub fn crash(&mut self) {
        drop(self.broker.take());
    }

    /// Stops the cluster cleanly and removes its folder.
    ///
    /// # Errors
    /// When the broker does not end well.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        for router in self.routers.drain(..).filter_map(|router| router.router) {
            router.stop();
        }
        if let Some(broker) = self.broker.take() {
            broker.stop()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keylane_client::{Client, Producer, ProducerRecord};

    use super::*;

    async fn produce(producer: &Producer, value: &str) -> i64 {
        let record = ProducerRecord::to("orders").partition(2).value(value);
        let receipt = producer.send(record).await.expect("taken");
        let place = receipt.await.expect("acknowledged");
        place.offset.expect("told").0
    }

    #[tokio::test]
    async fn a_restarted_cluster_keeps_its_address_and_records() {
        let mut cluster = EmbeddedCluster::start().expect("starts");
        let folder = cluster.data_folder().to_owned();
        let client = Client::connect(cluster.address()).await.expect("answers");
        let producer = client.producer().build().await.expect("has an id");
        assert_eq!(produce(&producer, "a").await, 0);
        cluster.restart().expect("starts again");
        assert_eq!(produce(&producer, "b").await, 1);
        cluster.crash();
        cluster.restart().expect("recovers");
        assert_eq!(produce(&producer, "c").await, 2);
        producer.close().await.expect("everything is written");
        cluster.stop().expect("ends well");
        assert!(!folder.exists());
    }
}
