//! `keylane dev`: a whole Keylane in one process, for development.
//!
//! ```text
//! client ─▶ router ─▶ broker 1 (keeps the metadata) · broker 2 · broker 3      <data>/broker-1, broker-2, broker-3
//! ```
//! Only the router listens where it is told to. One broker votes, so that the others need not know of one another
//! before they start, and a folder may be started again on other ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use keylane_broker::config::{BrokerConfig, VoterAddress};
use keylane_broker::{Broker, StartError};
use keylane_protocol::cluster::Endpoint;
use keylane_protocol::identifiers::BrokerId;
use keylane_router::Router;
use keylane_router::config::RouterConfig;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::admin::{Admin, Node};
use crate::arguments::ServerArguments;
use crate::cluster::block_on;
use crate::failure::Failure;
use crate::open_files;
use crate::output::print;
use crate::server::log_settings;
use crate::settings::{Dev, Role};
use crate::stop::StopListener;

const BROKERS: i32 = 3;

/// The brokers and the router.
const NODES: usize = 4;

/// The files that lie in the folder of a broker, and in none of a cluster.
const FILES_OF_A_BROKER: [&str; 2] = ["manifest.0", "manifest.1"];

/// Runs a cluster until it is told to stop.
///
/// # Errors
/// When the settings are wrong, a part of it cannot start, or one cannot go on.
pub(crate) fn run(arguments: &ServerArguments<Dev>) -> Result<(), Failure> {
    let temporary = temporary_folder()?;
    let mut defaults = Dev::defaults();
    temporary.path().clone_into(&mut defaults.data_folder);
    let mut config = arguments.configure(defaults)?;
    // Another folder was named, in one of the places where settings come from.
    let _kept = (temporary.path() == config.data_folder).then_some(temporary);
    refuse_folder_of_a_broker(&config.data_folder)?;
    block_on(async {
        let mut stop = StopListener::new(arguments.until_stdin_closes)?;
        open_files::raise_limit(&mut config.clients.connections_max);
        let admin = Admin::start(config.admin_listen, NODES)?;
        let starting = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Cluster::start(&config))
        };
        // It waits for nobody but itself, so that a signal can wait for it.
        let cluster = starting
            .await
            .map_err(|error| Failure::because("cannot start the cluster", &error))??;
        for broker in &cluster.brokers {
            admin.show(Node::Broker(broker.probe()));
        }
        admin.show(Node::Router(cluster.router.probe()));
        cluster.serve((&config, &admin), &mut stop).await
    })
}

fn temporary_folder() -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("keylane-dev-").tempdir();
    folder.map_err(|error| {
        Failure::because("cannot create a temporary folder", &error)
            .hint("give a folder with --data, or another place for temporary files with TMPDIR")
    })
}

fn refuse_folder_of_a_broker(folder: &Path) -> Result<(), Failure> {
    let mut files = FILES_OF_A_BROKER.iter().map(|name| folder.join(name));
    if !files.any(|file| file.exists()) {
        return Ok(());
    }
    let folder = folder.display();
    let message = format!("{folder} is the data folder of a single broker");
    Err(Failure::new(message).hint(format!(
        "start it with `keylane broker --data {folder}`, or give `keylane dev` another folder"
    )))
}

/// Three brokers and a router, which run.
struct Cluster {
    router: Router,
    /// In the order of their ids.
    brokers: Vec<Broker>,
}

impl Cluster {
    /// Starts the broker that keeps the metadata, then the others, which look for it, then the router.
    fn start(config: &BrokerConfig) -> Result<Self, Failure> {
        let first = start_first(config).map_err(|error| broker_failed(1, &error))?;
        let metadata = first.internal_address();
        let others = std::thread::scope(|scope| {
            let starting: Vec<_> = (2..=BROKERS)
                .map(|id| scope.spawn(move || Broker::start(broker(config, id, Some(metadata)))))
                .collect();
            let started = starting.into_iter().map(|thread| thread.join());
            started
                .map(|started| started.expect("a panic ends the process"))
                .collect::<Vec<_>>()
        });
        let mut brokers = vec![first];
        for (id, started) in (2..).zip(others) {
            brokers.push(started.map_err(|error| broker_failed(id, &error))?);
        }
        let router = Router::start(router(config, &brokers))
            .map_err(|error| Failure::because("cannot start the router", &error))?;
        Ok(Self { router, brokers })
    }

