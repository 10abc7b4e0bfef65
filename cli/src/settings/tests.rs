//! Layers of settings, and configurations with many faults.

use super::*;
use keylane_broker::topic_settings::Durability;
use keylane_router::config::RouterConfig;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

fn flags<R>(given: &[(&'static str, &str)]) -> SettingFlags<R> {
    let texts = given.iter();
    SettingFlags {
        texts: texts
            .map(|(name, text)| (*name, (*text).to_owned()))
            .collect(),
        role: PhantomData,
    }
}

fn resolve<R: Role>(
    given: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: &str,
) -> Result<R::Config, Vec<String>> {
    let read = |name: &str| {
        let found = environment.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, text)| OsString::from(text))
    };
    let given = Given::<R> {
        flags: &flags(given),
        environment: &read,
        file: Some(("k.toml".into(), file.to_owned())),
    };
    given.fill(R::defaults())
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "data = \"/file\"\nport = 1\nid = 3\ninsecure = true\ndurability = \"page-cache\"";
    let environment = [("KEYLANE_DATA", "/environment"), ("KEYLANE_PORT", "2")];
    let config = resolve::<Broker>(&[("data", "/flag")], &environment, file).expect("valid");
    assert_eq!(config.data_folder, Path::new("/flag"));
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.id.0, 3);
    assert!(config.insecure);
    assert_eq!(config.topic_defaults.durability, Durability::PageCache);
}

#[test]
fn faults_of_every_layer_are_told_together() {
    let faults = resolve::<Broker>(
        &[("port", "70000"), ("durability", "maybe")],
        &[("KEYLANE_ID", "0"), ("KEYLANE_CONNECTIONS_MAX", "many")],
        "prot = 1\nspace-reserve = 1.5\nhost = \"0.0.0.0\"",
    )
    .expect_err("invalid");
    let expected = [
        "k.toml: prot: no such setting; did you mean port?",
        "k.toml: space-reserve: must be a text, a whole number, or true or false, not a float",
        "--port 70000: not a port",
        "--durability maybe: give fsync",
        "KEYLANE_CONNECTIONS_MAX=many: not a whole number",
        "KEYLANE_ID=0: must be from 1",
        "--data is missing: name the folder that keeps topics and records; it is created if need be (or set \
         KEYLANE_DATA, or data in the --config file)",
        "k.toml: host = 0.0.0.0: 0.0.0.0:9092 can be reached by other machines",
    ];
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault} should say {expected}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_file_that_is_no_toml_names_the_line() {
    let faults =
        resolve::<Broker>(&[("data", "/x")], &[], "id = 1\nport = = 2").expect_err("invalid");
    assert!(faults[0].starts_with("k.toml: line 2: "), "{faults:?}");
}

#[test]
fn underscores_in_a_file_are_a_known_mistake() {
    let faults =
        resolve::<Broker>(&[("data", "/x")], &[], "space_reserve = 1").expect_err("invalid");
    assert_eq!(
        faults,
        ["k.toml: space_reserve: no such setting; did you mean space-reserve?"]
    );
}

/// Checks that every default is read as it is shown in the help text.
fn check_defaults<R: Role<Config: Clone + PartialEq + Debug>>() {
    for setting in R::settings() {
        let mut config = R::defaults();
        let text = (setting.value)(&mut config).show();
        if !text.is_empty() {
            let mut value = (setting.value)(&mut config);
            value.read(&text).expect(setting.name);
        }
        assert_eq!(config, R::defaults(), "{} {text}", setting.name);
    }
}

#[test]
fn every_shown_default_means_itself() {
    check_defaults::<Broker>();
    check_defaults::<Dev>();
    check_defaults::<Router>();
}

#[test]
fn dev_takes_no_request_that_its_router_would_not() {
    let given = [("data", "d"), ("request-size-max", "200MiB")];
    let faults = resolve::<Dev>(&given, &[], "").expect_err("invalid");
    let expected = "--request-size-max 200MiB: must be from 1024 to 104857600";
    assert_eq!(faults, [expected]);
    assert!(resolve::<Broker>(&given, &[], "").is_ok());
}

#[test]
fn dev_needs_no_folder_and_creates_topics() {
    let mut defaults = Dev::defaults();
    defaults.data_folder = "/tmp/made".into();
    let given = Given::<Dev> {
        flags: &flags(&[]),
        environment: &|_| None,
        file: None,
    };
    let config = given.fill(defaults).expect("valid");
    assert!(config.auto_create_topics);
    assert_eq!(config.default_partitions, 6);
    assert_eq!(config.data_folder, Path::new("/tmp/made"));
}

#[test]
fn a_fault_of_the_configuration_names_flags_and_not_fields() {
    let faults = resolve::<Broker>(&[("data", "/x"), ("segment-size", "64KiB")], &[], "")
        .expect_err("invalid");
    assert_eq!(
        faults,
        [
            "--batch-size-max: a segment must have room for the largest batch: raise --segment-size or lower --batch-size-max"
        ]
    );
}

#[test]
fn a_router_takes_its_settings_from_flags_environment_and_file() {
    let file = "brokers = \"b-1:9093, [::1]:9094\"\nlisten = \"127.0.0.1:1\"\nhold = \"1s\"\nruntimes = 3\n\
                fetches-size-max = \"1MiB\"\nadmin-listen = \"off\"";
    let environment = [("KEYLANE_LISTEN", "127.0.0.1:2"), ("KEYLANE_HOLD", "2s")];
    let flags = [("hold", "4s"), ("advertise", "kafka.example:9092")];
    let config = resolve::<Router>(&flags, &environment, file).expect("valid");
    let brokers = ["b-1:9093", "[::1]:9094"];
    let mut expected = RouterConfig::new(brokers.map(|at| at.parse().expect("one")).into());
    expected.listen.set_port(2);
    expected.hold = Duration::from_secs(4);
    expected.runtimes = 3;
    expected.advertise = Some("kafka.example:9092".parse().expect("an address"));
    expected.admin_listen = None;
    expected.clients.fetch_bytes_total_max = 1 << 20;
    assert_eq!(config, expected);
}

#[test]
fn faults_of_a_router_are_told_together() {
    let faults = resolve::<Router>(
        &[("hold", "soon"), ("requests-size-max", "1KiB")],
        &[("KEYLANE_IDLE_TIMEOUT", "0s")],
        "broker = \"b-1:9093\"\nhost = \"127.0.0.1\"\nlisten = \"0.0.0.0:9092\"",
    )
    .expect_err("invalid");
    let expected = [
        "k.toml: broker: no such setting; did you mean brokers?",
        "k.toml: host: no such setting; ",
        "--hold soon: not a time",
        "k.toml: listen = 0.0.0.0:9092: 0.0.0.0:9092 can be reached by other machines",
        "--brokers is missing: name the internal address of at least one broker, HOST:PORT (or set KEYLANE_BROKERS, \
         or brokers in the --config file)",
        "KEYLANE_IDLE_TIMEOUT=0s: must be longer than 0",
        "--requests-size-max 1KiB: must be at least --request-size-max",
    ];
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault} should say {expected}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_broker_that_nobody_could_dial_is_told_as_it_was_given() {
    for wrong in ["nowhere", "b-1:9093,", "b-1:0"] {
        let faults = resolve::<Router>(&[("brokers", wrong)], &[], "").expect_err("invalid");
        let expected = format!("--brokers {wrong}: not an address: give HOST:PORT");
        assert!(faults[0].starts_with(&expected), "{faults:?}");
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}
