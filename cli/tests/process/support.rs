//! Starts the binary: commands that end by themselves, and servers that are ended at the latest when they are dropped.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing here takes as long, unless it hangs.
const TIME_LIMIT: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The binary, without whatever KEYLANE_ variables the tests themselves were started with.
pub(crate) fn keylane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylane"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYLANE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A command that has ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Panics unless the command succeeded; returns what it printed.
    #[track_caller]
    pub(crate) fn expect_success(self) -> String {
        assert!(self.status.success(), "{self}");
        self.stdout
    }

    /// Panics unless the command ended with this code and said all of this on stderr.
    #[track_caller]
    pub(crate) fn expect_failure(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "should say {word:?}\n{self}");
        }
        self.stderr
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        write!(out, "{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Runs a command to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    run_command(keylane().args(arguments), &[])
}

/// Runs a command to its end with something on its stdin.
pub(crate) fn run_command(command: &mut Command, stdin: &[u8]) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let bytes = stdin.to_vec();
    // A command may end without reading its stdin.
    std::thread::spawn(move || {
        let _ = input.write_all(&bytes);
    });
    let stdout = read_all(child.stdout.take().expect("stdout is a pipe"));
    let stderr = read_all(child.stderr.take().expect("stderr is a pipe"));
    let status = wait(&mut child);
    Finished {
        status,
        stdout: stdout.join().expect("the thread ends"),
        stderr: stderr.join().expect("the thread ends"),
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> ExitStatus {
    let mut looks = TIME_LIMIT.as_millis() / BETWEEN_LOOKS.as_millis();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if looks == 0 {
            child.kill().expect("a child can be killed");
            panic!("the command did not end within {TIME_LIMIT:?}");
        }
        looks -= 1;
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    log: Arc<Mutex<String>>,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl Server {
    /// Starts `keylane broker` on a folder; port 0 unless another is given.
    pub(crate) fn broker(data: &Path, more: &[&str]) -> Self {
        let mut command = keylane();
        command.args(["broker", "--data"]).arg(data);
        if !more.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        Self::start(command.args(more))
    }

    /// Starts a server and waits until it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect_log(child.stderr.take().expect("stderr is a pipe"), &log);
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a pipe can be read");
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| {
            let status = wait(&mut child);
            let log = log.lock().expect("no thread panicked");
            panic!("no ready line but {line:?}, {status}\n{log}")
        });
        // Nothing may follow the ready line.
        std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = stdout.read_to_string(&mut rest);
            assert!(rest.is_empty(), "more on stdout: {rest}");
        });
        Self {
            stdin: child.stdin.take(),
            child,
            log,
            ready,
        }
    }

    /// Returns the process's id.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address to connect to.
    pub(crate) fn address(&self) -> &str {
        self.ready["kafka"].as_str().expect("an address")
    }

    /// Returns the port that it listens on.
    pub(crate) fn port(&self) -> String {
        let (_, port) = self.address().rsplit_once(':').expect("host:port");
        port.to_owned()
    }

    /// Runs a client command against this server.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        let mut command = keylane();
        command.env("KEYLANE_CONNECT", self.address());
        run_command(command.args(arguments), &[])
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Closes its stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has ended by itself; returns how, and what it logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child);
        // The log's last lines may still be in the pipe.
        std::thread::sleep(Duration::from_millis(50));
        let log = self.log.lock().expect("no thread panicked").clone();
        (status, log)
    }

    /// Stops it cleanly; returns what it logged.
    #[track_caller]
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.wait();
        assert!(status.success(), "{status}\n{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Ok(log) = self.log.lock()
        {
            let _ = writeln!(std::io::stderr(), "--- log of the server\n{log}");
        }
    }
}

fn collect_log(pipe: impl Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            let mut log = log.lock().expect("no thread panicked");
            log.push_str(&line);
            log.push('\n');
        }
    });
}
