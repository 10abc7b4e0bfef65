//! A server as a child process: started, known by its first line, measured from outside, stopped by closing its input.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

/// How long a server may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// How long a server may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How often a stopping server is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// The most bytes shown of what a server wrote on standard error.
const LOG_BYTES_SHOWN: usize = 4096;

/// The longest line taken from a server.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended, or said nothing for too long, before it was ready.
    #[error("{name} was not ready within {READY_PATIENCE:?}; it wrote:\n{log}")]
    NotReady {
        /// Which server.
        name: String,
        /// The end of what it wrote on standard error.
        log: String,
    },
    /// Its first line is not understood.
    #[error("{name} printed {line:?} where its address was expected")]
    Unintelligible {
        /// Which server.
        name: String,
        /// The line.
        line: String,
    },
    /// It did not stop as it should.
    #[error("{name} did not stop cleanly ({status}); it wrote:\n{log}")]
    NotStopped {
        /// Which server.
        name: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote on standard error.
        log: String,
    },
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
    address: String,
    internal_address: String,
    admin_address: Option<SocketAddr>,
}

/// The line with which a server says that it is ready.
#[derive(Deserialize)]
struct Ready {
    kafka: String,
    /// Brokers only.
    #[serde(default)]
    internal: String,
    /// Brokers and routers only.
    #[serde(default)]
    admin: Option<SocketAddr>,
}

impl Server {
    /// Starts a server and waits for its first line: JSON with its address as `kafka`. Its log goes to a file in `folder`.
    ///
    /// # Errors
    /// When it cannot be started or does not get ready.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        folder: &Path,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start {
            program: program.to_owned(),
            source,
        };
        let log = folder.join(format!("{name}.log"));
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("the output is piped");
        let (sender, lines) = sync_channel(16);
        let mut reader = BufReader::new(output.take(LINE_BYTES_MAX));
        let forward = move || {
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        };
        let reading = thread::Builder::new().name(format!("{name} output"));
        reading.spawn(forward).map_err(failed)?;
        let mut server = Self {
            name: name.to_owned(),
            child,
            input,
            lines,
            log,
            address: String::new(),
            internal_address: String::new(),
            admin_address: None,
        };
        let ready = server.read_ready()?;
        server.admin_address = ready.admin;
        (server.address, server.internal_address) = (ready.kafka, ready.internal);
        Ok(server)
    }

    fn read_ready(&self) -> Result<Ready, ProcessError> {
        let line = match self.lines.recv_timeout(READY_PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(ProcessError::NotReady {
                    name: self.name.clone(),
                    log: self.log_end(),
                });
            }
        };
        serde_json::from_str(&line).map_err(|_| ProcessError::Unintelligible {
            name: self.name.clone(),
            line,
        })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it something: a line on its standard input.
    ///
    /// # Errors
    /// When it reads no more.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut();
        let input = input.ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")
    }

    /// Returns the address at which brokers and routers reach it; empty if it is no broker.
    #[must_use]
    pub fn internal_address(&self) -> &str {
        &self.internal_address
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the address at which it tells its metrics; `None` if it does not.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it by closing its input and returns the lines it printed since it was ready.
    ///
    /// # Errors
    /// When it takes too long, in which case it is killed, or says that something went wrong.
    pub fn stop(mut self) -> Result<Vec<String>, ProcessError> {
        drop(self.input.take());
        let mut rest = STOP_PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(self.lines.iter().collect()),
                Ok(Some(status)) => return Err(self.not_stopped(&status.to_string())),
                Ok(None) if rest.is_zero() => {
                    return Err(self.not_stopped("it took too long and was killed"));
                }
                Ok(None) => {}
                Err(error) => return Err(self.not_stopped(&error.to_string())),
            }
            thread::sleep(GLANCE);
            rest = rest.saturating_sub(GLANCE);
        }
    }

    /// Ends it at once, as a crash would, and returns how it ended.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    fn not_stopped(&self, status: &str) -> ProcessError {
        ProcessError::NotStopped {
            name: self.name.clone(),
            status: status.to_owned(),
            log: self.log_end(),
        }
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_BYTES_SHOWN);
        String::from_utf8_lossy(&log[start..]).trim_end().to_owned()
    }
}

/// A server that nobody stopped does not outlive the bench.
impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Result<Server, ProcessError> {
        let arguments = ["-c", script].map(OsString::from);
        Server::start("server", Path::new("/bin/sh"), arguments, folder)
    }

    #[test]
    fn a_server_is_known_by_its_line_and_stops_with_its_input() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"echo '{"ready":true,"kafka":"127.0.0.1:5","admin":"127.0.0.1:6"}'; read x; echo done"#;
        let server = shell(script, folder.path()).expect("ready");
        assert_eq!(server.address(), "127.0.0.1:5");
        assert_eq!(server.admin_address(), "127.0.0.1:6".parse().ok());
        assert!(server.id() > 0);
        // `read` fails at the end of the input, the script goes on.
        assert_eq!(server.stop().expect("stops"), ["done\n"]);
    }

    #[test]
    fn a_server_that_fails_shows_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = shell("echo the port is taken >&2; exit 3", folder.path());
        let text = error.expect_err("not ready").to_string();
        assert!(text.contains("the port is taken"), "{text}");
        let error = shell("echo hello; read x", folder.path());
        let text = error.expect_err("no address").to_string();
        assert!(text.contains("hello"), "{text}");
        let script = r#"echo '{"kafka":"a:5"}'; read x; echo disk full >&2; exit 4"#;
        let server = shell(script, folder.path()).expect("ready");
        let text = server.stop().expect_err("fails").to_string();
        assert!(text.contains("disk full") && text.contains('4'), "{text}");
    }
}
