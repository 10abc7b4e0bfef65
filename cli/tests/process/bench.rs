//! `keylane bench`: a short run, the names of its JSON that stay, and its exit code.

use serde_json::Value;

use crate::support::run;

/// Names that scripts may rely on.
const NAMES: [&str; 19] = [
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
    "/cpu_seconds_per_gb/router",
    "/cpu_seconds_per_gb/broker-3",
    "/cpu_seconds_per_gb/router-1",
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

    let report = read(&json);
    for name in NAMES {
        let value = report.pointer(name);
        assert!(
            value.is_some_and(|value| !value.is_null()),
            "{name} in {report:#}"
        );
    }
    assert_eq!(report["scenarios"][0]["config"]["brokers"], 3);
    assert_eq!(report["scenarios"][0]["config"]["through"], "router");
    let picture = std::fs::read_to_string(&svg).expect("the picture is written");
    assert!(picture.contains("<svg"), "{picture}");
}

fn read(report: &str) -> Value {
    let report = std::fs::read_to_string(report).expect("the report is written");
    serde_json::from_str(&report).expect("JSON")
}

#[test]
fn brokers_are_dialled_without_routers_and_routers_share_the_producers() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let json = json.to_str().expect("text");
    let cases: [(&[&str], &[&str]); 2] = [
        (
            &["--through", "broker", "--brokers", "2"],
            &["broker", "broker-1", "broker-2", "generator", "null_broker"],
        ),
        (
            &["--routers", "2", "--brokers", "1"],
            &[
                "broker",
                "broker-1",
                "generator",
                "null_broker",
                "router",
                "router-1",
                "router-2",
            ],
        ),
    ];
    for (flags, processes) in cases {
        let duration = [
            "bench",
            "--duration",
            "200ms",
            "--partitions",
            "4",
            "--json",
            json,
        ];
        let printed = run([&duration, flags].concat()).expect_success();
        assert!(printed.contains("PASSED: 0 lost"), "{printed}");
        let report = read(json);
        let cpu = report["cpu_seconds_per_gb"].as_object().expect("processes");
        assert_eq!(cpu.keys().collect::<Vec<_>>(), processes);
        let spent = |name: &&&str| cpu[**name].as_f64().is_some_and(|seconds| seconds > 0.0);
        assert!(processes.iter().all(|name| spent(&name)), "{cpu:?}");
    }
}

#[test]
fn scale_measures_each_number_of_brokers() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let json = json.to_str().expect("text");
    let flags = [
        "--brokers",
        "1,2",
        "--partitions",
        "4",
        "--duration",
        "200ms",
    ];
    let printed = run([&["bench", "scale", "--json", json], &flags[..]].concat());
    let printed = printed.expect_success();
    for line in [
        "one broker behind a router, 4 partitions",
        "2 brokers behind a router",
    ] {
        assert!(printed.contains(line), "should show {line}\n{printed}");
    }
    let report = read(json);
    let names: Vec<_> = report["scenarios"]
        .as_array()
        .expect("scenarios")
        .iter()
        .collect();
    assert_eq!(names[0]["name"], "1-brokers-4-partitions");
    assert_eq!(names[1]["name"], "2-brokers-4-partitions");
    assert!(names[1]["cluster"]["cpu_seconds_per_gb"]["broker-2"].is_number());
}

#[test]
fn both_paths_are_measured_in_turn_through_the_same_router_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let json = json.to_str().expect("text");
    let flags = [
        "--path",
        "both",
        "--brokers",
        "1",
        "--partitions",
        "4",
        "--readers",
        "1",
        "--duration",
        "300ms",
    ];
    let printed = run([&["bench", "--json", json], &flags[..]].concat()).expect_success();
    assert!(
        printed.contains("PASSED: 0 lost, 0 duplicated, 0 reordered"),
        "{printed}"
    );
    assert!(
        printed.contains("of the throughput of partitioned"),
        "{printed}"
    );
    let report = read(json);
    let scenario = &report["scenarios"][0];
    let mut records = 0.0;
    for (side, path) in [("cluster", "routed"), ("partitioned", "partitioned")] {
        let side = &scenario[side];
        assert_eq!(side["path"], path);
        let slots = side["slots_megabytes_per_second"]
            .as_array()
            .expect("slots");
        assert_eq!(slots.len(), 2, "{side:#}");
        let rate = side["throughput"]["records_per_second"].as_f64();
        assert!(rate.is_some_and(|rate| rate > 0.0), "{side:#}");
        assert!(
            side["records_per_batch"]
                .as_f64()
                .is_some_and(|number| number >= 1.0)
        );
        records += side["latency_ms"]["end_to_end"]["count"]
            .as_f64()
            .expect("a reader");
    }
    // All four slots were read, live and again.
    let read_back = report["verify"]["read"].as_f64().expect("a number");
    assert!(
        (read_back - 2.0 * records).abs() < 0.5,
        "{read_back} {records}"
    );
    for name in ["throughput_ratio", "cpu_ratio"] {
        assert!(
            scenario["routed_by_partitioned"][name].is_number(),
            "{scenario:#}"
        );
    }
    assert_eq!(scenario["null_broker"]["path"], "partitioned");
}

