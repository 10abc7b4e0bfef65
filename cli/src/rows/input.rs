//! Where rows come from: a file, a file packed with gzip (by its name), or stdin.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::Format;

/// A file by its path; `-` is stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    path: PathBuf,
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {path}")]
pub(crate) struct InputError {
    /// The file.
    path: String,
    /// What the operating system said.
    source: io::Error,
}

impl Input {
    /// Returns the input at a path.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns whether this is stdin, which can be read only once.
    pub(crate) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Returns the format by the file's extension; a name without a known one means plain lines.
    pub(crate) fn format_by_name(&self) -> Format {
        let mut path = self.path.clone();
        if self.is_gzip() {
            path.set_extension("");
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Format::Csv,
            Some("ndjson" | "jsonl") => Format::Ndjson,
            _ => Format::Lines,
        }
    }

    /// Opens the input at its beginning.
    ///
    /// # Errors
    /// When the operating system does not open the file, or it is a folder.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>, InputError> {
        if self.is_stdin() {
            return Ok(Box::new(io::stdin()));
        }
        let file = self.open_file().map_err(|source| InputError {
            path: self.to_string(),
            source,
        })?;
        if self.is_gzip() {
            // A file of several members (as `cat a.gz b.gz` makes) is read to its end.
            return Ok(Box::new(flate2::read::MultiGzDecoder::new(
                io::BufReader::with_capacity(64 << 10, file),
            )));
        }
        Ok(Box::new(file))
    }

    fn open_file(&self) -> io::Result<File> {
        let file = File::open(&self.path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(file)
    }

    fn is_gzip(&self) -> bool {
        let extension = self.path.extension();
        extension.is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stdin() {
            out.write_str("stdin")
        } else {
            write!(out, "{}", self.path.display())
        }
    }
}
