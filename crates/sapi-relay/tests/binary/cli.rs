//! The command line through the real binary: help, versions, exit codes.
use std::process::{Command, Output};

fn relay(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sapi-relay"))
        .args(args)
        .env_clear()
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_succeed() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["journal", "export", "--help"],
    ] {
        let output = relay(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
    let version = relay(&["--version"]);
    assert!(
        String::from_utf8(version.stdout)
            .unwrap()
            .contains(env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_usage_is_64() {
    for args in [
        &[][..],
        &["rum"],
        &["run"],
        &["run", "--confg", "x"],
        &["tail", "--from", "yesterday"],
        &["tail", "--direct"],
        &["tail", "--format", "xml"],
        &["sink", "seek", "lake"],
        &["dead-letters", "list", "--limit", "many"],
    ] {
        let output = relay(args);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{args:?}: {}",
            said(&output)
        );
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_relay_that_is_not_there_is_70_and_says_what_to_look_at() {
    let output = relay(&["sink", "list", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(70));
    assert!(said(&output).contains("127.0.0.1:1"), "{}", said(&output));
    assert!(said(&output).contains("admin.listen"), "{}", said(&output));
}

#[test]
fn a_relay_that_does_not_answer_is_not_alive() {
    let output = relay(&["health", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("/livez"), "{}", said(&output));
    let wrong = relay(&["health", "--admin", "nowhere"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", said(&wrong));
}

#[test]
fn a_journal_that_is_not_there_is_70() {
    for command in ["info", "verify", "export"] {
        let output = relay(&["journal", command, "--dir", "/nowhere"]);
        assert_eq!(output.status.code(), Some(70), "{command}");
        assert!(said(&output).contains("/nowhere"), "{}", said(&output));
    }
}
