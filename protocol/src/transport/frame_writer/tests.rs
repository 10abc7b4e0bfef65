//! Bytes go out in order and once, whatever the connection takes at a time.

use std::task::{Context, Poll, Waker};

use super::*;

/// Takes bytes in pieces of chosen sizes; 0 stands for a moment in which it takes none.
struct Pieces {
    taken: Vec<u8>,
    sizes: Vec<usize>,
    writes: usize,
    slices_most: usize,
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = self.sizes[self.writes % self.sizes.len()];
        self.writes += 1;
        if size == 0 {
            return Poll::Pending;
        }
        self.slices_most = self.slices_most.max(slices.len());
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let size = size.min(bytes.len());
        self.taken.extend_from_slice(&bytes[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn writer(sizes: &[usize]) -> FrameWriter<Pieces> {
    FrameWriter::new(Pieces {
        taken: Vec::new(),
        sizes: sizes.to_vec(),
        writes: 0,
        slices_most: 0,
    })
}

/// Drives the future by polling it anew each time, as a caller that drops its futures does.
fn flush(writer: &mut FrameWriter<Pieces>) {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let future = std::pin::pin!(writer.flush());
        if let Poll::Ready(outcome) = future.poll(&mut context) {
            return outcome.expect("the connection works");
        }
    }
}

#[test]
fn bytes_go_out_in_order_and_once() {
    for sizes in [&[usize::MAX][..], &[1], &[0, 7], &[100, 0, 3000]] {
        let mut writer = writer(sizes);
        let mut expected = Vec::new();
        for frame in 0..50u8 {
            let segments = vec![
                Bytes::from(vec![frame; 100]),
                Bytes::new(),
                Bytes::from(vec![frame; 7]),
            ];
            expected.extend(segments.concat());
            writer.queue(segments);
        }
        assert_eq!(writer.queued_bytes(), expected.len());
        flush(&mut writer);
        assert_eq!(writer.queued_bytes(), 0);
        assert!(writer.writer.taken == expected, "{sizes:?}");
    }
}

#[test]
fn a_write_has_no_more_slices_than_the_system_takes() {
    let mut writer = writer(&[usize::MAX]);
    writer.queue(vec![Bytes::from_static(b"x"); 2 * WRITE_SLICES_MAX + 1]);
    flush(&mut writer);
    assert_eq!(writer.writer.slices_most, WRITE_SLICES_MAX);
    assert_eq!(writer.writer.writes, 3);
    assert_eq!(writer.writer.taken.len(), 2 * WRITE_SLICES_MAX + 1);
}
