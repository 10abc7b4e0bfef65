//! The report as plain text, aligned, one line per scenario.

use std::io::{self, Write};

use super::{Report, ScenarioReport, Side};
use crate::latency::LatencySummary;
use crate::options::{ProducePath, Through};

/// The columns' heads, two lines each; numbers stand right, the first column left.
const HEADS: [[&str; 2]; 9] = [
    ["workload", ""],
    ["", "records/s"],
    ["", "MB/s"],
    ["limit", "MB/s"],
    ["of the", "limit"],
    ["publish ms", "p50 / p99"],
    ["limit ms", "p50 / p99"],
    ["CPU s/GB", "ours / limit"],
    ["per batch", "records / bytes"],
];

/// From so many producers on, they are a fleet of small ones, of which more is told.
const FLEET_PRODUCERS_MIN: u32 = 100;

/// Writes the table, notes and the verdict.
///
/// # Errors
/// When the output does not take it.
pub fn write_table(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    let machine = &report.machine;
    writeln!(
        output,
        "keylane {} on {} core(s) of {}, Linux {}, {:.1} GiB, {}\n",
        report.version,
        machine.cores,
        machine.processor,
        machine.kernel,
        super::quotient(machine.memory_bytes, 1 << 30),
        machine.filesystem,
    )?;
    let mut lines: Vec<Vec<String>> = vec![heads(0), heads(1)];
    for scenario in &report.scenarios {
        lines.push(cells(
            scenario,
            scenario.cluster.as_ref(),
            scenario.limit.throughput_ratio,
        ));
        if let Some(beside) = &scenario.partitioned {
            lines.push(cells(
                scenario,
                Some(beside),
                ratio_to_limit(scenario, beside),
            ));
        }
    }
    write_aligned(&lines, output)?;
    write_notes(report, output)?;
    writeln!(output, "\n{}", report.verdict)
}

fn heads(line: usize) -> Vec<String> {
    HEADS.iter().map(|head| head[line].to_owned()).collect()
}

/// Returns the line of one side of a scenario.
fn cells(scenario: &ScenarioReport, ours: Option<&Side>, ratio: Option<f64>) -> Vec<String> {
    let null = scenario.null_broker.as_ref();
    let shown = ours.or(null);
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let mark = if scenario.limit.generator_bound {
        "*"
    } else {
        ""
    };
    let limit_latency = match (&scenario.fdatasync_ms, &scenario.round_trip_ms) {
        (Some(sync), Some(trip)) => Some(pair(sync.p50 + trip.p50, sync.p99 + trip.p99)),
        _ => null.map(|null| latency(&null.latency_ms.publish)),
    };
    vec![
        title(scenario, ours),
        text(shown.map(|side| grouped(side.throughput.records_per_second))),
        text(shown.map(|side| decimal(side.throughput.megabytes_per_second))),
        text(null.map(|side| decimal(side.throughput.megabytes_per_second))),
        text(ratio.map(|ratio| format!("{ratio:.2}{mark}"))),
        text(shown.map(|side| latency(&side.latency_ms.publish))),
        text(limit_latency),
        text(processors(ours, null)),
        text(shown.and_then(per_batch)),
    ]
}

/// Returns a scenario's title, with the path that was taken where there is a choice.
fn title(scenario: &ScenarioReport, side: Option<&Side>) -> String {
    let path = side.and_then(|side| side.path);
    let path = path.filter(|_| scenario.config.through == Through::Router);
    path.map_or_else(
        || scenario.title.clone(),
        |path| format!("{}, {}", scenario.title, path.name()),
    )
}

/// Returns the throughput of the partitioned side by that of the null broker, where that of the routed one is told.
fn ratio_to_limit(scenario: &ScenarioReport, beside: &Side) -> Option<f64> {
    let rate = |side: &Side| side.throughput.records_per_second;
    let routed = rate(scenario.cluster.as_ref()?);
    let ratio = scenario.limit.throughput_ratio.filter(|_| routed > 0.0)?;
    Some(ratio * rate(beside) / routed)
}