    /// Waits for a reason to stop, and stops; a second signal does not wait for requests under way.
    async fn serve(
        self,
        (config, admin): (&BrokerConfig, &Admin),
        stop: &mut StopListener,
    ) -> Result<(), Failure> {
        let mut failures = JoinSet::new();
        for broker in &self.brokers {
            let watch = broker.failure_watch();
            failures.spawn_blocking(move || watch.wait());
        }
        let mut serving = self.router.serving();
        let served = async {
            if serving.begun().await {
                self.announce(config, admin)?;
            }
            Ok(stop.next().await)
        };
        let reason = tokio::select! {
            reason = served => reason?,
            failed = failures.join_next() => {
                // Without a failure somebody else stopped it, and nobody else can.
                let failed = failed.and_then(Result::ok).flatten();
                let failed = failed.map_or(Failure::new("a broker ended"), |failed| {
                    Failure::from_error(&failed)
                });
                return Err(failed.hint(
                    "what was acknowledged is on disk: correct the cause and start it again",
                ));
            }
        };
        tracing::info!(%reason, "stops: answers what it has read, and writes everything down");
        let stopping = tokio::task::spawn_blocking(move || self.stop());
        tokio::select! {
            stopped = stopping => {
                stopped.map_err(|error| Failure::because("the stop was not clean", &error))??;
                tracing::info!("stopped");
                Ok(())
            }
            again = stop.next_signal() => {
                tracing::warn!(reason = %again, "ends at once");
                // The threads of the brokers would be waited for by any other way out.
                std::process::exit(1)
            }
        }
    }

    /// Says in the log what an operator must know, then on stdout that clients may come.
    fn announce(&self, config: &BrokerConfig, admin: &Admin) -> Result<(), Failure> {
        let brokers = self.brokers.iter().zip(1..).map(|(broker, id)| {
            json!({
                "id": id,
                "kafka": broker.address().to_string(),
                "internal": broker.internal_address().to_string(),
            })
        });
        let ready = json!({
            "ready": true,
            "role": "dev",
            "kafka": self.router.address().to_string(),
            "admin": admin.address(),
            "brokers": brokers.collect::<Vec<_>>(),
            "data": config.data_folder.to_string_lossy(),
            "durability": config.topic_defaults.durability.to_string(),
        });
        log_settings(config);
        print(ready.to_string())
    }

    /// Stops what depends on others first: the broker that keeps the metadata goes last.
    fn stop(self) -> Result<(), Failure> {
        self.router.stop();
        let stopped: Vec<_> = self.brokers.into_iter().rev().map(Broker::stop).collect();
        match stopped.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(error) => Err(Failure::because("the stop was not clean", &error)),
        }
    }
}

/// Starts the broker that keeps the metadata. Its internal listener is one above the router's port if that is free, so
/// that `keylane cluster status` finds it unasked.
fn start_first(config: &BrokerConfig) -> Result<Broker, StartError> {
    let mut first = broker(config, 1, None);
    let port = config.listen.port();
    if port != 0 {
        first.internal_listen.set_port(port.wrapping_add(1));
        match Broker::start(first.clone()) {
            Err(StartError::PortInUse { .. }) => first.internal_listen.set_port(0),
            started => return started,
        }
    }
    Broker::start(first)
}

fn broker_failed(id: i32, error: &StartError) -> Failure {
    Failure::because(format!("cannot start broker {id}"), error)
}

/// Returns the configuration of one broker; `metadata` is where the one is found that keeps the metadata.
fn broker(config: &BrokerConfig, id: i32, metadata: Option<SocketAddr>) -> BrokerConfig {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let voter = metadata.map(|address| VoterAddress {
        id: BrokerId(1),
        host: address.ip().to_string(),
        port: address.port(),
    });
    BrokerConfig {
        id: BrokerId(id),
        data_folder: config.data_folder.join(format!("broker-{id}")),
        listen: anywhere,
        internal_listen: anywhere,
        voters: voter.into_iter().collect(),
        // Nobody reaches it from elsewhere; the process has one admin port for all.
        insecure: false,
        admin_listen: None,
        advertise: None,
        ..config.clone()
    }
}

fn router(config: &BrokerConfig, brokers: &[Broker]) -> RouterConfig {
    let internal = brokers.iter().map(|broker| {
        let address = broker.internal_address();
        Endpoint {
            host: address.ip().to_string().into(),
            port: address.port(),
        }
    });
    let mut router = RouterConfig::new(internal.collect());
    router.listen = config.listen;
    router.insecure = config.insecure;
    router.admin_listen = None;
    router.runtimes = config.runtimes;
    router.advertise.clone_from(&config.advertise);
    router.clients.clone_from(&config.clients);
    router
}
