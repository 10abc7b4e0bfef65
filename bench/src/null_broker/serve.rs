//! The null broker's loop: read everything that has arrived, write and sync it at once, answer everything.

use std::io::{self, ErrorKind, Stdin};
use std::net::TcpListener;
use std::ops::Range;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::NullStatistics;
use super::answers::{Facts, PendingFetch, Request};
use super::connection::{Connection, ReadEnd};
use super::group::{Group, GroupBatch, sound};
use super::partitions::Partitions;
use super::produce::{Answer, Cursor, Malformed, PRODUCE_VERSION, Placed};
use super::store::Store;
use crate::clock::monotonic_ns;

const LISTENER: u64 = u64::MAX;
const STDIN: u64 = u64::MAX - 1;
/// How many connections are read before what they sent is written: all small requests of a fleet share a sync.
const EVENTS_MAX: usize = 4096;
/// The most connections; further ones are closed at once.
const CONNECTIONS_MAX: usize = 16 * 1024;

/// A Fetch that waits for records.
#[derive(Debug)]
struct WaitingFetch {
    connection: usize,
    deadline_ns: u64,
    fetch: PendingFetch,
}

/// The null broker.
#[derive(Debug)]
pub(super) struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    port: u16,
    store: Option<Store>,
    partition_count: i32,
    partitions: Partitions,
    connections: Vec<Option<Connection>>,
    /// Places among the connections that are free.
    free: Vec<usize>,
    group: Group,
    waiting: Vec<WaitingFetch>,
    next_producer_id: i64,
    requests: u64,
    batches: u64,
    bytes: u64,
}

