//! Layers of settings, and configurations with many faults.

use super::*;
use keylane_broker::topic_settings::Durability;

fn flags(given: &[(&'static str, &str)]) -> SettingFlags {
    SettingFlags(
        given
            .iter()
            .map(|(name, text)| (*name, (*text).to_owned()))
            .collect(),
    )
}

fn resolve(
    given: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: &str,
) -> Result<BrokerConfig, Vec<String>> {
    let read = |name: &str| {
        let found = environment.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, text)| OsString::from(text))
    };
    broker_config(
        Role::Broker,
        &Given {
            flags: &flags(given),
            environment: &read,
            file: Some(("k.toml".into(), file.to_owned())),
            temporary_folder: None,
        },
    )
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "data = \"/file\"\nport = 1\nid = 3\ninsecure = true\ndurability = \"page-cache\"";
    let environment = [("KEYLANE_DATA", "/environment"), ("KEYLANE_PORT", "2")];
    let config = resolve(&[("data", "/flag")], &environment, file).expect("valid");
    assert_eq!(config.data_folder, Path::new("/flag"));
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.id.0, 3);
    assert!(config.insecure);
    assert_eq!(config.topic_defaults.durability, Durability::PageCache);
}

#[test]
fn faults_of_every_layer_are_told_together() {
    let faults = resolve(
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
        "--data is missing: name the folder",
        "k.toml: host = 0.0.0.0: 0.0.0.0:9092 can be reached by other machines",
    ];
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault} should say {expected}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_file_that_is_no_toml_names_the_line() {
    let faults = resolve(&[("data", "/x")], &[], "id = 1\nport = = 2").expect_err("invalid");
    assert!(faults[0].starts_with("k.toml: line 2: "), "{faults:?}");
}

#[test]
fn underscores_in_a_file_are_a_known_mistake() {
    let faults = resolve(&[("data", "/x")], &[], "space_reserve = 1").expect_err("invalid");
    assert_eq!(
        faults,
        ["k.toml: space_reserve: no such setting; did you mean space-reserve?"]
    );
}

#[test]
fn every_shown_default_means_itself() {
    for role in [Role::Broker, Role::Dev] {
        let defaults = role.defaults();
        for setting in &SETTINGS {
            let text = (setting.show)(&defaults);
            let mut config = defaults.clone();
            if !text.is_empty() {
                (setting.apply)(&mut config, &text).expect(setting.name);
            }
            assert_eq!(config, defaults, "{} {text}", setting.name);
        }
    }
}

#[test]
fn dev_needs_no_folder_and_creates_topics() {
    let config = broker_config(
        Role::Dev,
        &Given {
            flags: &flags(&[]),
            environment: &|_| None,
            file: None,
            temporary_folder: Some(Path::new("/tmp/made")),
        },
    )
    .expect("valid");
    assert!(config.auto_create_topics);
    assert_eq!(config.default_partitions, 6);
    assert_eq!(config.data_folder, Path::new("/tmp/made"));
}

#[test]
fn a_fault_of_the_configuration_names_flags_and_not_fields() {
    let faults =
        resolve(&[("data", "/x"), ("segment-size", "64KiB")], &[], "").expect_err("invalid");
    assert_eq!(
        faults,
        [
            "--batch-size-max: a segment must have room for the largest batch: raise --segment-size or lower --batch-size-max"
        ]
    );
}
