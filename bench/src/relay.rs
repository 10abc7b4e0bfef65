//! A relay between client and broker that does one wrong to one record batch, so that checks can be seen to fail.
//!
//! ```text
//! client ⇄ Relay ⇄ broker      Produce: one batch is removed, doubled, swapped with the next, or bent in one byte
//!                              Metadata, DescribeCluster: every broker is said to be at the relay's address
//! ```
//! Batches lose their producer's id on the way, so that the broker cannot notice; checksums are made right again. What
//! lies in the log afterwards is sound for everybody but those who know what was sent. Read next: `relay/core.rs`.

mod core;
mod rewrite;
mod wrong;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use keylane_protocol::limits::FRAME_SIZE_BYTES_MAX;
use keylane_protocol::transport::{FrameReader, FrameWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use self::core::{Effect, RelayCore};
use self::wrong::WrongState;
pub use self::wrong::{Wrong, WrongDone, WrongPlan};
use crate::load::runtime;

/// How long a batch is held back for the one it is swapped with.
const HOLD: Duration = Duration::from_secs(2);

/// A running relay. Dropping it closes all of its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<WrongState>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay on a free port of the loopback interface, before the broker at `broker`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(broker: &str, plan: WrongPlan) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(WrongState::new(plan)));
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime()?;
        let (broker, shared) = (broker.to_owned(), Arc::clone(&state));
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    // Nothing but a lack of file descriptors ends it; tests that need it then fail by themselves.
                    _ = accept(listener, broker, address, shared) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new()
            .name("relay".to_owned())
            .spawn(serve)?;
        Ok(Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns where clients connect.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns what was done wrong, once it was.
    #[must_use]
    pub fn done(&self) -> Option<WrongDone> {
        lock(&self.state).done().cloned()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<WrongState>) -> MutexGuard<'_, WrongState> {
    state
        .lock()
        .expect("no code panics while it holds this lock")
}

async fn accept(
    listener: std::net::TcpListener,
    broker: String,
    address: SocketAddr,
    state: Arc<Mutex<WrongState>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let (broker, state) = (broker.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            // A broken connection is the client's to notice.
            let _ = relay(client, &broker, address, &state).await;
        });
    }
}

async fn relay(
    mut client: TcpStream,
    broker: &str,
    address: SocketAddr,
    state: &Mutex<WrongState>,
) -> io::Result<()> {
    let mut broker = timeout(HOLD, TcpStream::connect(broker)).await??;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (client_read, client_write) = client.split();
    let (broker_read, broker_write) = broker.split();
    let mut from_client = FrameReader::new(client_read, FRAME_SIZE_BYTES_MAX);
    let mut from_broker = FrameReader::new(broker_read, FRAME_SIZE_BYTES_MAX);
    let mut to_client = FrameWriter::new(client_write);
    let mut to_broker = FrameWriter::new(broker_write);
    let mut core = RelayCore::new(address);
    let mut hold_ends: Option<Instant> = None;
    loop {
        let mut effects = Vec::new();
        tokio::select! {
            frame = from_client.next_frame() => match frame {
                Ok(Some(frame)) => core.on_request(&frame, &mut lock(state), &mut effects),
                _ => return Ok(()),
            },
            frame = from_broker.next_frame() => match frame {
                Ok(Some(frame)) => core.on_response(&frame, &mut effects),
                _ => return Ok(()),
            },
            () = sleep_until(hold_ends.unwrap_or_else(Instant::now)), if hold_ends.is_some() => {
                core.on_hold_over(&mut effects);
            }
        }
        hold_ends = core
            .is_holding()
            .then(|| hold_ends.unwrap_or_else(|| Instant::now() + HOLD));
        for effect in effects {
            match effect {
                Effect::ToBroker(segments) => to_broker.queue(segments),
                Effect::ToClient(segments) => to_client.queue(segments),
                Effect::Close => return Ok(()),
            }
        }
        to_broker.flush().await?;
        to_client.flush().await?;
    }
}

#[cfg(test)]
mod tests;
