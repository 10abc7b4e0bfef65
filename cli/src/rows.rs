//! The rows of a file, one record each. The value of a record is its row's bytes exactly as they stand in the
//! file, without the line end; the key is taken out of the row. `consume --verify-against` reads the same file by
//! the same code and compares.
//!
//! Memory: one row at a time, at most [`ROW_BYTES_MAX`]. Nothing here knows about topics or sockets.
//! Read next: `rows/input.rs` (files, stdin, gzip), then one file per format.

mod csv;
mod input;
mod lines;
mod ndjson;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use std::io;
use std::path::PathBuf;

pub(crate) use self::input::{Input, InputError};
use self::lines::LineReader;
use crate::nearest::nearest;

/// The longest row that is read, line ends inside quotes included. A broker takes less by default; the bound only
/// keeps a quote that is never closed from filling the memory.
pub(crate) const ROW_BYTES_MAX: usize = 16 << 20;

/// One row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Counted from 1; header and blank lines are not rows. With `--repeat`, counted within one pass.
    pub(crate) number: u64,
    /// `None`: a record without key. An empty column is an empty key.
    pub(crate) key: Option<Bytes>,
    /// The row as it stands in the file, without its line end.
    pub(crate) value: Bytes,
}

/// How a file is cut into rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values (RFC 4180); the first record names the columns and is not a record
    Csv,
    /// One JSON object per line
    Ndjson,
    /// One record per line
    Lines,
}

/// Where the key of a record stands in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    /// Records have no key.
    Nowhere,
    /// A column's name or number from 1 (CSV), a field's dotted path (NDJSON).
    Column(String),
    /// Before the first occurrence of this text (lines).
    Before(String),
}

/// Why reading rows ended before the end of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// The file could not be read further.
    #[error("cannot read line {line}")]
    Read {
        /// The line that could not be read, from 1.
        line: u64,
        /// What the operating system or the decompressor said.
        source: io::Error,
    },
    /// A row is not what the format says.
    #[error("line {line}: {reason}")]
    Malformed {
        /// The row's first line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The header of a CSV file has no such column.
    #[error("the file has no column {wanted:?}{}; its columns are {}", asked(.near.as_ref()), .known.join(", "))]
    NoColumn {
        /// What was asked for.
        wanted: String,
        /// A column with a similar name.
        near: Option<String>,
        /// All columns.
        known: Vec<String>,
    },
}

fn asked(near: Option<&String>) -> String {
    near.map_or(String::new(), |near| format!(" (did you mean {near:?}?)"))
}

/// Cuts a file into rows.
pub(crate) struct RowReader {
    lines: LineReader,
    cut: Cut,
    number: u64,
}

enum Cut {
    Csv(csv::Records),
    Ndjson { path: Option<Vec<String>> },
    Lines { separator: Option<Vec<u8>> },
}

impl RowReader {
    /// Begins to read rows; of a CSV file it reads the header at once.
    ///
    /// # Errors
    /// When the header cannot be read or lacks the key's column.
    pub(crate) fn new(
        reader: Box<dyn io::Read + Send>,
        format: Format,
        key: &KeyPlace,
    ) -> Result<Self, RowError> {
        let mut lines = LineReader::new(reader);
        let column = match key {
            KeyPlace::Column(column) => Some(column.as_str()),
            KeyPlace::Nowhere | KeyPlace::Before(_) => None,
        };
        let cut = match format {
            Format::Csv => Cut::Csv(csv::Records::read_header(&mut lines, column)?),
            Format::Ndjson => Cut::Ndjson {
                path: column.map(ndjson::path),
            },
            Format::Lines => Cut::Lines {
                separator: match key {
                    KeyPlace::Before(text) => Some(text.clone().into_bytes()),
                    KeyPlace::Nowhere | KeyPlace::Column(_) => None,
                },
            },
        };
        Ok(Self {
            lines,
            cut,
            number: 0,
        })
    }

    /// Returns the next row, `None` at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read or the row is malformed; there is no reading on after that.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, RowError> {
        let cut = match &self.cut {
            Cut::Csv(records) => records.next(&mut self.lines)?,
            Cut::Ndjson { path } => ndjson::next(&mut self.lines, path.as_deref())?,
            Cut::Lines { separator } => lines::next(&mut self.lines, separator.as_deref())?,
        };
        Ok(cut.map(|(key, value)| {
            self.number += 1;
            Row {
                number: self.number,
                key,
                value,
            }
        }))
    }
}

/// A file that can be read from its beginning as often as needed, with the way to cut it.
#[derive(Debug, Clone)]
pub(crate) struct RowSource {
    input: Input,
    format: Format,
    key: KeyPlace,
}

impl RowSource {
    /// Returns the source for a file (`-` is stdin), or every reason why these wishes do not go together.
    pub(crate) fn new(
        file: PathBuf,
        format: Option<Format>,
        column: Option<String>,
        separator: Option<String>,
    ) -> Result<Self, Vec<String>> {
        let input = Input::new(file);
        let format = format.unwrap_or_else(|| input.format_by_name());
        let mut faults = Vec::new();
        if column.as_deref() == Some("") {
            faults.push("--key is empty: name a column, or leave --key out".to_owned());
        }
        if column.is_some() && format == Format::Lines {
            faults.push(format!(
                "--key names a column, but {input} is read as plain lines, which have none: use --key-separator, or \
                 --format csv or ndjson"
            ));
        }
        if separator.is_some() && format != Format::Lines {
            faults.push(
                "--key-separator is for plain lines; for CSV and NDJSON use --key".to_owned(),
            );
        }
        if separator.as_deref() == Some("") {
            faults.push("--key-separator is empty: give the text that ends a key".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let key = match (column, separator) {
            (Some(column), _) => KeyPlace::Column(column),
            (None, Some(separator)) => KeyPlace::Before(separator),
            (None, None) => KeyPlace::Nowhere,
        };
        Ok(Self { input, format, key })
    }

    /// Opens the file at its beginning.
    ///
    /// # Errors
    /// When the file cannot be opened, or its header is not usable.
    pub(crate) fn open(&self) -> Result<RowReader, OpenError> {
        let reader = self.input.open()?;
        Ok(RowReader::new(reader, self.format, &self.key)?)
    }

    /// Returns where the rows come from.
    pub(crate) fn input(&self) -> &Input {
        &self.input
    }
}

/// Why a file of rows could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The file itself.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Its header.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// Returns the index of a column asked for by name, or by number from 1.
fn column_index(names: &[String], wanted: &str) -> Result<usize, RowError> {
    if let Some(index) = names.iter().position(|name| name == wanted) {
        return Ok(index);
    }
    if let Ok(number) = wanted.parse::<usize>()
        && (1..=names.len()).contains(&number)
    {
        return Ok(number - 1);
    }
    Err(RowError::NoColumn {
        wanted: wanted.to_owned(),
        near: nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned),
        known: names.to_vec(),
    })
}
