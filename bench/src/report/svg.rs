//! The report as one picture: a pair of bars per scenario for throughput, ours and the limit's, and beside it the
//! median and 99th percentile of publish latency on a logarithmic scale.

use std::fmt::Write;

use super::table::decimal;
use super::{Report, ScenarioReport, Side};
use crate::latency::LatencySummary;

const WIDTH: f64 = 1000.0;
const ROW: f64 = 58.0;
const TOP: f64 = 74.0;
const BOTTOM: f64 = 44.0;
const LABEL: f64 = 20.0;
const BARS: f64 = 345.0;
const BARS_WIDTH: f64 = 290.0;
const LATENCY: f64 = 690.0;
const LATENCY_WIDTH: f64 = 280.0;
const OURS: &str = "#1f6feb";
const LIMIT: &str = "#9aa4b2";

/// Latencies from 10 microseconds to 10 seconds have a place.
const DECADES: [f64; 7] = [0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0];

/// Returns the picture as SVG text.
#[must_use]
pub fn write_svg(report: &Report) -> String {
    let mut picture = Picture {
        text: String::new(),
    };
    let rows = super::quotient(report.scenarios.len() as u64, 1);
    let height = TOP + ROW * rows + BOTTOM;
    picture.begin(height);
    picture.heads(report, height);
    let mut top = TOP;
    for scenario in &report.scenarios {
        picture.scenario(scenario, top);
        top += ROW;
    }
    picture.text.push_str("</svg>\n");
    picture.text
}

struct Picture {
    text: String,
}

impl Picture {
    fn begin(&mut self, height: f64) {
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#1b1f24\">"
        ));
        self.put(format_args!(
            "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
        ));
    }

    fn heads(&mut self, report: &Report, height: f64) {
        self.label(LABEL, 28.0, "start", "Keylane against its limit");
        self.label(BARS, 52.0, "start", "throughput, MB/s");
        self.label(LATENCY, 52.0, "start", "publish latency, ms: p50 to p99");
        self.rect([LABEL, 43.0, 10.0, 10.0], OURS);
        self.label(LABEL + 15.0, 52.0, "start", "Keylane");
        self.rect([LABEL + 80.0, 43.0, 10.0, 10.0], LIMIT);
        self.label(LABEL + 95.0, 52.0, "start", "limit");
        for decade in DECADES {
            let x = place(decade);
            self.put(format_args!(
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#e4e7eb\"/>",
                height - BOTTOM
            ));
            self.label(x, height - BOTTOM + 16.0, "middle", &format!("{decade}"));
        }
        let verdict = report.verdict.split(';').next().unwrap_or_default();
        self.label(LABEL, height - 14.0, "start", verdict);
    }

    fn scenario(&mut self, scenario: &ScenarioReport, top: f64) {
        self.label(LABEL, top + 24.0, "start", &scenario.title);
        let sides = [
            (scenario.cluster.as_ref(), OURS),
            (scenario.null_broker.as_ref(), LIMIT),
        ];
        let rate = |side: &Side| side.throughput.megabytes_per_second;
        let rates = sides.iter().filter_map(|(side, _)| side.map(rate));
        // Each scenario has its own scale: they differ by orders of magnitude.
        let most = rates.fold(f64::MIN_POSITIVE, f64::max);
        let mut y = top + 8.0;
        for (side, color) in sides {
            if let Some(side) = side {
                let width = (rate(side) / most * (BARS_WIDTH - 60.0)).max(1.0);
                self.rect([BARS, y, width, 16.0], color);
                self.label(BARS + width + 6.0, y + 12.5, "start", &decimal(rate(side)));
            }
            y += 20.0;
        }
        let limit = limit_latency(scenario);
        let ours = scenario
            .cluster
            .as_ref()
            .map(|side| side.latency_ms.publish);
        self.span(ours, top + 16.0, OURS);
        self.span(limit, top + 36.0, LIMIT);
    }

    /// Draws a line from the median, a dot, to the 99th percentile, a tick.
    fn span(&mut self, latency: Option<LatencySummary>, y: f64, color: &str) {
        let Some(latency) = latency.filter(|latency| latency.p50 > 0.0) else {
            return;
        };
        let (from, to) = (place(latency.p50), place(latency.p99));
        self.put(format_args!(
            "<path d=\"M{from:.1} {y:.1}H{to:.1}M{to:.1} {:.1}v10\" stroke=\"{color}\" stroke-width=\"3\" \
             fill=\"none\"/>",
            y - 5.0
        ));
        self.put(format_args!(
            "<circle cx=\"{from:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{color}\"/>"
        ));
    }

    fn rect(&mut self, [x, y, width, height]: [f64; 4], color: &str) {
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{color}\"/>"
        ));
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{element}").expect("a string takes everything");
    }
}

fn limit_latency(scenario: &ScenarioReport) -> Option<LatencySummary> {
    match (scenario.fdatasync_ms, scenario.round_trip_ms) {
        (Some(sync), Some(trip)) => Some(LatencySummary {
            p50: sync.p50 + trip.p50,
            p99: sync.p99 + trip.p99,
            ..sync
        }),
        _ => scenario
            .null_broker
            .as_ref()
            .map(|side| side.latency_ms.publish),
    }
}

/// Returns where a latency stands, on a logarithmic scale.
fn place(milliseconds: f64) -> f64 {
    let [first, .., last] = DECADES;
    let decades = (last / first).log10();
    let at = (milliseconds.clamp(first, last) / first).log10() / decades;
    LATENCY + at * LATENCY_WIDTH
}
