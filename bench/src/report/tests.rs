//! What is printed is in the JSON, under the names that were promised.

use super::*;
use crate::options::BenchOptions;
use crate::scenario::Scenario;

fn side(megabytes_per_second: f64, processes: &[&str]) -> Side {
    let publish = LatencySummary {
        p50: 100.0 / megabytes_per_second,
        p99: 1.5,
        p999: 3.0,
        max: 9.0,
        count: 1_000,
    };
    Side {
        throughput: Throughput {
            records_per_second: megabytes_per_second * 1_000.0,
            megabytes_per_second,
        },
        slots_megabytes_per_second: vec![megabytes_per_second],
        latency_ms: LatencyMs {
            publish,
            end_to_end: Some(publish),
        },
        cpu_seconds_per_gb: processes
            .iter()
            .map(|name| ((*name).to_owned(), 1.25))
            .collect(),
        records_per_batch: Some(124.0),
        bytes_per_batch: Some(130_000.0),
        sockets: Some(1_016),
        fsyncs_per_second: Some(2_500.0),
        cpu_seconds_per_million_records: processes
            .iter()
            .map(|name| ((*name).to_owned(), 7.5))
            .collect(),
        ..Side::default()
    }
}

fn report() -> Report {
    let scenario = |name: &str| ScenarioReport {
        name: name.to_owned(),
        title: format!("the scenario <{name}>"),
        config: Scenario::of_options(&BenchOptions::default())[0].config(),
        cluster: Some(side(400.0, &["broker-1", "broker"])),
        null_broker: Some(side(500.0, &["null_broker"])),
        partitioned: None,
        routed_by_partitioned: None,
        null_relay: None,
        unrouted: None,
        sink: None,
        fdatasync_ms: None,
        round_trip_ms: None,
        limit: Limit {
            throughput_ratio: Some(0.8),
            relayed_throughput_ratio: None,
            latency_p50_ratio: Some(1.2),
            latency_p99_ratio: Some(1.4),
            latency_against: "the null broker",
            generator_bound: name == "a",
        },
        verify: Verdict {
            read: 1_234_567,
            ..Verdict::default()
        },
    };
    let mut routed = scenario("c");
    routed.cluster = Some(side(200.0, &["broker-1", "broker", "router-1", "router"]));
    routed.null_relay = Some(side(250.0, &["null_broker", "null_relay"]));
    routed.limit.relayed_throughput_ratio = Some(0.8);
    routed.limit.throughput_ratio = Some(0.4);
    routed.unrouted = Some("b");
    let mut report = Report {
        scenarios: vec![scenario("a"), scenario("b"), routed],
        ..Report::default()
    };
    report.summarize("b", "a");
    report
}

#[test]
fn the_promised_names_are_in_the_json() {
    let json = serde_json::to_value(report()).expect("plain data");
    for path in [
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
        "/cpu_seconds_per_gb/null_broker",
        "/limit/throughput_ratio",
        "/limit/latency_p50_ratio",
        "/limit/latency_p99_ratio",
        "/cpu_seconds_per_gb/broker-1",
        "/scenarios/2/cluster/cpu_seconds_per_gb/router-1",
        "/scenarios/2/null_relay/cpu_seconds_per_gb/null_relay",
        "/scenarios/2/limit/relayed_throughput_ratio",
        "/router_adds/0/publish_p50_ms",
        "/router_adds/0/cpu_seconds_per_gb",
        "/router_adds/0/throughput_ratio",
    ] {
        let value = json.pointer(path);
        assert!(
            value.is_some_and(serde_json::Value::is_number),
            "{path}: {value:?}"
        );
    }
    assert_eq!(json.pointer("/limit/generator_bound"), Some(&false.into()));
}

#[test]
fn what_a_router_adds_is_the_difference_to_the_same_without() {
    let report = report();
    let [adds] = &report.router_adds[..] else {
        panic!("{:?}", report.router_adds);
    };
    assert_eq!(adds.scenario, "c");
    assert!((adds.publish_p50_ms - 0.25).abs() < 1e-9, "{adds:?}");
    assert!(
        (adds.cpu_seconds_per_gb.expect("told") - 1.25).abs() < 1e-9,
        "{adds:?}"
    );
    assert!((adds.throughput_ratio - 0.5).abs() < 1e-9, "{adds:?}");
}

#[test]
fn the_table_is_aligned_and_ends_with_the_verdict() {
    let mut output = Vec::new();
    write_table(&report(), &mut output).expect("memory");
    let text = String::from_utf8(output).expect("text");
    let is_row = |line: &&str| line.starts_with("the scenario <") && line.contains("400,000");
    let rows: Vec<&str> = text.lines().filter(is_row).collect();
    let places: Vec<_> = rows.iter().map(|row| row.find(" / 1.50")).collect();
    assert!(rows.len() == 2 && places[0] == places[1], "{text}");
    assert!(rows[0].contains("0.80*"));
    let says = |line: &str| assert!(text.contains(line), "should say {line}\n{text}");
    says("behind a null relay the null broker reaches 250 MB/s, of which this is 0.80");
    says("the router adds 0.25 ms to p50 and 1.25 CPU s/GB");
    let verdict = text.lines().last().expect("a line");
    assert!(
        verdict.starts_with("PASSED: 0 lost, 0 duplicated, 0 reordered"),
        "{verdict}"
    );
    assert!(verdict.contains("3,703,701 records"), "{verdict}");
}

