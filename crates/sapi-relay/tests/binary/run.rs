//! The daemon against the simulator: it runs, serves, reloads, drains, and ends with the codes that
//! it promises.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use sapi_sim::{DEMO_TOKEN, EndedBy};

use crate::daemon::{
    BINARY, Home, Relay, Tail, blocking, connected, emitted, lines, simulator, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_8x8_sends_is_tailed_archived_exported_and_drained() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let archive = home.path("events.ndjson").display().to_string();
    home.configure(&format!(
        "[sinks.archive]\ntype = 'file'\npath = '{archive}'"
    ));
    let relay = Relay::start(&home);
    connected(&simulator).await;
    simulator.emit(50);
    let (relay, tailed) = blocking(move || {
        let mut tail = relay.tail(&["--from", "earliest", "--format", "raw"]);
        let tailed = tail.events(50);
        (relay, tailed)
    })
    .await;
    assert_eq!(tailed, emitted(&simulator));
    let listed = relay.admin(&["sink", "list"]);
    assert!(
        listed.contains("archive") && listed.contains("websocket"),
        "{listed}"
    );
    // Emitted while it stops: read on until the upstream's Close, then committed and delivered.
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");
    assert!(!log.contains(DEMO_TOKEN));
    assert_eq!(simulator.connected(), 0);

    let lines = fs::read_to_string(&archive).unwrap();
    assert_eq!(lines.lines().count(), 50);
    let dir = home.path("journal").display().to_string();
    let journal = |args: &[&str]| {
        let output = Command::new(BINARY)
            .arg("journal")
            .args(args)
            .args(["--dir", &dir])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(journal(&["export"]), lines);
    assert!(journal(&["export", "--notices"]).lines().count() > 50);
    let info = journal(&["info"]);
    assert!(info.contains("acmecorp01"), "{info}");
    assert!(journal(&["verify"]).contains("records in 1 segments"));
    let cursor = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["relaycursor"].as_str().unwrap().to_owned()
    };
    let (tenth, twelfth) = (
        cursor(lines.lines().nth(9).unwrap()),
        cursor(lines.lines().nth(11).unwrap()),
    );
    let some = journal(&["export", "--from", &tenth, "--until", &twelfth]);
    assert_eq!(
        some.lines().collect::<Vec<_>>(),
        lines.lines().skip(10).take(2).collect::<Vec<_>>()
    );
    let none = journal(&["export", "--from", "2100-01-01T00:00:00Z"]);
    assert_eq!(none, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_has_one_relay_and_one_tenant() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let relay = Relay::start(&home);
    let (status, _, said) = home.ended(&["run"], &[]);
    assert_eq!(status.code(), Some(75), "{said}");
    assert!(
        said.contains("in use by another process") && said.contains("stop the other relay"),
        "{said}"
    );
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
    let (status, _, said) = home.ended(&["run"], &[("SAPI_RELAY_UPSTREAM__TENANT_ID", "other")]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("acmecorp01") && said.contains("other"),
        "{said}"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let home = Home::new("ws://127.0.0.1:1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, key) in [
        ("SAPI_RELAY_ADMIN__LISTEN", "admin.listen"),
        (
            "SAPI_RELAY_SINKS__DOWNSTREAM__LISTEN",
            "sinks.downstream.listen",
        ),
    ] {
        let (status, _, said) = home.ended(&["run"], &[(variable, &address)]);
        assert_eq!(status.code(), Some(70), "{said}");
        assert!(said.contains(key) && said.contains("change"), "{said}");
    }
}

#[test]
fn a_journal_that_can_not_be_made_says_what_to_do() {
    let home = Home::new("ws://127.0.0.1:1");
    let (status, _, said) = home.ended(&["run"], &[("SAPI_RELAY_JOURNAL__DIR", "/proc/relay")]);
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("journal.dir = /proc/relay"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_sinks_and_leaves_the_upstream_alone() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let relay = Relay::start(&home);
    connected(&simulator).await;
    let archive = home.path("events.ndjson");
    let sink = format!(
        "[sinks.archive]\ntype = 'file'\npath = '{}'\nstart_from = 'earliest'",
        archive.display()
    );
    home.configure(&sink);
    relay.signal("HUP");
    until("the new sink", || {
        relay.admin(&["sink", "list"]).contains("archive")
    })
    .await;

    home.configure(&format!("{sink}\nbatch_evens = 3"));
    relay.signal("HUP");
    until("the refusal", || {
        relay
            .log
            .lock()
            .unwrap()
            .contains("did you mean batch_events?")
    })
    .await;
    assert!(relay.admin(&["sink", "list"]).contains("archive"));

    simulator.emit(3);
    until("three lines", || lines(&archive) == 3).await;
    home.configure("");
    relay.signal("HUP");
    until("its end", || {
        !relay.admin(&["sink", "list"]).contains("archive")
    })
    .await;
    assert_eq!(
        simulator.connections().len(),
        1,
        "one connection from first to last"
    );
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_of_8x8_itself_prints_and_closes() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let config = home.file().display().to_string();
    let (status, _, said) = home.ended(&["tail", "--direct", "--subs-id", "relay_a"], &[]);
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("one of upstream.subs_ids"), "{said}");
    let mut tail = Tail::start(&["--direct", "--config", &config, "--subs-id", "try_out"]);
    connected(&simulator).await;
    simulator.emit(5);
    let (tail, printed) = blocking(move || {
        let printed = tail.take(5);
        (tail, printed)
    })
    .await;
    assert_eq!(printed, emitted(&simulator));
    let mut tail = tail;
    for signal in ["INT", "TERM"] {
        let told = Command::new("kill")
            .args(["-s", signal, &tail.child.id().to_string()])
            .status();
        assert!(told.unwrap().success());
        simulator
            .wait_until(|simulator| simulator.connected() == 0)
            .await;
        let ended = blocking(move || tail.child.wait().unwrap()).await;
        assert!(ended.success(), "{signal}: {ended}");
        tail = Tail::start(&[
            "--direct",
            "--config",
            &config,
            "--subs-id",
            "try_out",
            "--types",
            "!*",
        ]);
        connected(&simulator).await;
    }
    for connection in simulator.connections().iter().take(2) {
        let ended = connection.ended.as_ref().unwrap();
        assert_eq!(ended.by, EndedBy::Client, "{connection:?}");
    }
}

#[test]
fn a_tail_of_8x8_itself_says_what_keeps_it_away() {
    let home = Home::new("ws://127.0.0.1:1");
    let file = home.file();
    let mut tail = Command::new(BINARY)
        .args(["tail", "--direct", "--subs-id", "try_out", "--config"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(tail.stderr.take().unwrap()).lines();
    let refused = said.find(|line| line.as_ref().unwrap().contains("refused"));
    assert!(refused.is_some(), "it ended without a word");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_runs_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["demo", "--for", "3s", "--rate", "100"])
        .env("TMPDIR", temp.path())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{err}");
    assert!(out.contains("tail --url http://127.0.0.1:"), "{out}");
    assert!(!err.contains("\n0 events"), "{err}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}