fn per_batch(side: &Side) -> Option<String> {
    let (records, bytes) = side.records_per_batch.zip(side.bytes_per_batch)?;
    Some(pair(records, bytes))
}

fn processors(ours: Option<&Side>, null: Option<&Side>) -> Option<String> {
    let of = |side: Option<&Side>| side?.servers_cpu().map(decimal);
    let (ours, null) = (of(ours), of(null));
    if ours.is_none() && null.is_none() {
        return None;
    }
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    Some(format!("{} / {}", text(ours), text(null)))
}

fn latency(summary: &LatencySummary) -> String {
    pair(summary.p50, summary.p99)
}

fn pair(first: f64, second: f64) -> String {
    format!("{} / {}", decimal(first), decimal(second))
}

/// Returns a number with two or three digits that matter, or all before the point.
pub(super) fn decimal(number: f64) -> String {
    match number {
        number if number >= 100.0 => grouped(number),
        number if number >= 10.0 => format!("{number:.1}"),
        number if number >= 0.1 => format!("{number:.2}"),
        number => format!("{number:.4}"),
    }
}

/// Returns a number without fraction, in groups of three digits.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn write_aligned(lines: &[Vec<String>], output: &mut dyn Write) -> io::Result<()> {
    let width = |column: usize| {
        let cells = lines.iter().map(|cells| cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    for (number, cells) in lines.iter().enumerate() {
        let mut line = format!("{:<width$}", cells[0], width = widths[0]);
        for (cell, width) in cells.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        writeln!(output, "{}", line.trim_end())?;
        if number == 1 {
            let total: usize = widths.iter().map(|width| width + 2).sum();
            writeln!(output, "{}", "-".repeat(total - 2))?;
        }
    }
    Ok(())
}

fn write_notes(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output)?;
    let mut scenarios = report.scenarios.iter();
    if scenarios.any(|found| found.null_broker.is_some()) {
        writeln!(
            output,
            "The limit is the null broker (one thread: CRC, one write, one fdatasync, answers) under the same load \
             in the same run.\n* generator-bound: the load generator itself reaches less than 1.3 times the limit."
        )?;
    }
    for scenario in &report.scenarios {
        write_probes(scenario, output)?;
        write_end_to_end(scenario, output)?;
        write_relayed(scenario, output)?;
        write_processes(scenario, output)?;
        write_sides(scenario, output)?;
    }
    for adds in &report.router_adds {
        let mut scenarios = report.scenarios.iter();
        let title = scenarios.find(|found| found.name == adds.scenario);
        let title = title.map_or("", |found| &found.title);
        let cpu = adds.cpu_seconds_per_gb.map_or_else(
            || "an unknown amount of".to_owned(),
            |cpu| format!("{cpu:.2}"),
        );
        writeln!(
            output,
            "{title}: the router adds {:.2} ms to p50 and {cpu} CPU s/GB; {:.2} of the throughput without it.",
            adds.publish_p50_ms, adds.throughput_ratio
        )?;
    }
    for offence in &report.verify.first {
        writeln!(output, "{offence}")?;
    }
    Ok(())
}

fn write_probes(scenario: &ScenarioReport, output: &mut dyn Write) -> io::Result<()> {
    let Some((sync, trip)) = scenario.fdatasync_ms.zip(scenario.round_trip_ms) else {
        return Ok(());
    };
    let (title, sync, trip) = (&scenario.title, latency(&sync), latency(&trip));
    writeln!(
        output,
        "{title}: the limit of latency is a lone fdatasync, p50 / p99 {sync} ms, and a loopback round trip, {trip} ms."
    )
}

/// Says what the null broker reaches with a hop before it.
fn write_relayed(scenario: &ScenarioReport, output: &mut dyn Write) -> io::Result<()> {
    let Some(relayed) = &scenario.null_relay else {
        return Ok(());
    };
    let ratio = scenario.limit.relayed_throughput_ratio;
    let ratio = ratio.map_or_else(String::new, |ratio| {
        format!(", of which this is {ratio:.2}")
    });
    writeln!(
        output,
        "{}: behind a null relay the null broker reaches {} MB/s{ratio}; p50 / p99 {} ms, CPU s/GB {}.",
        scenario.title,
        decimal(relayed.throughput.megabytes_per_second),
        latency(&relayed.latency_ms.publish),
        by_process(relayed),
    )
}

