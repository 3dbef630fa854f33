//! The program: its flags, its list of faults, and its end.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sapi-sim"))
}

#[test]
fn the_list_names_every_fault_and_row() {
    let output = program().arg("faults").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for fault in sapi_sim::faults::all() {
        assert!(text.contains(fault.name), "{}", fault.name);
    }
    for row in 1..=27 {
        assert!(
            text.lines()
                .any(|line| line.starts_with(&format!("B{row} "))),
            "B{row}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut faults = program();
    let output = faults.arg("faults").stdout(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn it_says_where_it_listens_and_ends_on_sigterm() {
    let flags = [
        "--listen=127.0.0.1:0",
        "--tenant=t",
        "--seed=3",
        "--rate=5",
        "--session-length=90s",
        "--cache=1h 30m",
        "--heartbeat=500ms",
        "--numbering=subscription",
        "--start-time=2026-01-01T00:00:00Z",
        "--fault=bom",
        "--fault=concat=7",
        "--overlap=2",
    ];
    let mut child = program()
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // The reader is gone after this line: the program must not mind.
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("listening on ws://127.0.0.1:"), "{line}");
    let killed = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn bad_flags_are_usage_errors() {
    for flags in [
        &["--fault=nonsense"][..],
        &["--numbering=x"],
        &["--cache=soon"],
        &["--tls-key=k"],
    ] {
        let output = program().args(flags).output().unwrap();
        assert!(!output.status.success(), "{flags:?}");
        assert!(!output.stderr.is_empty());
    }
}
