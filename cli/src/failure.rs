//! What a command fails with, and how it is told: one line `error: …` with the chain of causes, a line for every
//! further fault found at the same time, and one line that says what to do. Also the exit codes.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// How the exit code tells a script what happened; printed below `keylane --help`.
pub(crate) const EXIT_CODES: &str = "Exit codes:\n  0  done, and every check passed\n  1  failed: the reason is on stderr\n  2  wrong usage or configuration: nothing was started or sent";

/// The reason why a command ends before its work is done.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    kind: Kind,
    messages: Vec<String>,
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Usage,
    /// Whoever read our output has gone: nobody is left to be told anything.
    ReaderGone,
}

impl Failure {
    /// Returns a failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            messages: vec![message.into()],
            hint: None,
        }
    }

    /// Returns a failure of an operation, with the whole chain of its causes in one line.
    pub(crate) fn because(what: impl fmt::Display, cause: &(dyn Error + 'static)) -> Self {
        Self::new(format!("{what}: {}", chain(cause)))
    }

    /// Returns an error that says by itself what failed, with its causes.
    pub(crate) fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::new(chain(error))
    }

    /// Returns wrong usage, exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            ..Self::new(message)
        }
    }

    /// Returns all faults of a configuration as one failure with exit code 2.
    pub(crate) fn faults(faults: Vec<String>) -> Self {
        assert!(!faults.is_empty(), "a failure without a fault");
        Self {
            kind: Kind::Usage,
            messages: faults,
            hint: None,
        }
    }

    /// Returns the failure of a write to stdout; a closed pipe ends the command quietly.
    pub(crate) fn of_output(cause: &std::io::Error) -> Self {
        let mut failure = Self::because("cannot write to stdout", cause);
        if cause.kind() == std::io::ErrorKind::BrokenPipe {
            failure.kind = Kind::ReaderGone;
        }
        failure
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns whether there is nobody left to tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.kind == Kind::ReaderGone
    }

    /// Returns the code the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Failed => ExitCode::from(1),
            Kind::Usage => ExitCode::from(2),
            Kind::ReaderGone => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.messages.iter().map(|message| ("error", message));
        let hint = self.hint.iter().map(|hint| ("hint", hint));
        for (index, (label, text)) in lines.chain(hint).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(out, "{separator}{label}: {}", one_line(text))?;
        }
        Ok(())
    }
}

/// Returns the messages of an error and its causes, without those that only repeat what was said.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

/// Control characters of names and file contents must not reach the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open log")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_and_hint_follow_the_message() {
        let cause = Outer(std::io::Error::other("disk is gone"));
        let failure = Failure::because("cannot start", &cause).hint("buy a disk");
        assert_eq!(
            failure.to_string(),
            "error: cannot start: cannot open log: disk is gone\nhint: buy a disk"
        );
    }

    #[test]
    fn every_fault_has_its_line() {
        let failure = Failure::faults(vec!["one".into(), "two".into()]);
        assert_eq!(failure.to_string(), "error: one\nerror: two");
        assert_eq!(failure.exit_code(), ExitCode::from(2));
    }

    #[test]
    fn control_characters_are_escaped() {
        let failure = Failure::new("topic \u{1b}[2J\n");
        assert_eq!(failure.to_string(), "error: topic \\u{1b}[2J\\n");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let failure = Failure::of_output(&closed);
        assert!(failure.is_quiet());
        assert_eq!(failure.exit_code(), ExitCode::SUCCESS);
    }
}