impl Server {
    pub(super) fn new(
        listener: TcpListener,
        store: Option<Store>,
        partition_count: i32,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            port: listener.local_addr()?.port(),
            listener,
            store,
            partition_count,
            partitions: Partitions::default(),
            connections: Vec::new(),
            free: Vec::new(),
            group: Group::default(),
            waiting: Vec::new(),
            next_producer_id: 0,
            requests: 0,
            batches: 0,
            bytes: 0,
        })
    }

    /// Tells clients another port than its own.
    pub(super) fn advertise(&mut self, port: u16) {
        self.port = port;
    }

    /// Makes the end of standard input end the loop. A file or a null device as input never does.
    pub(super) fn stop_with(&mut self, stdin: &Stdin) -> io::Result<()> {
        match epoll::add(
            &self.epoll,
            stdin,
            EventData::new_u64(STDIN),
            EventFlags::IN,
        ) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn run(&mut self) -> io::Result<NullStatistics> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            let timeout = self.timeout();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                // A copy: the kernel's layout is packed.
                let data = event.data;
                match data.u64() {
                    LISTENER => self.accept()?,
                    STDIN => return Ok(self.statistics()),
                    slot => self.on_ready(usize::try_from(slot).unwrap_or(usize::MAX)),
                }
            }
            self.commit()?;
            self.answer();
        }
    }

    fn statistics(&self) -> NullStatistics {
        let store = self.store.as_ref();
        NullStatistics {
            requests: self.requests,
            batches: self.batches,
            bytes: self.bytes,
            writes: store.map_or(0, |store| store.writes),
            syncs: store.map_or(0, |store| store.syncs),
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or(self.connections.len());
            if slot == CONNECTIONS_MAX {
                continue;
            }
            let data = EventData::new_u64(slot as u64);
            epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
            if slot == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[slot] = Some(Connection::new(stream));
        }
    }

    /// Reads a connection and takes its frames; whatever is wrong with them ends it.
    fn on_ready(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let is_open = matches!(connection.read(), Ok(ReadEnd::Open));
        if !is_open || self.take_frames(slot).is_err() {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        // Dropping the socket takes it out of epoll.
        if self.connections[slot].take().is_some() {
            self.free.push(slot);
        }
        self.group.forget(slot);
        self.waiting.retain(|waiting| waiting.connection != slot);
    }

    fn take_frames(&mut self, slot: usize) -> Result<(), Malformed> {
        loop {
            let connection = self.connections[slot].as_mut().ok_or(Malformed)?;
            let Some(frame) = connection.next_frame().map_err(|_| Malformed)? else {
                return Ok(());
            };
            let kind = connection.input[frame.clone()].first_chunk().copied();
            let [key_high, key_low, version_high, version_low] = kind.ok_or(Malformed)?;
            let version = i16::from_be_bytes([version_high, version_low]);
            if i16::from_be_bytes([key_high, key_low]) == ApiKey::Produce.code() {
                if version != PRODUCE_VERSION {
                    return Err(Malformed);
                }
                self.on_produce(slot, frame)?;
            } else {
                self.on_other(slot, frame)?;
            }
        }
    }

    /// Gives each batch of a request its offset and writes the answer, to be sent when the group is written.
    fn on_produce(&mut self, slot: usize, frame: Range<usize>) -> Result<(), Malformed> {
        let Self {
            connections,
            partitions,
            group,
            partition_count,
            store,
            requests,
            ..
        } = self;
        let Connection { input, output, .. } = connections[slot].as_mut().ok_or(Malformed)?;
        let body = frame.start + 4..frame.end;
        let bytes = &input[body.clone()];
        let mut cursor = Cursor::new(bytes);
        let head = cursor.head()?;
        *requests += 1;
        let mut answer = Answer::begin(output, head.correlation_id);
        cursor.topics(&mut answer, |batch| {
            let records = &bytes[batch.records.clone()];
            let topic = &bytes[batch.topic.clone()];
            let partition = partitions.get(topic, batch.partition, *partition_count);
            let (Some(partition), Some(count)) = (partition, sound(records, store.is_some()))
            else {
                return refused();
            };
            let base_offset = partition.append(count);
            let place = |range: Range<usize>| body.start + range.start..body.start + range.end;
            group.push(GroupBatch {
                connection: slot,
                range: place(batch.records),
                topic: place(batch.topic),
                partition: batch.partition,
                base_offset,
                records: count,
            });
            Placed {
                error_code: 0,
                base_offset,
            }
        })?;
        if head.acks == 0 {
            answer.discard();
            return Ok(());
        }
        answer.end()
    }

    fn on_other(&mut self, slot: usize, frame: Range<usize>) -> Result<(), Malformed> {
        self.release_fetches(slot)?;
        let connection = self.connections[slot].as_mut().ok_or(Malformed)?;
        let frame = Bytes::copy_from_slice(&connection.input[frame]);
        match self.facts().on_request(frame)? {
            Request::Answered(segments) => self.put(slot, &segments),
            Request::Fetch(fetch) => match self.facts().fetch(&fetch, false)? {
                Some(segments) => self.put(slot, &segments),
                None => {
                    let wait_ms = u64::try_from(fetch.request.max_wait_ms).unwrap_or(0);
                    self.waiting.push(WaitingFetch {
                        connection: slot,
                        deadline_ns: monotonic_ns() + wait_ms.saturating_mul(1_000_000),
                        fetch,
                    });
                }
            },
        }
        Ok(())
    }

    /// Answers the Fetch of a connection that asks something else: answers leave in the order of the requests.
    fn release_fetches(&mut self, slot: usize) -> Result<(), Malformed> {
        let is_released = |waiting: &mut WaitingFetch| waiting.connection == slot;
        let released: Vec<WaitingFetch> = self.waiting.extract_if(.., is_released).collect();
        for waiting in released {
            if let Some(segments) = self.facts().fetch(&waiting.fetch, true)? {
                self.put(slot, &segments);
            }
        }
        Ok(())
    }

    fn facts(&mut self) -> Facts<'_> {
        Facts {
            port: self.port,
            partition_count: self.partition_count,
            partitions: &mut self.partitions,
            store: self.store.as_ref(),
            next_producer_id: &mut self.next_producer_id,
        }
    }

    fn put(&mut self, slot: usize, segments: &[Bytes]) {
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) {
            for segment in segments {
                connection.output.extend_from_slice(segment);
            }
        }
    }

    /// Writes and syncs the group. A failure ends the null broker.
    fn commit(&mut self) -> io::Result<()> {
        self.batches += self.group.len() as u64;
        self.bytes += self.group.bytes();
        if let Some(store) = &mut self.store {
            let count = self.partition_count;
            self.group
                .write(store, &mut self.connections, &mut self.partitions, count)?;
        }
        self.group.clear();
        for connection in self.connections.iter_mut().flatten() {
            connection.forget_frames();
        }
        Ok(())
    }

    /// Sends what is due, also to those whose Fetch has found records or waited long enough.
    fn answer(&mut self) {
        let now = monotonic_ns();
        for waiting in std::mem::take(&mut self.waiting) {
            let slot = waiting.connection;
            match self
                .facts()
                .fetch(&waiting.fetch, waiting.deadline_ns <= now)
            {
                Ok(Some(segments)) => self.put(slot, &segments),
                Ok(None) => self.waiting.push(waiting),
                Err(Malformed) => self.close(slot),
            }
        }
        for slot in 0..self.connections.len() {
            self.send(slot);
        }
    }

    fn send(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        if connection.output.is_empty() {
            return;
        }
        let Ok(is_done) = connection.send() else {
            return self.close(slot);
        };
        if connection.waits_for_room == is_done {
            connection.waits_for_room = !is_done;
            let flags = if is_done {
                EventFlags::IN
            } else {
                EventFlags::IN | EventFlags::OUT
            };
            let data = EventData::new_u64(slot as u64);
            if epoll::modify(&self.epoll, &connection.stream, data, flags).is_err() {
                self.close(slot);
            }
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let first = self
            .waiting
            .iter()
            .map(|waiting| waiting.deadline_ns)
            .min()?;
        let rest = first.saturating_sub(monotonic_ns());
        let nanoseconds = i64::try_from(rest % 1_000_000_000).ok()?;
        Some(Timespec {
            tv_sec: i64::try_from(rest / 1_000_000_000).ok()?,
            tv_nsec: nanoseconds,
        })
    }
}

fn refused() -> Placed {
    Placed {
        error_code: ErrorCode::CorruptMessage.code(),
        base_offset: -1,
    }
}
