//! Comma-separated values as in RFC 4180: quoted fields may hold commas, line ends and doubled quotes.
//!
//! A record is kept as its bytes; only the key's field is unquoted. Strict where guessing would change data: another
//! number of fields than the header's, text behind a closing quote and a quote never closed are faults.

use bytes::Bytes;

use super::lines::{KeyAndValue, LineReader, without_byte_order_mark, without_line_end};
use super::{RowError, column_index};

/// The records below a header.
pub(super) struct Records {
    columns: usize,
    key: Option<usize>,
}

impl Records {
    /// Reads the header and finds the key's column in it.
    pub(super) fn read_header(lines: &mut LineReader, key: Option<&str>) -> Result<Self, RowError> {
        let Some(record) = read_record(lines)? else {
            return Err(RowError::Malformed {
                line: 1,
                reason: "the file is empty; the first line of a CSV file names its columns"
                    .to_owned(),
            });
        };
        let names: Vec<String> = (0..record.fields.len())
            .map(|index| String::from_utf8_lossy(&record.field(index)).into_owned())
            .collect();
        let key = key.map(|key| column_index(&names, key)).transpose()?;
        Ok(Self {
            columns: names.len(),
            key,
        })
    }

    /// Returns the next record's key and bytes.
    pub(super) fn next(&self, lines: &mut LineReader) -> Result<Option<KeyAndValue>, RowError> {
        let Some(record) = read_record(lines)? else {
            return Ok(None);
        };
        if record.fields.len() != self.columns {
            return Err(RowError::Malformed {
                line: record.line,
                reason: format!(
                    "{} fields where the header names {}",
                    record.fields.len(),
                    self.columns
                ),
            });
        }
        let key = self.key.map(|index| record.field(index));
        Ok(Some((key, record.bytes)))
    }
}

struct Record {
    line: u64,
    bytes: Bytes,
    fields: Vec<Field>,
}

/// Where a field stands in its record, quotes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    start: usize,
    end: usize,
    has_doubled_quotes: bool,
}

impl Record {
    fn field(&self, index: usize) -> Bytes {
        let field = self.fields[index];
        let bytes = self.bytes.slice(field.start..field.end);
        if !field.has_doubled_quotes {
            return bytes;
        }
        let mut text = Vec::with_capacity(bytes.len());
        let mut rest = &bytes[..];
        while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
            text.extend_from_slice(&rest[..=at]);
            rest = &rest[at + 2..];
        }
        text.extend_from_slice(rest);
        Bytes::from(text)
    }
}

/// Reads lines until no quote is open; skips blank lines between records.
fn read_record(lines: &mut LineReader) -> Result<Option<Record>, RowError> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if !lines.append(&mut bytes)? {
            return Ok(None);
        }
        if lines.line() == 1 {
            bytes.drain(..bytes.len() - without_byte_order_mark(&bytes).len());
        }
        if !without_line_end(&bytes).is_empty() {
            break;
        }
    }
    let line = lines.line();
    let mut cutter = Cutter::default();
    cutter.cut(&bytes);
    while cutter.is_quoted() {
        if !lines.append(&mut bytes)? {
            return Err(RowError::Malformed {
                line,
                reason: "a quote is opened and never closed".to_owned(),
            });
        }
        cutter.cut(&bytes);
    }
    if let Some(at) = cutter.behind_quote {
        return Err(RowError::Malformed {
            line,
            reason: format!(
                "field {} has text behind its closing quote; a quote inside quotes is written twice",
                at + 1
            ),
        });
    }
    bytes.truncate(without_line_end(&bytes).len());
    Ok(Some(Record {
        line,
        bytes: Bytes::from(bytes),
        fields: cutter.fields,
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    QuoteInQuoted,
    BehindQuote,
    LineEnd,
}

/// Cuts a record into fields, line by line, each byte once.
#[derive(Default)]
struct Cutter {
    at: At,
    position: usize,
    start: usize,
    has_doubled_quotes: bool,
    fields: Vec<Field>,
    /// The first field that goes on after its closing quote.
    behind_quote: Option<usize>,
}

impl Cutter {
    fn is_quoted(&self) -> bool {
        self.at == At::Quoted
    }

    /// Goes on from where the last call ended; `record` holds all lines so far.
    fn cut(&mut self, record: &[u8]) {
        while let Some(byte) = record.get(self.position) {
            let rest = &record[self.position..];
            let is_line_end = self.at != At::Quoted && matches!(rest, b"\n" | b"\r\n");
            if is_line_end {
                break;
            }
            self.step(*byte);
            self.position += 1;
        }
        if self.at != At::Quoted && self.at != At::LineEnd {
            self.end_field();
            self.at = At::LineEnd;
        }
    }

    fn step(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::QuoteInQuoted,
            (At::Quoted, _) => At::Quoted,
            (At::QuoteInQuoted, b'"') => {
                self.has_doubled_quotes = true;
                At::Quoted
            }
            (At::FieldStart, b'"') => {
                self.start = self.position + 1;
                At::Quoted
            }
            (_, b',') => {
                self.end_field();
                self.start = self.position + 1;
                At::FieldStart
            }
            (At::QuoteInQuoted | At::BehindQuote, _) => {
                self.behind_quote.get_or_insert(self.fields.len());
                At::BehindQuote
            }
            (At::FieldStart | At::Plain | At::LineEnd, _) => At::Plain,
        };
    }

    fn end_field(&mut self) {
        let closing_quote = usize::from(self.at == At::QuoteInQuoted);
        self.fields.push(Field {
            start: self.start,
            end: self.position - closing_quote,
            has_doubled_quotes: self.has_doubled_quotes,
        });
        self.has_doubled_quotes = false;
    }
}
