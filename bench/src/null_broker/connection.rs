//! A connection of the null broker: bytes in, bytes out, both in buffers that are used again.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::ops::Range;

use keylane_protocol::frame::{InvalidFrameLength, frame_length};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// The least room offered to one read.
const ROOM_BYTES: usize = 256 * 1024;

/// When so much has been read, other connections get their turn.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest frame.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) input: Vec<u8>,
    /// How many bytes of the input were cut into frames.
    taken: usize,
    pub(super) output: Vec<u8>,
    sent: usize,
    /// Whether epoll watches for room to send.
    pub(super) waits_for_room: bool,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// There is nothing more for now.
    Open,
    /// The peer has closed.
    Closed,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            sent: 0,
            waits_for_room: false,
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self) -> io::Result<ReadEnd> {
        let before = self.input.len();
        loop {
            let missing = self.missing_bytes().map_err(io::Error::other)?;
            self.input.reserve(missing.max(ROOM_BYTES));
            let room = self.input.capacity() - self.input.len();
            let buffer = spare_capacity(&mut self.input);
            match recv(&self.stream, buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(ReadEnd::Closed),
                // Less than there was room for: the socket is empty, no need to ask it again.
                Ok((read, _)) if read < room => return Ok(ReadEnd::Open),
                Ok(_) if self.input.len() - before >= READ_BYTES_MAX => return Ok(ReadEnd::Open),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ReadEnd::Open),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns how many bytes the first incomplete frame still needs.
    fn missing_bytes(&self) -> Result<usize, InvalidFrameLength> {
        let rest = &self.input[self.taken..];
        match rest.first_chunk() {
            None => Ok(0),
            Some(&prefix) => {
                let length = 4 + frame_length(prefix, FRAME_BYTES_MAX)?;
                Ok(length.saturating_sub(rest.len()))
            }
        }
    }

    /// Returns where the next whole frame lies in the input, length prefix excluded.
    pub(super) fn next_frame(&mut self) -> Result<Option<Range<usize>>, InvalidFrameLength> {
        let rest = &self.input[self.taken..];
        let Some(&prefix) = rest.first_chunk() else {
            return Ok(None);
        };
        let length = frame_length(prefix, FRAME_BYTES_MAX)?;
        if rest.len() - 4 < length {
            return Ok(None);
        }
        let start = self.taken + 4;
        self.taken = start + length;
        Ok(Some(start..self.taken))
    }

    /// Gives up the frames taken so far and keeps what follows them.
    pub(super) fn forget_frames(&mut self) {
        if self.taken == 0 {
            return;
        }
        let rest = self.input.len() - self.taken;
        self.input.copy_within(self.taken.., 0);
        self.input.truncate(rest);
        self.taken = 0;
    }

    /// Sends what waits and returns whether all of it went out.
    pub(super) fn send(&mut self) -> io::Result<bool> {
        while self.sent < self.output.len() {
            match send(&self.stream, &self.output[self.sent..], SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }
}
