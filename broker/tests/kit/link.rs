//! The dialing end of a link to a broker in this process, one step at a time.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::cluster::call::CallBody;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::link::append::{Outcome, SubBatch};
use keylane_protocol::link::call::{Call, Reply};
use keylane_protocol::link::handshake::{Hello, Role, Welcome};
use keylane_protocol::link::lane::{Answer, LaneOpen};
use keylane_protocol::link::{self, Body, Correlation, Dialer, Frame, Lane, Told};
use keylane_protocol::message::{Message, Request};
use keylane_protocol::offset::LeaderEpoch;
use keylane_protocol::primitive::{Decoder, Encoder};
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

/// Where records go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    pub(crate) leader_epoch: LeaderEpoch,
}

impl Peer {
    pub(crate) fn open_lane(&mut self) -> Lane {
        self.dialer.open_lane(LaneOpen {
            client_id: Some("client".into()),
            client_host: "10.0.0.1".into(),
            ..LaneOpen::default()
        })
    }

    /// Queues records.
    pub(crate) fn append(&mut self, lane: Lane, to: To, records: Bytes, asker: u64) {
        let sub_batch = sub_batch(lane, to, records);
        self.dialer
            .append(sub_batch, now() + PATIENCE, asker)
            .expect("queued");
    }

    /// Queues records that want no answer.
    pub(crate) fn append_unanswered(&mut self, lane: Lane, to: To, records: Bytes) {
        let sub_batch = sub_batch(lane, to, records);
        let queued = self.dialer.append_unanswered(sub_batch, now() + PATIENCE);
        queued.expect("queued");
    }

    /// Waits for what becomes of records.
    pub(crate) fn outcome(&mut self, asker: u64) -> Outcome {
        self.until(|told| match told {
            Told::Outcome(who, outcome) if *who == asker => Some(outcome.clone()),
            Told::Lost(who, fate) if *who == asker => panic!("{asker} is lost: {fate:?}"),
            _ => None,
        })
    }

    /// Queues a request.
    pub(crate) fn send<R: Request>(
        &mut self,
        lane: Lane,
        (request, version): (&R, i16),
        asker: u64,
    ) -> Correlation {
        let mut encoder = Encoder::new();
        request.encode(version, &mut encoder).expect("encodes");
        let body = encoder.into_segments().into_iter().collect();
        self.send_raw(lane, (R::API_KEY.code(), version), body, asker)
    }

    pub(crate) fn send_raw(
        &mut self,
        lane: Lane,
        (api_key, api_version): (i16, i16),
        chunk: Body,
        asker: u64,
    ) -> Correlation {
        let request = link::lane::Request {
            lane,
            api_key,
            api_version,
            chunk,
            ..link::lane::Request::default()
        };
        let queued = self.dialer.request(request, now() + PATIENCE, asker);
        queued.expect("queued")
    }

    /// Waits for the answer to a request, whatever it is.
    pub(crate) fn answer_raw(&mut self, asker: u64) -> Answer {
        self.until(|told| match told {
            Told::Answer(who, answer) if *who == asker => Some(answer.clone()),
            Told::Lost(who, fate) if *who == asker => panic!("{asker} is lost: {fate:?}"),
            _ => None,
        })
    }

    /// Waits for the response to `R`.
    pub(crate) fn answer<R: Request>(&mut self, version: i16, asker: u64) -> R::Response {
        let answer = self.answer_raw(asker);
        assert!(answer.error_code.is_none(), "{:?}", answer.words);
        let mut decoder = Decoder::new(answer.chunk.into_bytes());
        let response = R::Response::decode(&mut decoder, version).expect("decodes");
        decoder.finish().expect("nothing follows");
        response
    }

    /// Asks and waits for the response.
    pub(crate) fn ask<R: Request>(&mut self, lane: Lane, request: &R, version: i16) -> R::Response {
        self.send(lane, (request, version), u64::MAX);
        self.answer::<R>(version, u64::MAX)
    }

    /// Returns whether something was told to an asker already.
    pub(crate) fn is_told(&self, asker: u64) -> bool {
        self.told.iter().any(|told| match told {
            Told::Answer(who, _) | Told::Outcome(who, _) | Told::Reply(who, _) => *who == asker,
            _ => false,
        })
    }
}

pub(crate) fn sub_batch(lane: Lane, to: To, records: Bytes) -> SubBatch {
    SubBatch {
        lane,
        acks: -1,
        topic_id: to.topic_id,
        partition: PartitionIndex(to.partition),
        leader_epoch: to.leader_epoch,
        records: Body::from(records),
        ..SubBatch::default()
    }
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Stands between a dialer and a broker, and can keep back what the dialer says.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    held: Arc<Mutex<Held>>,
}

/// What is kept back; `None` while nothing is.
struct Held {
    bytes: Option<Vec<u8>>,
    to: Option<std::net::TcpStream>,
}

impl Relay {
    pub(crate) fn to(broker: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let held = Arc::new(Mutex::new(Held {
            bytes: None,
            to: None,
        }));
        let shared = Arc::clone(&held);
        std::thread::spawn(move || {
            let (dialer, _) = listener.accept().expect("it dials");
            let broker = std::net::TcpStream::connect(broker).expect("it listens");
            broker.set_nodelay(true).expect("a socket");
            shared.lock().expect("no panic").to = Some(broker.try_clone().expect("a socket"));
            let back = (
                broker.try_clone().expect("a socket"),
                dialer.try_clone().expect("a socket"),
            );
            std::thread::spawn(move || {
                let (mut from, mut to) = back;
                let _ = std::io::copy(&mut from, &mut to);
            });
            pass_on(dialer, &shared);
        });
        Self { address, held }
    }

    /// Keeps back what the dialer says from now on.
    pub(crate) fn hold(&self) {
        self.held.lock().expect("no panic").bytes = Some(Vec::new());
    }

    /// Passes on at once what was kept back, when something was and no more comes.
    pub(crate) fn let_go(&self) {
        let mut length = 0;
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let mut held = self.held.lock().expect("no panic");
            let bytes = held.bytes.as_ref().expect("it holds");
            if bytes.is_empty() || bytes.len() > length {
                length = bytes.len();
                continue;
            }
            let bytes = held.bytes.take().expect("it holds");
            let to = held.to.as_mut().expect("it is connected");
            return to.write_all(&bytes).expect("the broker reads");
        }
    }
}

fn pass_on(mut dialer: std::net::TcpStream, shared: &Mutex<Held>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = Read::read(&mut dialer, &mut buffer) {
        let mut held = shared.lock().expect("no panic");
        match (&mut held.bytes, buffer.get(..count)) {
            (Some(bytes), Some(read)) => bytes.extend_from_slice(read),
            (None, Some(read)) => {
                let to = held.to.as_mut().expect("it is connected");
                to.write_all(read).expect("the broker reads");
            }
            _ => return,
        }
    }
}
