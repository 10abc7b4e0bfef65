//! The null relay: the least a router can do, hence the yardstick of a hop. It stands before a null broker.
//!
//! ```text
//! epoll ─► for each client a connection to the broker ─► bytes are copied from one to the other, both ways
//! ```
//! One thread, one buffer for each direction. It looks at nothing, so the broker must name the relay's port as its own.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Stdin, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::null_broker::{NullReady, print_line};

const LISTENER: u64 = u64::MAX;
const STDIN: u64 = u64::MAX - 1;
const EVENTS_MAX: usize = 256;

/// The most clients; further ones are closed at once.
pub(crate) const CLIENTS_MAX: usize = 9_000;

/// How much is copied at once, as much as the null broker reads.
const BUFFER_BYTES: usize = 256 * 1024;

/// When so much has been copied, other connections get their turn.
const TURN_BYTES: usize = 4 * 1024 * 1024;

/// Runs a null relay until standard input closes: `keylane bench null-relay`. Prints its address when it listens, and
/// then reads a line with the address of the broker.
///
/// # Errors
/// When the line is no address, or it cannot listen.
pub fn null_relay_main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    print_line(&NullReady {
        kafka: listener.local_addr()?,
    })?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let broker = line.trim().parse().map_err(io::Error::other)?;
    let mut relay = Relay::new(listener, broker)?;
    relay.stop_with(&io::stdin())?;
    relay.run()
}

/// A relay.
struct Relay {
    epoll: OwnedFd,
    listener: TcpListener,
    broker: SocketAddr,
    pairs: Vec<Option<Pair>>,
    /// Places among the pairs that are free.
    free: Vec<usize>,
    /// Pairs whose turn was over before everything was copied.
    unfinished: VecDeque<usize>,
}

/// A client and its connection to the broker.
struct Pair {
    client: TcpStream,
    broker: TcpStream,
    to_broker: Way,
    to_client: Way,
}

/// Bytes on their way in one direction.
struct Way {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing can be copied for now: epoll tells when something can.
    Done,
    /// There is more, after the others.
    Unfinished,
    /// One side has closed.
    Closed,
}

impl Relay {
    fn new(listener: TcpListener, broker: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            broker,
            pairs: Vec::new(),
            free: Vec::new(),
            unfinished: VecDeque::new(),
        })
    }

    /// Makes the end of standard input end the loop. A file or a null device as input never does.
    fn stop_with(&mut self, stdin: &Stdin) -> io::Result<()> {
        let data = EventData::new_u64(STDIN);
        match epoll::add(&self.epoll, stdin, data, EventFlags::IN) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            let at_once = Timespec::default();
            let timeout = (!self.unfinished.is_empty()).then_some(&at_once);
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            for _ in 0..self.unfinished.len() {
                if let Some(slot) = self.unfinished.pop_front() {
                    self.on_ready(slot);
                }
            }
            for event in &events {
                // A copy: the kernel's layout is packed.
                let data = event.data;
                match data.u64() {
                    LISTENER => self.accept()?,
                    STDIN => return Ok(()),
                    slot => self.on_ready(usize::try_from(slot).unwrap_or(usize::MAX)),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let slot = self.free.pop().unwrap_or(self.pairs.len());
            if slot == CLIENTS_MAX {
                continue;
            }
            let broker = TcpStream::connect(self.broker)?;
            let data = EventData::new_u64(slot as u64);
            // Told once whenever something changes, for each turn goes on until nothing can be copied.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            for stream in [&client, &broker] {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                epoll::add(&self.epoll, stream, data, flags)?;
            }
            let pair = Pair {
                client,
                broker,
                to_broker: Way::new(),
                to_client: Way::new(),
            };
            if slot == self.pairs.len() {
                self.pairs.push(None);
            }
            self.pairs[slot] = Some(pair);
        }
    }

    fn on_ready(&mut self, slot: usize) {
        let Some(pair) = self.pairs.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        match pair.copy().unwrap_or(Turn::Closed) {
            Turn::Done => {}
            Turn::Unfinished => self.unfinished.push_back(slot),
            // Dropping the sockets takes them out of epoll.
            Turn::Closed => {
                self.pairs[slot] = None;
                self.free.push(slot);
            }
        }
    }
}

impl Pair {
    fn copy(&mut self) -> io::Result<Turn> {
        let turns = [
            self.to_broker.copy(&self.client, &self.broker)?,
            self.to_client.copy(&self.broker, &self.client)?,
        ];
        Ok(match turns {
            turns if turns.contains(&Turn::Closed) => Turn::Closed,
            turns if turns.contains(&Turn::Unfinished) => Turn::Unfinished,
            _ => Turn::Done,
        })
    }
}

impl Way {
    fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
        }
    }

    /// Copies until one of the two sockets has enough, or the turn is over.
    fn copy(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<Turn> {
        let mut copied = 0;
        loop {
            if self.start == self.end {
                if copied >= TURN_BYTES {
                    return Ok(Turn::Unfinished);
                }
                match from.read(&mut self.buffer) {
                    Ok(0) => return Ok(Turn::Closed),
                    Ok(read) => (self.start, self.end) = (0, read),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Done),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            match to.write(&self.buffer[self.start..self.end]) {
                Ok(written) => {
                    self.start += written;
                    copied += written;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Done),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back whatever comes, and closes when its client does.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut back = stream.expect("a client");
                let mut forth = back.try_clone().expect("a socket");
                std::thread::spawn(move || io::copy(&mut forth, &mut back));
            }
        });
        address
    }

    #[test]
    fn bytes_go_both_ways_unaltered_for_several_clients_at_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let broker = echo();
        std::thread::spawn(move || Relay::new(listener, broker).expect("an epoll").run());
        let talk = |seed: usize| {
            let mut sending = TcpStream::connect(address).expect("it listens");
            let mut receiving = sending.try_clone().expect("a socket");
            // More than both buffers and the sockets hold, so that each side has to wait for the other.
            let sent: Vec<u8> = (0..20_000_000)
                .map(|at| ((at * 7 + seed) % 251) as u8)
                .collect();
            let expected = sent.clone();
            let sender = std::thread::spawn(move || sending.write_all(&sent));
            let mut found = vec![0; expected.len()];
            receiving
                .read_exact(&mut found)
                .expect("everything comes back");
            sender
                .join()
                .expect("no panic")
                .expect("everything is taken");
            assert!(found == expected, "client {seed}");
        };
        std::thread::scope(|scope| {
            for seed in 0..3 {
                scope.spawn(move || talk(seed));
            }
        });
    }

    #[test]
    fn the_end_of_the_broker_is_the_end_for_its_clients() {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = broker.local_addr().expect("bound");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let relay = listener.local_addr().expect("bound");
        std::thread::spawn(move || Relay::new(listener, address).expect("an epoll").run());
        let mut client = TcpStream::connect(relay).expect("it listens");
        drop(broker.accept().expect("the relay comes"));
        assert_eq!(client.read(&mut [0; 8]).expect("an end"), 0);
    }
}
