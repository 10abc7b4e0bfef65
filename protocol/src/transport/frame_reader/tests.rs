//! Frames come out as they were put in, however the bytes arrive, and nothing is allocated on a promise.

use std::task::{Context, Poll, Waker};

use super::*;

/// Gives out bytes in pieces of chosen sizes; 0 stands for a moment without bytes.
struct Pieces {
    bytes: Bytes,
    sizes: Vec<usize>,
    reads: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes[self.reads % self.sizes.len()];
        self.reads += 1;
        if size == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = size.min(self.bytes.len()).min(target.remaining());
        target.put_slice(&self.bytes.split_to(size));
        Poll::Ready(Ok(()))
    }
}

fn frames_of(lengths: &[usize]) -> Vec<Bytes> {
    let content = |(index, &length): (usize, &usize)| Bytes::from(vec![index as u8; length]);
    lengths.iter().enumerate().map(content).collect()
}

fn stream_of(frames: &[Bytes]) -> Bytes {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend_from_slice(&(frame.len() as i32).to_be_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes.into()
}

fn reader(bytes: impl Into<Bytes>, sizes: &[usize], length_max: usize) -> FrameReader<Pieces> {
    let pieces = Pieces {
        bytes: bytes.into(),
        sizes: sizes.to_vec(),
        reads: 0,
    };
    FrameReader::new(pieces, length_max)
}

/// Drives the future by polling it anew each time, as a caller that drops its futures does.
fn next(reader: &mut FrameReader<Pieces>) -> Result<Option<Bytes>, ReadFrameError> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let future = std::pin::pin!(reader.next_frame());
        if let Poll::Ready(outcome) = future.poll(&mut context) {
            return outcome;
        }
    }
}

#[test]
fn frames_arrive_whole_however_their_bytes_arrive() {
    let large = 3 * FRAME_BUFFER_BYTES_FIRST + 17;
    let frames = frames_of(&[1, 4000, 32_768, 32_769, 5, 70_000, large, 4096, 60_000, 2]);
    let stream = stream_of(&frames);
    for sizes in [
        &[usize::MAX][..],
        &[usize::MAX, 0],
        &[0, 3],
        &[4096, 0, 1],
        &[65_536, 7],
    ] {
        let mut reader = reader(stream.clone(), sizes, large);
        for frame in &frames {
            let read = next(&mut reader).expect("a frame").expect("not the end");
            assert!(read == frame, "a frame of {} bytes, {sizes:?}", frame.len());
        }
        assert!(next(&mut reader).expect("the end").is_none());
    }
}

#[test]
fn frames_that_came_together_are_drained_without_reading() {
    let frames = frames_of(&[10, 20, 30]);
    let mut reader = reader(stream_of(&frames), &[usize::MAX], 100);
    assert_eq!(next(&mut reader).expect("first").as_ref(), Some(&frames[0]));
    assert_eq!(reader.buffered_bytes(), 58);
    for frame in &frames[1..] {
        assert_eq!(
            reader.buffered_frame().expect("valid").as_ref(),
            Some(frame)
        );
    }
    assert_eq!(reader.buffered_frame().expect("valid"), None);
    assert_eq!(reader.reader.reads, 1);
}

#[test]
fn a_connection_that_waits_owns_no_buffer() {
    let mut reader = reader(stream_of(&frames_of(&[100])), &[usize::MAX, 0], 100);
    next(&mut reader).expect("a frame");
    let mut context = Context::from_waker(Waker::noop());
    {
        let future = std::pin::pin!(reader.next_frame());
        assert!(future.poll(&mut context).is_pending());
    }
    assert_eq!(reader.shared.buffer.capacity(), 0);
    assert!(reader.own.is_none());
}

#[test]
fn a_length_without_its_bytes_costs_little() {
    let mut reader = reader(vec![0x06, 0, 0, 0, 1], &[usize::MAX], usize::MAX);
    let refused = next(&mut reader).expect_err("the stream ends");
    assert!(matches!(
        refused,
        ReadFrameError::ClosedInFrame { received: 5 }
    ));
    let own = reader.own.expect("a large frame");
    assert_eq!(own.buffer.capacity(), FRAME_BUFFER_BYTES_FIRST);
}

#[test]
fn lengths_that_are_not_taken_are_refused_before_allocation() {
    for (prefix, message) in [
        ([0xff, 0xff, 0xff, 0xff], "length -1"),
        ([0, 0, 0, 0], "length 0"),
        ([0, 0, 0, 101], "at most 100"),
        (*b"GET ", "at most 100"),
    ] {
        let mut reader = reader(prefix.to_vec(), &[usize::MAX], 100);
        let refused = next(&mut reader).expect_err("refused").to_string();
        assert!(refused.contains(message), "{refused}");
        assert!(reader.own.is_none());
        assert!(reader.shared.buffer.capacity() <= 64);
    }
}

#[test]
fn the_longest_frame_can_be_raised_between_frames() {
    let mut reader = reader(stream_of(&frames_of(&[100, 200])), &[104, usize::MAX], 100);
    next(&mut reader).expect("a short frame");
    reader.set_length_max(200);
    let frame = next(&mut reader)
        .expect("a longer frame")
        .expect("not the end");
    assert_eq!(frame.len(), 200);
}

#[test]
fn waiting_for_a_frame_can_move_between_threads_and_is_small() {
    fn check<F: Future + Send>(future: &F) {
        assert!(size_of_val(future) < 256, "{} bytes", size_of_val(future));
    }
    let mut reader = reader(Bytes::new(), &[1], 100);
    check(&reader.next_frame());
}
