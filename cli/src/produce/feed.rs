//! Reads rows on a thread of its own, since files and pipes block, and hands them over in bounded portions.

use std::io;
use std::thread::JoinHandle;
use tokio::sync::mpsc;

use crate::rows::{OpenError, Row, RowError, RowSource};

/// Rows handed over at once; and how many such portions may wait, so that a slow cluster stops the reading.
const PORTION_ROWS: usize = 256;
const PORTION_BYTES: usize = 256 << 10;
const PORTIONS_WAITING: usize = 4;

/// Why there are no more rows, other than the end of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The file cannot be opened, at the beginning of a pass.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file cannot be read on.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// A portion of rows, or the reason why none follow.
pub(super) type Portion = Result<Vec<Row>, FeedError>;

/// Begins to read the file `repeat` times.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(
    source: RowSource,
    repeat: u64,
) -> io::Result<(mpsc::Receiver<Portion>, JoinHandle<()>)> {
    let (sender, receiver) = mpsc::channel(PORTIONS_WAITING);
    let thread = std::thread::Builder::new()
        .name("rows".to_owned())
        .spawn(move || {
            for _ in 0..repeat {
                match feed_once(&source, &sender) {
                    Ok(true) => {}
                    // Nobody wants more rows.
                    Ok(false) => return,
                    Err(error) => {
                        let _ = sender.blocking_send(Err(error));
                        return;
                    }
                }
            }
        })?;
    Ok((receiver, thread))
}

/// Sends one pass over the file; returns false when the receiver is gone. Rows before a fault are sent before it.
fn feed_once(source: &RowSource, sender: &mpsc::Sender<Portion>) -> Result<bool, FeedError> {
    let mut rows = source.open()?;
    loop {
        let mut portion = Vec::with_capacity(PORTION_ROWS);
        let mut bytes = 0;
        let end = loop {
            if portion.len() >= PORTION_ROWS || bytes >= PORTION_BYTES {
                break None;
            }
            match rows.next_row() {
                Ok(Some(row)) => {
                    bytes += row.value.len();
                    portion.push(row);
                }
                Ok(None) => break Some(Ok(true)),
                Err(error) => break Some(Err(error.into())),
            }
        };
        if !portion.is_empty() && sender.blocking_send(Ok(portion)).is_err() {
            return Ok(false);
        }
        if let Some(end) = end {
            return end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> (tempfile::TempDir, RowSource) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, text).expect("the folder takes a file");
        let source = RowSource::new(path, None, Some("k".to_owned()), None).expect("valid");
        (folder, source)
    }

    #[test]
    fn every_pass_is_fed_in_order() {
        let (_folder, source) = source("k\na\nb\n");
        let (mut portions, thread) = start(source, 2).expect("a thread");
        let mut rows = Vec::new();
        while let Some(portion) = portions.blocking_recv() {
            rows.extend(
                portion
                    .expect("well-formed")
                    .into_iter()
                    .map(|row| row.number),
            );
        }
        assert_eq!(rows, [1, 2, 1, 2]);
        thread.join().expect("the thread ends");
    }

    #[test]
    fn rows_before_a_fault_come_before_it() {
        let (_folder, source) = source("k\na\nb,c\nd\n");
        let (mut portions, _thread) = start(source, 1).expect("a thread");
        let first = portions.blocking_recv().expect("a portion").expect("rows");
        assert_eq!(first.len(), 1);
        let fault = portions
            .blocking_recv()
            .expect("a portion")
            .expect_err("a fault");
        assert!(fault.to_string().starts_with("line 3: "), "{fault}");
        assert!(portions.blocking_recv().is_none());
    }

    #[test]
    fn reading_stops_when_nobody_takes_rows() {
        let (_folder, source) = source(&format!("k\n{}", "a\n".repeat(100_000)));
        let (portions, thread) = start(source, u64::MAX).expect("a thread");
        drop(portions);
        thread.join().expect("the thread ends");
    }
}
