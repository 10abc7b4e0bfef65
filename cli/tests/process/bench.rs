//! `keylane bench`: a short run, the names of its JSON that stay, and its exit code.

use serde_json::Value;

use crate::support::run;

/// Names that scripts may rely on.
const NAMES: [&str; 16] = [
    "/throughput/records_per_second",
    "/throughput/megabytes_per_second",
    "/verify/lost",
    "/verify/duplicated",
    "/verify/reordered",
    "/latency_ms/publish/p50",
    "/latency_ms/publish/p99",
    "/latency_ms/publish/p999",
    "/latency_ms/publish/max",
    "/latency_ms/end_to_end/p50",
    "/latency_ms/end_to_end/max",
    "/cpu_seconds_per_gb/broker",
    "/limit/throughput_ratio",
    "/limit/latency_p50_ratio",
    "/limit/latency_p99_ratio",
    "/limit/generator_bound",
];

#[test]
fn a_short_run_is_verified_and_written_under_names_that_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (json, svg) = (path("report.json"), path("report.svg"));
    let printed = run([
        "bench",
        "--duration",
        "300ms",
        "--partitions",
        "2",
        "--readers",
        "1",
        "--json",
        &json,
        "--svg",
        &svg,
    ])
    .expect_success();
    assert!(
        printed.contains("PASSED: 0 lost, 0 duplicated, 0 reordered"),
        "{printed}"
    );

    let report = std::fs::read_to_string(&json).expect("the report is written");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    for name in NAMES {
        let value = report.pointer(name);
        assert!(
            value.is_some_and(|value| !value.is_null()),
            "{name} in {report:#}"
        );
    }
    let picture = std::fs::read_to_string(&svg).expect("the picture is written");
    assert!(picture.contains("<svg"), "{picture}");
}

#[test]
fn wrong_flags_of_the_bench_are_told_together() {
    run([
        "bench",
        "--producers",
        "0",
        "--input",
        "rows.csv",
        "--repeat",
        "0",
    ])
    .expect_failure(
        2,
        &[
            "--producers must be",
            "--input FILE and --key COLUMN go together",
            "--repeat must be",
        ],
    );
}

#[test]
fn the_limit_needs_no_broker() {
    let printed = run(["bench", "limit", "--duration", "200ms"]).expect_success();
    assert!(printed.contains("limit"), "{printed}");
}
