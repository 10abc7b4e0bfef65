//! Rows of a CSV file as records: the value is the row as it stands in the file, the key one of its columns.
//!
//! Rows are dealt to streams by key, so that each key has one producer and keeps the file's order. The file is held
//! in memory: it is read once and checked against all the time.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use keylane_protocol::partitioner::murmur2;

use crate::flights;

/// The largest file taken, unpacked.
pub const INPUT_BYTES_MAX: u64 = 1 << 30;

/// Why a file cannot be the input.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large to be held in memory.
    #[error("{path} has more than {INPUT_BYTES_MAX} bytes unpacked")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not CSV.
    #[error("{path} is not CSV: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// The key's column is not there.
    #[error("{path} has no column `{column}`; it has: {}", known.join(", "))]
    UnknownColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns there are.
        known: Vec<String>,
    },
    /// There is nothing to send.
    #[error("{path} has no rows below its header")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The rows of a file, dealt to streams.
#[derive(Clone, Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// For each stream its rows, in the file's order.
    streams: Vec<Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Row {
    value: Range<usize>,
    key: Box<[u8]>,
}

impl Rows {
    /// Reads the file, unpacked if its name ends in `.gz`, and deals its rows to `streams` streams.
    ///
    /// # Errors
    /// When it cannot be read, is no CSV, lacks the column, or has no rows.
    pub fn read(path: &Path, column: &str, streams: u32) -> Result<Self, InputError> {
        let bytes = read_unpacked(path).map_err(|source| InputError::Read {
            path: path.to_owned(),
            source,
        })?;
        if bytes.len() as u64 > INPUT_BYTES_MAX {
            let path = path.to_owned();
            return Err(InputError::TooLarge { path });
        }
        Self::parse(path, bytes, column, streams)
    }

    /// Returns the rows of the input that comes with the crate.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn built_in(streams: u32) -> Self {
        let path = Path::new(flights::NAME);
        Self::parse(path, flights::csv(), flights::KEY_COLUMN, streams)
            .expect("the input compiled in is sound")
    }

    fn parse(path: &Path, bytes: Vec<u8>, column: &str, streams: u32) -> Result<Self, InputError> {
        let malformed = |source| InputError::Malformed {
            path: path.to_owned(),
            source,
        };
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let headers = reader.byte_headers().map_err(malformed)?;
        let known = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let Some(place) = headers.iter().position(|name| name == column.as_bytes()) else {
            return Err(InputError::UnknownColumn {
                path: path.to_owned(),
                column: column.to_owned(),
                known: headers.iter().map(known).collect(),
            });
        };
        let mut rows = Vec::new();
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(malformed)? {
            let start = record.position().map_or(0, csv::Position::byte);
            let end = reader.position().byte();
            let span = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            rows.push(Row {
                value: trimmed(&bytes, span(start)..span(end)),
                key: record.get(place).unwrap_or_default().into(),
            });
        }
        if rows.is_empty() {
            let path = path.to_owned();
            return Err(InputError::Empty { path });
        }
        let streams = deal(&rows, streams);
        Ok(Self {
            bytes,
            rows,
            streams,
        })
    }

    /// Returns the key of each row, in the file's order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.iter().map(|row| &*row.key)
    }

    /// Returns how many rows a stream has; it may be none.
    #[must_use]
    pub fn count(&self, stream: u32) -> u64 {
        self.streams
            .get(stream as usize)
            .map_or(0, |rows| rows.len() as u64)
    }

    /// Returns key and value of a stream's record; sequences beyond its rows begin again. `None` without such rows.
    #[must_use]
    pub fn record(&self, stream: u32, sequence: u64) -> Option<(&[u8], &[u8])> {
        let rows = self.streams.get(stream as usize)?;
        let place = sequence.checked_rem(rows.len() as u64)?;
        let row = &self.rows[rows[usize::try_from(place).ok()?]];
        Some((&row.key, &self.bytes[row.value.clone()]))
    }
}

fn read_unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let packed = MultiGzDecoder::new(file);
        packed.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Returns the range without line ends on either side; the reader counts blank lines to the row that follows.
fn trimmed(bytes: &[u8], mut range: Range<usize>) -> Range<usize> {
    let is_line_end = |at: usize| matches!(bytes[at], b'\n' | b'\r');
    while !range.is_empty() && is_line_end(range.start) {
        range.start += 1;
    }
    while !range.is_empty() && is_line_end(range.end - 1) {
        range.end -= 1;
    }
    range
}

fn deal(rows: &[Row], streams: u32) -> Vec<Vec<usize>> {
    let mut dealt = vec![Vec::new(); streams as usize];
    for (index, row) in rows.iter().enumerate() {
        let stream = murmur2(&row.key).cast_unsigned() % streams;
        dealt[stream as usize].push(index);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, column: &str, streams: u32) -> Result<Rows, InputError> {
        Rows::parse(Path::new("a.csv"), text.into(), column, streams)
    }

    #[test]
    fn values_are_the_rows_as_they_stand_in_the_file() {
        let text = "id,name\r\n1,\"a\nb\"\r\n\r\n2,c\r\n3,d";
        let rows = parse(text, "id", 1).expect("sound");
        let values: Vec<_> = (0..4).map(|n| rows.record(0, n).expect("a row")).collect();
        assert_eq!(values[0], (&b"1"[..], &b"1,\"a\nb\""[..]));
        assert_eq!(values[1], (&b"2"[..], &b"2,c"[..]));
        assert_eq!(values[2], (&b"3"[..], &b"3,d"[..]));
        assert_eq!(values[3], values[0]);
    }

    #[test]
    fn every_key_belongs_to_one_stream_in_the_order_of_the_file() {
        let rows = Rows::built_in(4);
        let total: u64 = (0..4).map(|stream| rows.count(stream)).sum();
        assert_eq!(total, flights::ROW_COUNT as u64);
        let mut owners = std::collections::BTreeMap::new();
        for stream in 0..4 {
            for sequence in 0..rows.count(stream) {
                let (key, _) = rows.record(stream, sequence).expect("a row");
                assert_eq!(*owners.entry(key).or_insert(stream), stream);
            }
            let order = &rows.streams[stream as usize];
            assert!(order.is_sorted());
        }
        assert!(owners.contains_key(&b"NA"[..]));
    }

    #[test]
    fn an_unknown_column_is_named_with_those_there_are() {
        let error = parse("id,name\n1,a\n", "nam", 1).expect_err("unknown");
        let text = error.to_string();
        assert_eq!(text, "a.csv has no column `nam`; it has: id, name");
        assert!(matches!(
            parse("id\n", "id", 1),
            Err(InputError::Empty { .. })
        ));
        assert!(matches!(
            parse("id,name\n1\n", "id", 1),
            Err(InputError::Malformed { .. })
        ));
    }
}