#[test]
fn one_path_can_be_chosen_and_the_report_says_which_was_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let json = json.to_str().expect("text");
    let cases: [(&[&str], &str); 3] = [
        (&[], "routed"),
        (&["--path", "partitioned"], "partitioned"),
        (&["--through", "broker"], "partitioned"),
    ];
    for (flags, path) in cases {
        let short = [
            "bench",
            "--duration",
            "200ms",
            "--brokers",
            "1",
            "--json",
            json,
        ];
        let printed = run([&short, flags].concat()).expect_success();
        assert!(printed.contains("PASSED: 0 lost"), "{printed}");
        let scenario = &read(json)["scenarios"][0];
        assert_eq!(scenario["cluster"]["path"], path, "{flags:?}");
        assert!(scenario["partitioned"].is_null());
    }
    run([
        "bench",
        "--path",
        "routed",
        "--through",
        "broker",
        "--acks",
        "1",
    ])
    .expect_failure(
        2,
        &[
            "--path: brokers take partitioned batches only",
            "--path: routed batches are always acknowledged by all",
        ],
    );
}

#[test]
fn many_small_producers_are_measured_with_what_they_cost() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let json = json.to_str().expect("text");
    let flags = [
        "--path",
        "both",
        "--producers",
        "200",
        "--clients",
        "4",
        "--in-flight",
        "1",
        "--record-size",
        "100",
        "--brokers",
        "1",
        "--partitions",
        "4",
        "--duration",
        "300ms",
    ];
    let printed = run([&["bench", "--json", json], &flags[..]].concat()).expect_success();
    assert!(printed.contains("PASSED: 0 lost"), "{printed}");
    assert!(
        printed.contains("CPU s per million records: broker-1"),
        "{printed}"
    );
    let scenario = &read(json)["scenarios"][0];
    assert_eq!(scenario["config"]["producers"], 200);
    assert_eq!(scenario["config"]["clients"], 4);
    let input = scenario["config"]["input"].as_str().expect("text");
    assert!(input.contains("keys as in flights"), "{input}");
    for (side, sockets) in [
        // Producers of a client share its connections.
        ("cluster", 4..=20),
        // One for each producer and one or two for each client, and those of the runtimes.
        ("partitioned", 204..=220),
        ("null_broker", 204..=220),
        ("null_relay", 204..=220),
    ] {
        for name in [
            "/fsyncs_per_second",
            "/produce_requests_per_second",
            "/sockets",
            "/records_per_batch",
            "/bytes_per_batch",
            "/stored_bytes_per_batch",
            "/cpu_seconds_per_million_records/generator",
        ] {
            let number = scenario[side].pointer(name).and_then(Value::as_f64);
            let is_told = number.is_some_and(|number| number > 0.0);
            assert!(is_told, "{name} in {:#}", scenario[side]);
        }
        let found = scenario[side]["sockets"].as_u64().expect("a number");
        assert!(sockets.contains(&found), "{side}: {found}");
    }
}

#[test]
fn wrong_flags_of_the_bench_are_told_together() {
    run([
        "bench",
        "--producers",
        "0",
        "--in-flight",
        "1",
        "--rate",
        "1",
        "--routers",
        "0",
        "--brokers",
        "1,2",
        "--input",
        "rows.csv",
        "--repeat",
        "0",
    ])
    .expect_failure(
        2,
        &[
            "--routers: clients dial either",
            "several numbers of --brokers",
            "--producers must be",
            "--in-flight waits for acknowledgements",
            "--input FILE and --key COLUMN go together",
            "--repeat must be",
        ],
    );
}

#[test]
fn the_limit_needs_no_broker() {
    let printed = run(["bench", "limit", "--duration", "200ms"]).expect_success();
    assert!(printed.contains("limit"), "{printed}");
    assert!(
        printed.contains("behind a null relay the null broker reaches"),
        "{printed}"
    );
}
