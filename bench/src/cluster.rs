//! The servers that a scenario is measured against: brokers and routers as child processes.
//!
//! ```text
//! broker-1 (keeps the metadata) ◀─ broker-2, broker-3, … ◀─ router-1, router-2, …      each a process of its own
//! ```
//! One broker votes, however many there are: then nobody needs a port that must be chosen before it is bound.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Serialize;

use crate::options::Through;
use crate::process::{ProcessError, Server};

/// How many connections from one address servers take by default.
const CONNECTIONS_ANYWAY: u64 = 5_000;

/// How many servers there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Brokers, at least one.
    pub brokers: u32,
    /// Routers; 0 if brokers are dialled.
    pub routers: u32,
}

impl Topology {
    /// One broker that is dialled.
    pub const BROKER: Self = Self {
        brokers: 1,
        routers: 0,
    };

    /// One broker behind a router.
    pub const ROUTED_BROKER: Self = Self {
        brokers: 1,
        routers: 1,
    };

    /// Three brokers behind a router.
    pub const CLUSTER: Self = Self {
        brokers: 3,
        routers: 1,
    };

    /// Returns what is dialled.
    #[must_use]
    pub fn through(self) -> Through {
        match self.routers {
            0 => Through::Broker,
            _ => Through::Router,
        }
    }
}

/// Shows `3 brokers behind a router`.
impl fmt::Display for Topology {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.brokers {
            1 => formatter.write_str("one broker")?,
            brokers => write!(formatter, "{brokers} brokers")?,
        }
        match self.routers {
            0 => Ok(()),
            1 => formatter.write_str(" behind a router"),
            routers => write!(formatter, " behind {routers} routers"),
        }
    }
}

/// A process that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What reports call it.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Where it tells its metrics, if it does.
    pub admin: Option<SocketAddr>,
}

impl Process {
    /// Returns what is measured of a server.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self {
            name: server.name().to_owned(),
            id: server.id(),
            admin: server.admin_address(),
        }
    }
}

/// A running cluster; what is not stopped is killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    brokers: Vec<Server>,
    routers: Vec<Server>,
    folder: PathBuf,
}

impl Cluster {
    /// Starts a cluster whose data lie below `folder`, each server of which takes so many connections, and waits until it
    /// serves.
    ///
    /// # Errors
    /// When a server does not start.
    ///
    /// # Panics
    /// Never: the threads that start servers do not.
    pub fn start(
        program: &Path,
        folder: &Path,
        topology: Topology,
        connections: u64,
    ) -> Result<Self, ProcessError> {
        let start = |id, metadata| start_broker(program, folder, (id, connections), metadata);
        let first = start(1, None)?;
        let metadata = Some(first.internal_address());
        let others = thread::scope(|scope| {
            let starting: Vec<_> = (2..=topology.brokers)
                .map(|id| scope.spawn(move || start(id, metadata)))
                .collect();
            let started = starting.into_iter().map(|thread| thread.join());
            started
                .map(|started| started.expect("no thread panics"))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let mut cluster = Self {
            brokers: vec![first],
            routers: Vec::new(),
            folder: folder.to_owned(),
        };
        cluster.brokers.extend(others);
        for number in 1..=topology.routers {
            let router = cluster.start_router(program, (number, connections))?;
            cluster.routers.push(router);
        }
        Ok(cluster)
    }

    fn start_router(
        &self,
        program: &Path,
        (number, connections): (u32, u64),
    ) -> Result<Server, ProcessError> {
        let brokers: Vec<&str> = self.brokers.iter().map(Server::internal_address).collect();
        let brokers = brokers.join(",");
        let fixed = [
            "router",
            "--listen",
            "127.0.0.1:0",
            "--until-stdin-closes",
            "--brokers",
            &brokers,
        ];
        let arguments = fixed.map(OsString::from);
        let arguments = arguments.into_iter().chain(room_for(connections));
        let name = format!("router-{number}");
        Server::start(&name, program, arguments, &self.folder)
    }

    /// Returns where clients connect: every router, or the first broker, which names the others.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let dialled = match self.routers.is_empty() {
            true => &self.brokers[..1],
            false => &self.routers[..],
        };
        dialled
            .iter()
            .map(|server| server.address().to_owned())
            .collect()
    }

    /// Returns all processes.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let servers = self.routers.iter().chain(&self.brokers);
        servers.map(Process::of).collect()
    }

    /// Stops everything, what others depend on last.
    ///
    /// # Errors
    /// When a server does not stop cleanly.
    pub fn stop(self) -> Result<(), ProcessError> {
        let servers = self
            .routers
            .into_iter()
            .chain(self.brokers.into_iter().rev());
        for server in servers {
            server.stop()?;
        }
        Ok(())
    }
}

fn start_broker(
    program: &Path,
    folder: &Path,
    (id, connections): (u32, u64),
    metadata: Option<&str>,
) -> Result<Server, ProcessError> {
    let (name, id) = (format!("broker-{id}"), id.to_string());
    let mut arguments: Vec<OsString> = [
        "broker",
        "--id",
        &id,
        "--port",
        "0",
        "--until-stdin-closes",
        "--data",
    ]
    .map(OsString::from)
    .into();
    arguments.push(folder.join(&name).into());
    arguments.extend(room_for(connections));
    if let Some(metadata) = metadata {
        arguments.extend(["--voters".into(), format!("1@{metadata}").into()]);
    }
    Server::start(&name, program, arguments, folder)
}

/// Returns the flags with which a server takes at least so many connections, all from here; none if it does anyway.
fn room_for(connections: u64) -> impl Iterator<Item = OsString> {
    let flags = ["--connections-max", "--connections-per-address-max"];
    let needs_room = connections > CONNECTIONS_ANYWAY;
    let flags = flags.into_iter().filter(move |_| needs_room);
    flags.flat_map(move |flag| [flag.into(), connections.to_string().into()])
}