/// Says which process took how much, if there are several.
fn write_processes(scenario: &ScenarioReport, output: &mut dyn Write) -> io::Result<()> {
    match &scenario.cluster {
        Some(side) if servers(side).count() > 1 => {
            writeln!(output, "{}: CPU s/GB {}.", scenario.title, by_process(side))
        }
        _ => Ok(()),
    }
}

/// Says what many small producers, or both paths, came to, and what the null broker makes of the same frames.
fn write_sides(scenario: &ScenarioReport, output: &mut dyn Write) -> io::Result<()> {
    let is_fleet = scenario.config.producers >= FLEET_PRODUCERS_MIN;
    if !is_fleet && scenario.partitioned.is_none() {
        return Ok(());
    }
    for (name, side) in [
        ("cluster", &scenario.cluster),
        ("cluster", &scenario.partitioned),
        ("null broker", &scenario.null_broker),
        ("null broker behind a null relay", &scenario.null_relay),
    ] {
        if let Some(side) = side {
            let name = side
                .path
                .filter(|_| name == "cluster")
                .map_or(name, ProducePath::name);
            writeln!(output, "{}, {name}: {}.", scenario.title, told_of(side))?;
        }
    }
    let Some(ratios) = scenario.routed_by_partitioned else {
        return Ok(());
    };
    writeln!(
        output,
        "{}: routed reaches {:.2} of the throughput of partitioned, for {:.2} of its processor time per record.",
        scenario.title, ratios.throughput_ratio, ratios.cpu_ratio
    )
}

fn told_of(side: &Side) -> String {
    let mut parts = vec![format!(
        "{} records/s, p50 / p99 {} ms",
        decimal(side.throughput.records_per_second),
        latency(&side.latency_ms.publish)
    )];
    let sockets = side.sockets.map(|sockets| super::quotient(sockets, 1));
    parts.extend(sockets.map(|sockets| format!("{} sockets", grouped(sockets))));
    let mut add = |number: Option<f64>, what: &str| {
        parts.extend(number.map(|number| format!("{} {what}", decimal(number))));
    };
    add(side.produce_requests_per_second, "requests/s");
    add(side.fsyncs_per_second, "fsyncs/s");
    add(side.records_per_batch, "records per batch");
    add(side.stored_bytes_per_batch, "stored bytes per batch");
    let spent = side.cpu_seconds_per_million_records.iter();
    let spent = spent.filter(|(name, _)| !is_sum(name));
    let spent = spent.map(|(name, cpu)| format!("{name} {}", decimal(*cpu)));
    parts.push(format!(
        "CPU s per million records: {}",
        spent.collect::<Vec<_>>().join(", ")
    ));
    parts.join("; ")
}

fn by_process(side: &Side) -> String {
    let parts = servers(side).map(|(name, cpu)| format!("{name} {}", decimal(cpu)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns the servers of a side with their processor time, without the sums.
fn servers(side: &Side) -> impl Iterator<Item = (&str, f64)> {
    let all = side.cpu_seconds_per_gb.iter();
    all.filter(|(name, _)| !is_sum(name) && name.as_str() != "generator")
        .map(|(name, cpu)| (name.as_str(), *cpu))
}

/// Returns whether a name stands for several processes together.
pub(super) fn is_sum(name: &str) -> bool {
    matches!(name, "broker" | "router")
}

fn write_end_to_end(scenario: &ScenarioReport, output: &mut dyn Write) -> io::Result<()> {
    let of = |side: Option<&Side>| side.and_then(|side| side.latency_ms.end_to_end);
    let Some(found) = of(scenario.cluster.as_ref()) else {
        return Ok(());
    };
    let limit = of(scenario.null_broker.as_ref());
    let limit = limit.map_or_else(String::new, |limit| format!("; limit {}", latency(&limit)));
    writeln!(
        output,
        "{}: until the reader has it, p50 / p99 {} ms{limit}.",
        scenario.title,
        latency(&found)
    )
}
