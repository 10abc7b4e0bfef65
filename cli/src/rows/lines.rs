//! Lines of a file, and the format in which each line is a record.

use bytes::Bytes;
use std::io::{self, BufRead, BufReader, Read};

use super::{ROW_BYTES_MAX, RowError};

/// What a row gives: its key and its value.
pub(super) type KeyAndValue = (Option<Bytes>, Bytes);

/// Reads lines with their line ends and counts them.
pub(super) struct LineReader {
    reader: BufReader<Box<dyn Read + Send>>,
    /// How many lines were begun.
    line: u64,
}

impl LineReader {
    /// Returns a reader at the first line.
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            line: 0,
        }
    }

    /// Returns the number of the line read last, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Appends the next line with its line end to `row`; returns false at the end of the file.
    ///
    /// # Errors
    /// When reading fails or `row` grows beyond the bound.
    pub(super) fn append(&mut self, row: &mut Vec<u8>) -> Result<bool, RowError> {
        let from = row.len();
        let mut left = (ROW_BYTES_MAX + 1).saturating_sub(from);
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let line = self.line + 1;
                    return Err(RowError::Read { line, source });
                }
            };
            let line_end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = line_end.map_or(chunk.len(), |at| at + 1);
            if taken > left {
                return Err(RowError::Malformed {
                    line: self.line + 1,
                    reason: format!(
                        "the row is longer than {} MiB; is a quote not closed?",
                        ROW_BYTES_MAX >> 20
                    ),
                });
            }
            row.extend_from_slice(&chunk[..taken]);
            left -= taken;
            self.reader.consume(taken);
            if line_end.is_some() || taken == 0 {
                break;
            }
        }
        let is_line = row.len() > from;
        self.line += u64::from(is_line);
        Ok(is_line)
    }
}

/// Returns the bytes before the line end, which is LF or CR LF.
pub(super) fn without_line_end(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// Returns the text after a byte order mark, if the file begins with one.
pub(super) fn without_byte_order_mark(first_line: &[u8]) -> &[u8] {
    first_line
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(first_line)
}

/// Returns the next line as a record.
pub(super) fn next(
    lines: &mut LineReader,
    separator: Option<&[u8]>,
) -> Result<Option<KeyAndValue>, RowError> {
    let mut row = Vec::new();
    if !lines.append(&mut row)? {
        return Ok(None);
    }
    row.truncate(without_line_end(&row).len());
    let value = Bytes::from(row);
    let Some(separator) = separator else {
        return Ok(Some((None, value)));
    };
    let at = value
        .windows(separator.len())
        .position(|window| window == separator)
        .ok_or_else(|| RowError::Malformed {
            line: lines.line(),
            reason: format!("no {:?} ends the key", String::from_utf8_lossy(separator)),
        })?;
    Ok(Some((Some(value.slice(..at)), value)))
}
