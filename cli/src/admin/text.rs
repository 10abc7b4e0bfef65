//! Writes metrics in Prometheus' text format, version 0.0.4.
//!
//! ```text
//! # HELP name words
//! # TYPE name counter
//! name{label="value",…} 12
//! ```

use std::fmt::{Display, Write};

use super::cells::{Distribution, SECONDS};

/// What an answer says that its body is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The labels of a series, as they stand between the braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(String);

impl Labels {
    /// Returns the labels with one more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                character => self.0.push(character),
            }
        }
        self.0.push('"');
        self
    }
}

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its series follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {}", kind.word()));
    }

    /// Writes a series.
    pub(super) fn sample(&mut self, name: &str, labels: &Labels, value: impl Display) {
        self.line(format_args!("{name}{{{}}} {value}", labels.0));
    }

    /// Writes the series of a histogram.
    pub(super) fn histogram(&mut self, name: &str, labels: &Labels, values: &Distribution) {
        let bounds = SECONDS.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&values.cumulative) {
            let labels = &labels.0;
            self.line(format_args!(
                "{name}_bucket{{{labels},le=\"{bound}\"}} {count}"
            ));
        }
        self.sample(&format!("{name}_sum"), labels, values.sum);
        let count = values.cumulative.last().copied().unwrap_or(0);
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut exposition = Exposition::default();
        exposition.family("a_total", Kind::Counter, "one\\two\nthree");
        let labels = Labels::default().with("node", "b").with("t", "a\"b\\c\nd");
        exposition.sample("a_total", &labels, 3);
        let expected = "# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\n\
                        a_total{node=\"b\",t=\"a\\\"b\\\\c\\nd\"} 3\n";
        assert_eq!(exposition.into_text(), expected);
    }

    #[test]
    fn a_histogram_has_its_buckets_sum_and_count() {
        let mut exposition = Exposition::default();
        let values = Distribution {
            cumulative: (1..=21).collect(),
            sum: 1.5,
        };
        exposition.histogram("s", &Labels::default().with("node", "n"), &values);
        let text = exposition.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 23);
        assert_eq!(lines[0], "s_bucket{node=\"n\",le=\"0.00001\"} 1");
        assert_eq!(lines[20], "s_bucket{node=\"n\",le=\"+Inf\"} 21");
        assert_eq!(
            lines[21..],
            ["s_sum{node=\"n\"} 1.5", "s_count{node=\"n\"} 21"]
        );
    }
}
