//! One client connection: requests are read in order, handed to the cores, and answered in the same order.
//!
//! One task does it all, so that nothing is shared: it waits for the client, for what links tell, and for deadlines, and
//! then does what is due. A Produce is begun when it is read; everything else when it is the first in the queue, so that
//! it sees what those before it did. A RoutedProduce is begun when it is read, too, and its answer leaves when it is
//! known: many producers share a connection, and none waits for another. When the client goes, its lanes are closed. Read
//! [`begin`] and [`lanes`] next.

mod answered;
mod asking;
mod begin;
mod changes;
mod configs;
mod fetch;
mod lanes;
mod metadata;
mod produce;
mod producer_id;
mod queue;
mod run;
mod socket;

use std::net::SocketAddr;
use std::rc::Rc;

use bytestring::ByteString;
use keylane_protocol::cluster::Endpoint;
use keylane_protocol::header::UnsupportedRequest;
use keylane_protocol::link::lane::LaneOpen;
use keylane_protocol::primitive::DecodeError;
use keylane_protocol::transport::ReadFrameError;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::{debug, error};

use self::fetch::Fetches;
use self::lanes::Lanes;
use self::queue::Queue;
use self::socket::Socket;
use crate::advertise::{Advertised, ClientIdentity};
use crate::budget::ConnectionBudget;
use crate::config::RouterConfig;
use crate::control::ForwardedFor;
use crate::holding::Holding;
use crate::limits::REQUEST_ITEMS_MAX;
use crate::mailbox::Mailbox;
use crate::meters::Meters;
use crate::plan::TooManyItems;
use crate::producing::{ProduceEffect, Producing, RequestId};
use crate::routing::Routing;
use crate::runtime::Runtime;
use keylane_protocol::meters::Share;

/// Why a connection ended that the client did not close.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Read(#[from] ReadFrameError),
    #[error("the bytes are not a request")]
    Undecodable(#[from] DecodeError),
    #[error(transparent)]
    Unsupported(#[from] UnsupportedRequest),
    #[error(
        "the request names {count} topics, partitions or resources, at most {REQUEST_ITEMS_MAX} are served"
    )]
    TooManyItems { count: usize },
    #[error("a request did not arrive whole in time")]
    ReceiveTimeout,
    #[error("nothing was asked or answered for too long")]
    Idle,
    #[error("the client takes no bytes of its answers")]
    SendTimeout,
    #[error("an answer could not be sent")]
    Write(#[from] std::io::Error),
    #[error("a Produce that asked for no answer failed: {reason}")]
    UnacknowledgedProduce { reason: String },
    #[error("an answer could not be encoded")]
    Encode(#[from] keylane_protocol::primitive::EncodeError),
}

impl From<TooManyItems> for ConnectionError {
    fn from(refused: TooManyItems) -> Self {
        let count = refused.count;
        Self::TooManyItems { count }
    }
}

/// Who the client is, and how it came.
#[derive(Clone, Debug)]
struct Client {
    peer: SocketAddr,
    /// The address of this router that it has dialled.
    local: Endpoint,
    /// How it called itself last.
    client_id: Option<ByteString>,
}

/// What is begun at the head of the queue and not answered.
#[derive(Debug)]
enum Current {
    Nothing,
    Fetch,
    Asking(Box<asking::Underway>),
    Metadata(Box<metadata::Underway>),
    ProducerId(Box<producer_id::Underway>),
    Configs(Box<configs::Underway>),
    Change(Box<changes::Underway>),
}

/// A client's connection.
struct Session {
    id: u64,
    runtime: Rc<Runtime>,
    mailbox: Rc<Mailbox>,
    client: Client,
    lanes: Lanes,
    queue: Queue,
    budget: Rc<ConnectionBudget>,
    levels: Levels,
    producing: Producing,
    /// Empty, but not without room.
    produce_effects: Vec<ProduceEffect>,
    fetches: Fetches,
    current: Current,
    /// Why the connection ends once what came before is answered.
    refused: Option<ConnectionError>,
    /// The request after which the cluster is another one: nothing is read before it is answered.
    change: Option<RequestId>,
}

/// What is shown of a session beside all others.
struct Levels {
    connections: Share,
    queued: Share,
    stalled: Share,
    routed_sessions: Share,
}

impl Levels {
    fn new(meters: &Meters) -> Self {
        meters.accepted.increment(1);
        let mut levels = Self {
            connections: Share::of(&meters.connections),
            queued: Share::of(&meters.queued),
            stalled: Share::of(&meters.stalled),
            routed_sessions: Share::of(&meters.routed_sessions),
        };
        levels.connections.set(1);
        levels
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, id: u64, runtime: Rc<Runtime>) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let mut session = Session::new(id, (peer, local), &runtime);
    runtime.enter(id, &session.mailbox);
    let budget = Rc::clone(&session.budget);
    let mut socket = Socket::new(stream, &runtime.shared, budget);
    let served = session.run(&mut socket).await;
    drop(socket);
    if let Err(error) = served {
        if let ConnectionError::Encode(error) = &error {
            error!(connection = id, %peer, %error, "an answer could not be encoded");
        }
        debug!(connection = id, %peer, error = &error as &dyn std::error::Error, "connection closed");
    }
    session.wind_up().await;
    runtime.leave(id);
}

impl Session {
    fn new(id: u64, (peer, local): (SocketAddr, SocketAddr), runtime: &Rc<Runtime>) -> Self {
        let mailbox = Rc::new(Mailbox::default());
        let holding = Holding::new(runtime.shared.config.hold);
        let local = Endpoint {
            host: local.ip().to_canonical().to_string().into(),
            port: local.port(),
        };
        let open = LaneOpen {
            client_host: peer.ip().to_canonical().to_string().into(),
            listener: local.to_string().into(),
            ..LaneOpen::default()
        };
        Self {
            id,
            runtime: Rc::clone(runtime),
            lanes: Lanes::new(Rc::clone(&mailbox), open),
            mailbox,
            client: Client {
                peer,
                local,
                client_id: None,
            },
            queue: Queue::default(),
            budget: Rc::new(runtime.shared.requests.for_connection()),
            levels: Levels::new(&runtime.shared.meters),
            producing: Producing::new(holding),
            produce_effects: Vec::new(),
            fetches: Fetches::new(holding),
            current: Current::Nothing,
            refused: None,
            change: None,
        }
    }

    fn config(&self) -> &RouterConfig {
        &self.runtime.shared.config
    }

    fn holding(&self) -> Holding {
        Holding::new(self.config().hold)
    }

    fn routing(&self) -> Routing {
        self.runtime.routing.borrow().clone()
    }

    /// Returns what the client is told of addresses.
    fn advertised(&self, routing: &Routing) -> Advertised {
        let advertise = match &self.config().advertise {
            Some(endpoint) => crate::advertise::Advertise::At(endpoint.clone()),
            None => crate::advertise::Advertise::Dialled,
        };
        let client = ClientIdentity {
            client_id: self.client.client_id.as_deref(),
            address: self.client.peer.ip(),
        };
        Advertised::to_client(&advertise, routing.image(), client, &self.client.local)
    }

    fn forwarded_for(&self) -> ForwardedFor {
        ForwardedFor {
            client_id: self.client.client_id.clone(),
            client_host: self.client.peer.ip().to_canonical().to_string().into(),
        }
    }
}

/// Returns the time for cores.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