#[test]
fn of_a_fleet_more_is_told() {
    let text = |report: &Report| {
        let mut output = Vec::new();
        write_table(report, &mut output).expect("memory");
        String::from_utf8(output).expect("text")
    };
    let mut report = report();
    assert!(!text(&report).contains("sockets"));
    report.scenarios[0].config.producers = 1_000;
    let told = text(&report);
    let line = "the scenario <a>, cluster: 400,000 records/s, p50 / p99 0.25 / 1.50 ms; 1,016 sockets; 2,500 fsyncs/s; \
                124 records per batch; CPU s per million records: broker-1 7.50.";
    assert!(told.contains(line), "{told}");
    assert!(
        told.contains("the scenario <a>, null broker: 500,000"),
        "{told}"
    );
    assert!(told.contains("124 / 130,000"), "{told}");
}

#[test]
fn both_paths_stand_beside_one_another() {
    let mut report = report();
    let scenario = &mut report.scenarios[2];
    let mut partitioned = side(
        50.0,
        &["broker-1", "broker", "router-1", "router", "generator"],
    );
    partitioned.path = Some(ProducePath::Partitioned);
    let routed = scenario.cluster.as_mut().expect("measured");
    routed.path = Some(ProducePath::Routed);
    let ratios = PathRatios::between(Some(routed), Some(&partitioned));
    let ratios = ratios.expect("both were measured");
    assert!((ratios.throughput_ratio - 4.0).abs() < 1e-9, "{ratios:?}");
    // Two processes by three, sums not counted again.
    assert!((ratios.cpu_ratio - 2.0 / 3.0).abs() < 1e-9, "{ratios:?}");
    assert_eq!(PathRatios::between(Some(&partitioned), None), None);
    scenario.routed_by_partitioned = Some(ratios);
    scenario.partitioned = Some(partitioned);
    let mut output = Vec::new();
    write_table(&report, &mut output).expect("memory");
    let text = String::from_utf8(output).expect("text");
    let row = |name: &str| {
        let found = text.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("{name} in {text}"))
    };
    assert!(row("the scenario <c>, routed  ").contains("0.40"), "{text}");
    assert!(
        row("the scenario <c>, partitioned  ").contains("0.10"),
        "{text}"
    );
    assert!(row("the scenario <c>, partitioned: ").contains("50,000 records/s"));
    assert!(row("the scenario <c>: routed reaches 4.00").contains("for 0.67"));
    let json = serde_json::to_value(&report).expect("plain data");
    for (path, expected) in [
        ("/scenarios/2/cluster/path", "routed"),
        ("/scenarios/2/partitioned/path", "partitioned"),
    ] {
        assert_eq!(json.pointer(path), Some(&expected.into()));
    }
    let ratio = json.pointer("/scenarios/2/routed_by_partitioned/throughput_ratio");
    assert!(ratio.is_some_and(serde_json::Value::is_number));
}

#[test]
fn a_failure_of_either_path_fails_the_verdict() {
    let mut report = report();
    let mut partitioned = side(50.0, &["broker-1"]);
    partitioned.first_failure = Some("it timed out".to_owned());
    report.scenarios[0].partitioned = Some(partitioned);
    report.summarize("b", "a");
    assert!(!report.is_clean, "{}", report.verdict);
}

#[test]
fn an_offence_fails_the_verdict_and_is_shown() {
    let mut report = report();
    report.scenarios[0].verify.lost = 1;
    report.scenarios[0]
        .verify
        .first
        .push("lost: number 7".to_owned());
    report.summarize("b", "a");
    assert!(!report.is_clean);
    let mut output = Vec::new();
    write_table(&report, &mut output).expect("memory");
    let text = String::from_utf8(output).expect("text");
    assert!(text.contains("lost: number 7\n\nFAILED: 1 lost"), "{text}");
}

#[test]
fn a_record_that_was_not_acknowledged_fails_the_verdict() {
    let mut report = report();
    let cluster = report.scenarios[1].cluster.as_mut().expect("measured");
    cluster.first_failure = Some("it timed out".to_owned());
    report.summarize("b", "a");
    assert!(!report.is_clean);
    assert!(report.verdict.contains("not acknowledged: it timed out"));
}

#[test]
fn the_picture_is_well_formed() {
    let picture = write_svg(&report());
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains("the scenario &lt;a>"));
    assert_eq!(
        picture.matches("<text").count(),
        picture.matches("</text>").count()
    );
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
}
