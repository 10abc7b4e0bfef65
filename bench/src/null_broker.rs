//! The null broker: the least a broker can do for the same load generator, hence the yardstick of every ratio.
//!
//! ```text
//! epoll ─► read all complete frames of all connections ─► CRC of each batch ─► one pwritev ─► one fdatasync ─► answers
//! ```
//! One thread, no runtime, no queue. It keeps one file that begins again when it is full, no index on disk, and
//! recovers nothing. It trusts its client as far as speed demands, but bad bytes only end their connection.

mod answers;
mod connection;
mod group;
mod partitions;
mod produce;
mod serve;
mod store;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::serve::Server;
use self::store::Store;

/// What the null broker does before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NullMode {
    /// Checks, writes and syncs.
    Durable,
    /// Checks and writes.
    PageCache,
    /// Nothing: what the load generator reaches against it is the generator's own ceiling.
    Sink,
}

/// How a null broker is started.
///
/// They travel as one JSON text from the bench to the process it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NullBrokerArguments {
    /// What it does before it answers.
    pub mode: NullMode,
    /// The folder of its file, which must exist.
    pub folder: PathBuf,
    /// How many partitions every topic has.
    pub partitions: i32,
    /// The size of its file, allocated at the start; when it is full, writing begins again at its front.
    pub capacity_bytes: u64,
    /// The port on the loopback interface; 0 takes a free one.
    pub port: u16,
    /// The port that clients are told: that of a relay before it; its own if there is none.
    pub advertised_port: Option<u16>,
}

/// The line a null broker prints when it is ready.
#[derive(Debug, Serialize)]
pub(crate) struct NullReady {
    pub(crate) kafka: SocketAddr,
}

/// What a null broker did, printed when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NullStatistics {
    /// Produce requests.
    pub requests: u64,
    /// Batches written.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Calls of pwritev.
    pub writes: u64,
    /// Calls of fdatasync.
    pub syncs: u64,
}

/// Runs a null broker until standard input closes: `keylane bench null-broker JSON`, where the text is a
/// [`NullBrokerArguments`]. Prints its address when it is ready and its statistics at the end, one line of JSON each.
///
/// # Errors
/// When the text is not understood, it cannot listen, or its file cannot be made, written or synced.
pub fn null_broker_main(arguments: &str) -> io::Result<()> {
    let arguments: NullBrokerArguments = serde_json::from_str(arguments)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))?;
    let address = listener.local_addr()?;
    let store = match arguments.mode {
        NullMode::Sink => None,
        mode => Some(Store::create(
            &arguments.folder,
            arguments.capacity_bytes,
            mode == NullMode::Durable,
        )?),
    };
    let mut server = Server::new(listener, store, arguments.partitions)?;
    if let Some(port) = arguments.advertised_port {
        server.advertise(port);
    }
    server.stop_with(&io::stdin())?;
    print_line(&NullReady { kafka: address })?;
    let statistics = server.run()?;
    print_line(&statistics)
}

/// Prints a line of JSON on standard output.
pub(crate) fn print_line(line: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, line)?;
    output.write_all(b"\n")?;
    output.flush()
}

/// Starts a null broker with three partitions and a small file on a thread that ends with the test process.
#[cfg(test)]
pub(crate) fn start_for_tests(mode: NullMode, folder: &std::path::Path) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let store = Store::create(folder, 16 << 20, mode == NullMode::Durable).expect("a file");
    let store = (mode != NullMode::Sink).then_some(store);
    std::thread::spawn(move || {
        let mut server = Server::new(listener, store, 3).expect("an epoll");
        server.run()
    });
    address
}

#[cfg(test)]
mod tests;
