//! Brokers and routers in this process, and a client that says exactly what it is told to.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use keylane_broker::Broker;
use keylane_broker::config::{BrokerConfig, VoterAddress};
use keylane_protocol::cluster::Endpoint;
use keylane_protocol::frame::{decode_response, request_frame};
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::Request;
use keylane_protocol::transport::free_ports;
use keylane_router::Router;
use keylane_router::config::RouterConfig;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker that can be stopped and started at the same addresses.
pub(crate) struct TestBroker {
    config: BrokerConfig,
    broker: Option<Broker>,
    _folder: tempfile::TempDir,
}

impl TestBroker {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = BrokerConfig::new(folder.path());
        config.listen.set_port(0);
        config.runtimes = 1;
        change(&mut config);
        let broker = Broker::start(config.clone()).expect("a broker");
        config.listen = broker.address();
        config.internal_listen = broker.internal_address();
        Self {
            config,
            broker: Some(broker),
            _folder: folder,
        }
    }

    pub(crate) fn internal(&self) -> Endpoint {
        let address = self.config.internal_listen;
        let host = address.ip().to_string().into();
        Endpoint::new(&host, i32::from(address.port())).expect("an address")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.config.listen
    }

    pub(crate) fn stop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop().expect("it ends well");
        }
    }

    pub(crate) fn start_again(&mut self) {
        self.stop();
        self.broker = Some(Broker::start(self.config.clone()).expect("a broker"));
    }
}

/// Returns the internal address of a broker.
pub(crate) fn internal_of(broker: &Broker) -> Endpoint {
    let address = broker.internal_address();
    let host = address.ip().to_string().into();
    Endpoint::new(&host, i32::from(address.port())).expect("an address")
}

/// Starts voters of one cluster with the ids from 1 on, whose folders go with them.
pub(crate) fn voters(count: usize) -> Vec<(Broker, tempfile::TempDir)> {
    let voters: Vec<VoterAddress> = (1..)
        .zip(free_ports(count))
        .map(|(id, port)| VoterAddress {
            id: BrokerId(id),
            host: "127.0.0.1".to_owned(),
            port,
        })
        .collect();
    // They wait for one another.
    let starting: Vec<_> = voters
        .iter()
        .map(|voter| {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = BrokerConfig::new(folder.path());
            config.id = voter.id;
            config.voters.clone_from(&voters);
            config.bootstrap = voter.id == BrokerId(1);
            config.session = Duration::from_secs(1);
            config.listen.set_port(0);
            config.internal_listen.set_port(voter.port);
            config.runtimes = 1;
            thread::spawn(move || (Broker::start(config).expect("a broker"), folder))
        })
        .collect();
    let started = starting.into_iter();
    started
        .map(|thread| thread.join().expect("no panic"))
        .collect()
}

/// Starts a router on a free port, and waits until it serves.
pub(crate) fn router(broker: &TestBroker, change: impl FnOnce(&mut RouterConfig)) -> Router {
    router_of(broker.internal(), change)
}

/// Starts a router that finds its cluster by one broker, and waits until it serves.
pub(crate) fn router_of(broker: Endpoint, change: impl FnOnce(&mut RouterConfig)) -> Router {
    let mut config = RouterConfig::new(vec![broker]);
    config.listen.set_port(0);
    config.runtimes = 2;
    change(&mut config);
    let router = Router::start(config).expect("a router");
    let mut serving = router.serving();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let begun = async { tokio::time::timeout(PATIENCE, serving.begun()).await };
    assert_eq!(runtime.block_on(begun), Ok(true), "it finds its cluster");
    router
}

/// A connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    last: i32,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self { stream, last: 0 }
    }

    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.last += 1;
        let segments =
            request_frame(request, version, self.last, Some("test")).expect("it can be encoded");
        self.stream.write_all(&segments.concat()).expect("sent");
    }

    /// Returns the correlation id of the request that was sent last.
    pub(crate) fn last(&self) -> i32 {
        self.last
    }

    /// Sends bytes in a frame.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        self.stream
            .write_all(&[&length, bytes].concat())
            .expect("sent");
    }

    /// Reads a whole frame; `None` if the router has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let length = usize::try_from(i32::from_be_bytes(length)).expect("a length");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).expect("a whole frame");
        Some(frame.into())
    }

    pub(crate) fn answer<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let frame = self.receive().expect("an answer");
        let (header, response) = decode_response(frame, version).expect("such an answer");
        (header.correlation_id, response)
    }

    pub(crate) fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        let (correlation_id, response) = self.answer::<R>(version);
        assert_eq!(correlation_id, self.last);
        response
    }
}
