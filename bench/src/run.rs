//! A whole run: from the options to table, JSON, picture and verdict.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::interrupt::remove_when_interrupted;
use crate::machine::{Machine, disk_folder, free_bytes};
use crate::measure::{BenchError, Measurer, machine};
use crate::options::{BenchOptions, Extent};
use crate::progress::Progress;
use crate::report::{Report, write_svg, write_table};
use crate::scenario::Scenario;
use crate::tour::{self, HEADLINE, HEADLINE_LATENCY};

/// The most bytes that a slot of the tour sends.
const TOUR_SLOT_BYTES_MAX: u64 = 3 << 30;

/// The most bytes that a slot of the tour sends which measures memory, since it takes longer to be given that.
const TOUR_MEMORY_SLOT_BYTES_MAX: u64 = 512 << 20;

/// The share of the free bytes that a slot may send: those of a cluster's topic and a null broker's file lie side by
/// side for a moment, and the broker keeps a reserve.
const FREE_SHARE: u64 = 4;

/// What a slot must be able to send at least.
const SLOT_BYTES_MIN: u64 = 128 << 20;

/// Runs what the options say, prints the table on standard output, and returns the report; its `is_clean` decides how
/// the process should end.
///
/// # Errors
/// When the options make no sense, or something other than the verification fails.
pub fn run(options: &BenchOptions) -> Result<Report, BenchError> {
    let faults = options.faults();
    if !faults.is_empty() {
        return Err(BenchError::Options { faults });
    }
    let start_ns = monotonic_ns();
    let mut report = run_scenarios(options)?;
    report.seconds = Duration::from_nanos(monotonic_ns() - start_ns).as_secs_f64();
    report.version = env!("CARGO_PKG_VERSION").to_owned();
    report.summarize(HEADLINE, HEADLINE_LATENCY);
    write_table(&report, &mut io::stdout().lock())
        .map_err(|source| machine("print the report", source))?;
    write_files(options, &report)?;
    Ok(report)
}

fn run_scenarios(options: &BenchOptions) -> Result<Report, BenchError> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|source| machine("find this program", source))?,
    };
    let folder = data_folder(options)?;
    let own = tempfile::Builder::new()
        .prefix("keylane-bench-")
        .tempdir_in(&folder)
        .map_err(|source| machine(&format!("write to {}", folder.display()), source))?;
    remove_when_interrupted(own.path().to_owned())
        .map_err(|source| machine("listen for signals", source))?;
    let scenarios = if options.extent == Extent::Scale || options.describes_workload() {
        Scenario::of_options(options)
    } else {
        tour::scenarios()
    };
    let mut progress = Progress::new(scenarios.len() as u64);
    let mut report = Report {
        machine: Machine::of_folder(&folder),
        ..Report::default()
    };
    let is_tour = options.extent != Extent::Scale && !options.describes_workload();
    for scenario in &scenarios {
        progress.begin(&scenario.title);
        let measurer = Measurer {
            program: &program,
            folder: own.path(),
            connect: options.connect.as_deref(),
            limit_only: options.extent == Extent::Limit,
            slot_bytes_max: slot_bytes(options, &folder)?,
            memory_slot_bytes_max: if is_tour {
                TOUR_MEMORY_SLOT_BYTES_MAX
            } else {
                u64::MAX
            },
            progress: &progress,
        };
        report.scenarios.push(measurer.measure(scenario)?);
    }
    progress.finish();
    Ok(report)
}

fn data_folder(options: &BenchOptions) -> Result<PathBuf, BenchError> {
    match &options.data {
        Some(folder) => Ok(folder.clone()),
        None => disk_folder().map_err(|source| machine("find a folder to measure in", source)),
    }
}

/// Returns how many bytes a slot may send: a fixed number in the tour, else as many as there is room for.
fn slot_bytes(options: &BenchOptions, folder: &Path) -> Result<u64, BenchError> {
    let free = free_bytes(folder).map_err(|source| machine("ask for free space", source))?;
    let share = free / FREE_SHARE;
    if share < SLOT_BYTES_MIN {
        return Err(BenchError::NoSpace {
            folder: folder.to_owned(),
            free_mib: free >> 20,
            needed_mib: (SLOT_BYTES_MIN * FREE_SHARE) >> 20,
        });
    }
    if options.describes_workload() {
        Ok(share)
    } else {
        Ok(share.min(TOUR_SLOT_BYTES_MAX))
    }
}

fn write_files(options: &BenchOptions, report: &Report) -> Result<(), BenchError> {
    let write = |path: &Path, bytes: &[u8]| {
        let written = std::fs::write(path, bytes);
        written.map_err(|source| machine(&format!("write {}", path.display()), source))
    };
    if let Some(path) = &options.json {
        let mut json = serde_json::to_vec_pretty(report)
            .map_err(|error| machine("write the report as JSON", error.into()))?;
        json.write_all(b"\n")
            .map_err(|source| machine("write the report as JSON", source))?;
        write(path, &json)?;
    }
    if let Some(path) = &options.svg {
        write(path, write_svg(report).as_bytes())?;
    }
    Ok(())
}
