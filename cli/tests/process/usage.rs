//! Wrong usage: exit code 2, every fault at once, and words that help.

use crate::support::{keylane, run, run_command};

#[test]
fn all_faults_of_a_configuration_are_told_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keylane.toml");
    std::fs::write(&file, "prot = 9092\nsegment-age = \"7 apples\"\n").expect("a file");
    let mut command = keylane();
    command
        .env("KEYLANE_DURABILITY", "sometimes")
        .args(["broker", "--port", "70000", "--host", "0.0.0.0", "--config"])
        .arg(&file);
    let told = run_command(&mut command, &[]).expect_failure(
        2,
        &[
            "prot: no such setting; did you mean port?",
            "segment-age = 7 apples: not a time: give a number with ms, s, m, h or d",
            "KEYLANE_DURABILITY=sometimes: give fsync",
            "--port 70000: not a port: give a number from 0 to 65535",
            "--host 0.0.0.0: 0.0.0.0:9092 can be reached by other machines",
            "--data is missing: name the folder",
        ],
    );
    assert_eq!(told.matches("error: ").count(), 6, "{told}");
}

#[test]
fn an_unknown_flag_is_told_with_the_nearest() {
    run(["broker", "--prot", "1"]).expect_failure(2, &["unexpected argument '--prot'", "--port"]);
}

#[test]
fn a_missing_config_file_is_wrong_usage() {
    run(["broker", "--config", "/nowhere/keylane.toml"]).expect_failure(
        2,
        &["--config /nowhere/keylane.toml: No such file", "hint: "],
    );
}

#[test]
fn a_wrong_address_is_wrong_usage() {
    run(["topic", "list", "--connect", "localhost"])
        .expect_failure(2, &["--connect localhost: ", "host:port"]);
}

#[test]
fn nobody_at_the_address_is_told_with_what_to_do() {
    run(["topic", "list", "--connect", "127.0.0.1:1"]).expect_failure(
        1,
        &[
            "cannot reach a cluster at 127.0.0.1:1",
            "refused",
            "keylane dev",
        ],
    );
}

#[test]
fn what_is_not_built_says_so() {
    for command in ["group", "top"] {
        run([command, "--some", "flag"]).expect_failure(2, &["is not built yet"]);
    }
}

#[test]
fn help_tells_defaults_variables_and_exit_codes() {
    let help = run(["broker", "--help"]).expect_success();
    for word in [
        "--port <PORT>",
        "[default: 9092; env: KEYLANE_PORT]",
        "[env: KEYLANE_DATA]",
    ] {
        assert!(help.contains(word), "{help}");
    }
    let help = run(["dev", "--help"]).expect_success();
    assert!(
        help.contains("[default: 6; env: KEYLANE_DEFAULT_PARTITIONS]"),
        "{help}"
    );
    let help = run(["--help"]).expect_success();
    assert!(help.contains("Exit codes:"), "{help}");
}

#[test]
fn flags_that_do_not_go_together_are_told_together() {
    run([
        "produce",
        "t",
        "-",
        "--key",
        "a",
        "--key-separator",
        "",
        "--repeat",
        "2",
    ])
    .expect_failure(
        2,
        &[
            "--key names a column, but stdin",
            "--key-separator is empty",
            "--repeat: stdin",
        ],
    );
}
