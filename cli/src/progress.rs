//! Progress of what takes longer than a second: a bar on a terminal, now and then a plain line elsewhere.

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::Instant;

use crate::output::note;

/// Nothing is shown before this.
const QUIET: Duration = Duration::from_secs(1);
/// Between plain lines.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Between looks at the clock while many small steps go by.
const STEPS_BETWEEN_LOOKS: u64 = 256;

/// Shows how far a command has come.
pub(crate) struct Progress {
    what: &'static str,
    total: Option<u64>,
    started: Instant,
    next_line: Instant,
    looked_at: u64,
    is_terminal: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Returns progress of `what` ("rows acknowledged"), out of `total` if that is known.
    pub(crate) fn new(what: &'static str, total: Option<u64>) -> Self {
        let started = Instant::now();
        Self {
            what,
            total,
            started,
            next_line: started + QUIET,
            looked_at: 0,
            is_terminal: std::io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// Returns the time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows that `done` of the steps are done.
    pub(crate) fn set(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        if done < self.looked_at + STEPS_BETWEEN_LOOKS {
            return;
        }
        self.looked_at = done;
        let now = Instant::now();
        if now < self.next_line {
            return;
        }
        if self.is_terminal {
            self.bar = Some(self.draw(done));
            return;
        }
        self.next_line = now + BETWEEN_LINES;
        let seconds = (now - self.started).as_secs();
        match self.total {
            Some(total) => note(format!("{done} of {total} {} after {seconds} s", self.what)),
            None => note(format!("{done} {} after {seconds} s", self.what)),
        }
    }

    /// Takes the bar off the terminal; dropping does so too.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&self, done: u64) -> ProgressBar {
        let template = match self.total {
            Some(_) => "{bar:32} {human_pos} of {human_len} {msg}, {rate}/s, {eta} left",
            None => "{spinner} {human_pos} {msg}, {rate}/s, {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
        });
        let bar = ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr_with_hz(5))
            .with_style(style)
            .with_message(self.what)
            .with_elapsed(self.started.elapsed())
            .with_position(done);
        bar.tick();
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
