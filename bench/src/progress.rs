//! How far a run is: a bar on a terminal, one line per step elsewhere. On standard error, so that results stay apart.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows the steps of a run.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: u64,
    step: u64,
}

impl Progress {
    /// Returns a display of so many steps.
    ///
    /// # Panics
    /// Never: the template is a constant.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let template = "{spinner} [{elapsed}] {bar:24} {pos}/{len} {msg}";
            let style = ProgressStyle::with_template(template).expect("the template is sound");
            let bar = ProgressBar::new(steps).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            steps,
            step: 0,
        }
    }

    /// Begins the next step.
    pub fn begin(&mut self, what: &str) {
        self.step += 1;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.step - 1);
                bar.set_message(what.to_owned());
            }
            None => line(&format!("[{}/{}] {what}", self.step, self.steps)),
        }
    }

    /// Says more about the step that runs; on a terminal only.
    pub fn note(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line of text; if nobody takes it, nobody misses it.
fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
