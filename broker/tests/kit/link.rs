//! The dialing end of a link to a broker in this process, one step at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use keylane_protocol::cluster::call::CallBody;
use keylane_protocol::link::call::{Call, Reply};
use keylane_protocol::link::handshake::{Hello, Role, Welcome};
use keylane_protocol::link::{Body, Dialer, Frame, Told};
use keylane_protocol::transport::link::{HandshakeError, LinkReader, LinkWriter, introduce};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout, timeout_at};

/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who dials a broker's internal listener; askers are numbers.
pub(crate) struct Peer {
    runtime: Runtime,
    /// The same socket.
    raw: std::net::TcpStream,
    reader: LinkReader<OwnedReadHalf>,
    writer: LinkWriter<OwnedWriteHalf>,
    pub(crate) dialer: Dialer<u64>,
    pub(crate) welcome: Welcome,
    told: VecDeque<Told<u64>>,
}

pub(crate) fn hello() -> Hello {
    Hello {
        role: Role::Router,
        name: "test".into(),
        ..Hello::default()
    }
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::introduce(address, &hello()).expect("the broker takes the link")
    }

    pub(crate) fn introduce(address: SocketAddr, hello: &Hello) -> Result<Self, HandshakeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        let raw = stream.try_clone()?;
        let (reader, writer, welcome) = runtime.block_on(async {
            let stream = TcpStream::from_std(stream)?;
            let (read_half, write_half) = stream.into_split();
            let mut reader = LinkReader::new(read_half);
            let mut writer = LinkWriter::new(write_half);
            let welcome = introduce(&mut reader, &mut writer, hello);
            let welcome = timeout(PATIENCE, welcome).await.expect("in time")?;
            Ok::<_, HandshakeError>((reader, writer, welcome))
        })?;
        Ok(Self {
            dialer: Dialer::new(&welcome, now()),
            runtime,
            raw,
            reader,
            writer,
            welcome,
            told: VecDeque::new(),
        })
    }

    /// Waits until something is told that `wanted` takes; the rest is kept.
    pub(crate) fn until<T>(&mut self, mut wanted: impl FnMut(&Told<u64>) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            for at in seen..self.told.len() {
                if let Some(found) = wanted(&self.told[at]) {
                    self.told.remove(at);
                    return found;
                }
            }
            seen = self.told.len();
            assert!(
                self.step(deadline),
                "it was told within {PATIENCE:?}, and before the link closed"
            );
        }
    }

    /// Writes what there is and waits for a frame; returns whether the link is still open in time.
    pub(crate) fn step(&mut self, deadline: Instant) -> bool {
        self.write();
        let Self {
            runtime, reader, ..
        } = self;
        let next = runtime.block_on(async { timeout_at(deadline, reader.next()).await });
        let Ok(Ok(Some(frame))) = next else {
            return false;
        };
        self.take(frame);
        true
    }

    /// Takes what comes within a time.
    pub(crate) fn rest(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.step(deadline) {}
    }

    /// Returns whether the broker closes the link in time.
    pub(crate) fn is_closed_by_broker(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.step(deadline) {}
        Instant::now() < deadline
    }

    /// Writes what is queued.
    pub(crate) fn write(&mut self) {
        let Self {
            runtime,
            writer,
            dialer,
            ..
        } = self;
        runtime.block_on(async {
            while writer.fill(dialer.outbox(), now()).expect("encodes") {
                // A broker that closes the link is noticed when it is read.
                if writer.flush().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Writes a frame past the rules.
    pub(crate) fn write_raw(&mut self, bytes: &[u8]) {
        use std::io::Write;
        self.raw.write_all(bytes).expect("a few bytes always fit");
    }

    fn take(&mut self, frame: Frame) {
        let mut told = Vec::new();
        let taken = self.dialer.on_frame(frame, now(), &mut told);
        taken.expect("the broker keeps the rules");
        self.told.extend(told);
    }

    /// Queues a call.
    pub(crate) fn call_raw(&mut self, kind: u16, body: Body, asker: u64, time: Duration) {
        let call = Call {
            kind,
            chunk: body,
            ..Call::default()
        };
        let deadline = now() + time;
        self.dialer.call(call, deadline, asker).expect("queued");
    }

    /// Waits for the reply to a call.
    pub(crate) fn reply(&mut self, asker: u64) -> Reply {
        self.until(|told| match told {
            Told::Reply(who, reply) if *who == asker => Some(reply.clone()),
            Told::Lost(who, fate) if *who == asker => panic!("lost: {fate:?}"),
            _ => None,
        })
    }

    /// Calls the controller.
    pub(crate) fn call<C: keylane_protocol::cluster::call::Call>(
        &mut self,
        request: &C,
    ) -> C::Answer {
        let body = Body::from(request.to_bytes().expect("encodes"));
        self.call_raw(C::KIND.number(), body, u64::MAX, PATIENCE);
        let reply = self.reply(u64::MAX);
        assert!(reply.error_code.is_none(), "{:?}", reply.words);
        C::Answer::from_bytes(reply.chunk.into_bytes()).expect("decodes")
    }
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
