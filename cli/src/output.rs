//! What commands print: results on stdout, where a closed pipe ends the command quietly, and notes on stderr.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::failure::Failure;

/// Buffered stdout.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Locks stdout.
    pub(crate) fn new() -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, io::stdout().lock()),
        }
    }

    /// Writes bytes and a line end.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(crate) fn line(&mut self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.bytes(text.as_ref())?;
        self.bytes(b"\n")
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out
            .write_all(bytes)
            .map_err(|error| Failure::of_output(&error))
    }

    /// Hands everything written to the reader.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::of_output(&error))
    }
}

/// Prints one line of results at once.
///
/// # Errors
/// When stdout takes no more.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(text)?;
    output.flush()
}

/// Prints a line for people on stderr; nothing can be done if that is closed.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Returns `1 row`, `2 rows`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Returns lines with the columns of all rows under one another; numbers go to the right.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let is_number = |column: usize| {
        !rows.is_empty()
            && rows
                .iter()
                .all(|row| row[column].parse::<i64>().is_ok() || row[column] == "-")
    };
    let columns: Vec<(usize, bool)> = (0..heads.len())
        .map(|column| (width(column), is_number(column)))
        .collect();
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<String> = std::iter::once(&heads)
        .chain(rows)
        .map(|cells: &Vec<String>| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&columns)
                .map(|(cell, (width, is_number))| match is_number {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                })
                .collect();
            padded.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [("orders", 12), ("x", 6)].map(|(name, n)| vec![name.to_owned(), n.to_string()]);
        assert_eq!(
            table(&["topic", "partitions"], &rows),
            "topic   partitions\norders          12\nx                6"
        );
    }
}
