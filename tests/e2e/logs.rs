//! The log: what happens to a subscription is told once each, no storm fills it, and a machine can
//! read every line of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use relay_tests::exposition::parse;
use relay_tests::relay::{Setup, binary};
use relay_tests::{Relay, soon, until};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use serde_json::Value;

/// Every line of a relay's log, as JSON.
fn lines(relay: &Relay) -> Vec<Value> {
    let log = relay.log();
    let line = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let lines: Vec<_> = log.lines().map(line).collect();
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(line["level"].is_string() && line["target"].is_string());
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
    lines
}

/// The lines whose message begins like this.
fn said<'a>(lines: &'a [Value], start: &str) -> Vec<&'a Value> {
    let begins = |line: &&Value| {
        let message = line["fields"]["message"].as_str();
        message.is_some_and(|message| message.starts_with(start))
    };
    lines.iter().filter(begins).collect()
}

/// The one line whose message begins like this, at a level.
fn one<'a>(lines: &'a [Value], level: &str, start: &str) -> &'a Value {
    let found = said(lines, start);
    assert_eq!(found.len(), 1, "{start}: {lines:#?}");
    assert_eq!(found[0]["level"], level, "{}", found[0]);
    &found[0]["fields"]
}

/// Waits until a counter, summed over its labels, has come so far.
async fn counted(relay: &Relay, name: &str, count: f64) {
    until(name, || async {
        let families = parse(&relay.metrics().await);
        let series = families.get(name)?.series.iter();
        let sum: f64 = series.map(|series| series.value).sum();
        (sum >= count).then_some(())
    })
    .await;
}

/// At most so many lines tell of so many times.
fn at_most(times: f64) -> usize {
    let mut power = 1.0;
    let mut lines = 1;
    while power <= times {
        power *= 2.0;
        lines += 1;
    }
    lines
}

async fn connected(simulator: &Simulator, times: usize) {
    let connected =
        simulator.wait_until(|sim| sim.connected() == 1 && sim.connections().len() >= times);
    soon("a subscription", connected).await;
}

/// Sessions that end soon one after another wait as if the quota were used up.
const QUICK: &str = "backoff.network_min = \"20ms\"\nbackoff.network_max = \"40ms\"\n\
                     backoff.quota_min = \"20ms\"\nbackoff.quota_max = \"40ms\"";

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_subscription_is_told_once_with_its_verdict() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.upstream_keys = QUICK.to_owned();
    let mut relay = Relay::start(&setup).await;
    connected(&simulator, 1).await;
    simulator.emit(3);
    counted(&relay, "sapi_relay_journal_appended_events_total", 3.0).await;
    simulator.set_fault("tcp-reset").unwrap();
    connected(&simulator, 2).await;
    assert_eq!(simulator.fired("tcp-reset"), 1);
    simulator.emit(3);
    let recovered = "sapi_relay_notices_total{kind=\"recovered\"}";
    until("the verdict", || async {
        relay.metric(recovered).await.filter(|count| *count > 0.0)
    })
    .await;
    simulator.set_fault("seq-gap=7").unwrap();
    simulator.emit(3);
    counted(&relay, "sapi_relay_sequence_gaps_total", 1.0).await;
    relay.signal(Signal::TERM);
    assert!(relay.ended().await.success());

    let lines = lines(&relay);
    let connects = said(&lines, "connected upstream");
    assert_eq!(connects.len(), 2, "{lines:#?}");
    for connect in &connects {
        assert_eq!(connect["level"], "INFO");
        assert_eq!(connect["fields"]["subscription"], "relay_a");
    }
    let cut = one(&lines, "WARN", "disconnected, coming back");
    assert_eq!(cut["subscription"], "relay_a");
    assert_eq!(cut["reason"], "network");
    assert!(cut["age_s"].is_u64() && cut["wait_s"].is_f64(), "{cut}");
    let verdict = one(&lines, "INFO", "the numbering went on");
    assert_eq!(verdict["subscription"], "relay_a");
    assert_eq!(verdict["verdict"], "recovered");
    let gap = one(&lines, "ERROR", "numbers ");
    assert_eq!(gap["subscription"], "relay_a");
    assert_eq!(
        (&gap["kind"], &gap["verdict"], &gap["missing"]),
        (&"sequence_gap".into(), &"possible_loss".into(), &7.into())
    );
    let ended: Vec<_> = said(&lines, "disconnected")
        .iter()
        .map(|line| line["fields"]["reason"].clone())
        .collect();
    assert_eq!(ended, ["network", "shutdown"]);
    one(&lines, "INFO", "journal open");
    one(&lines, "INFO", "stopping");
    one(&lines, "INFO", "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_storm_fills_the_log() {
    const DOCUMENTS: f64 = 3_000.0;
    const RETRIES: f64 = 150.0;
    const CUTS: usize = 30;
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.upstream_keys = QUICK.to_owned();
    setup.more = "[sinks.lake]\ntype = \"webhook\"\nstart_from = \"earliest\"\nretry_min = \"5ms\"\nretry_max = \"10ms\"\nurl = \"http://127.0.0.1:1/hook\"\n".to_owned();
    let mut relay = Relay::start(&setup).await;
    connected(&simulator, 1).await;
    for cut in 1..=CUTS {
        // Each connection makes progress, so that none waits for long.
        simulator.emit(1);
        counted(
            &relay,
            "sapi_relay_journal_appended_events_total",
            cut as f64,
        )
        .await;
        simulator.set_fault("tcp-reset").unwrap();
        connected(&simulator, cut + 1).await;
        counted(
            &relay,
            "sapi_relay_upstream_connects_total",
            (cut + 1) as f64,
        )
        .await;
    }
    assert_eq!(simulator.fired("tcp-reset"), CUTS as u64);
    simulator.set_fault("not-a-document=1").unwrap();
    simulator.emit(DOCUMENTS as u64);
    counted(&relay, "sapi_relay_malformed_total", DOCUMENTS).await;
    counted(&relay, "sapi_relay_sink_retries_total", RETRIES).await;
    let families = parse(&relay.metrics().await);
    let retries: f64 = families["sapi_relay_sink_retries_total"].series[0].value;
    relay.signal(Signal::TERM);
    relay.ended().await;

    let lines = lines(&relay);
    let bounded = |start: &str, times: f64| {
        let found = said(&lines, start).len();
        let most = at_most(times);
        assert!((1..=most).contains(&found), "{found} lines say {start:?}");
    };
    bounded("connected upstream", CUTS as f64 + 1.0);
    bounded("disconnected", CUTS as f64 + 1.0);
    bounded("a document could not be parsed", DOCUMENTS);
    // Some more came until the end.
    bounded("delivery failed", 2.0 * retries + 1_000.0);
    let malformed = said(&lines, "a document could not be parsed");
    assert_eq!(malformed[0]["level"], "WARN");
    assert_eq!(malformed[0]["fields"]["subscription"], "relay_a");
    assert_eq!(malformed[0]["fields"]["reason"], "not_a_document");
    assert!(
        lines.len() < 120,
        "{} lines for {DOCUMENTS} documents, {retries} retries and {CUTS} cuts:\n{}",
        lines.len(),
        relay.log()
    );
}

/// A configuration that says nothing of logs.
fn configuration(home: &Path) -> std::path::PathBuf {
    let file = home.join("relay.toml");
    let text = format!(
        "[upstream]\nurl = \"ws://127.0.0.1:1\"\ntenant_id = \"acmecorp01\"\ntoken = \"{DEMO_TOKEN}\"\nsubs_ids = [\"relay_a\"]\n\
         [journal]\ndir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        home.join("journal").display().to_string()
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn run(home: &Path, stderr: Stdio) -> Running {
    let mut command = Command::new(binary("sapi-relay"));
    command.args(["run", "--config"]).arg(configuration(home));
    command.env_clear().stdin(Stdio::null()).stderr(stderr);
    Running(command.spawn().expect("the relay starts"))
}

/// The first line that says where the admin server listens, read by a thread of its own.
async fn listening(reader: impl std::io::Read + Send + 'static) -> String {
    let read = tokio::task::spawn_blocking(|| {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        let mut lines = lines.filter(|line| line.contains("listening"));
        lines.next().expect("a line before the end")
    });
    soon("a line", read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_on_a_terminal_and_json_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let mut relay = run(home.path(), Stdio::piped());
    let line = listening(relay.0.stderr.take().unwrap()).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["fields"]["listener"], "admin");
    drop(relay);

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let side = File::options().read(true).write(true).open(name).unwrap();
    let relay = run(home.path(), side.into());
    let line = listening(File::from(terminal)).await;
    assert!(serde_json::from_str::<Value>(&line).is_err(), "{line}");
    assert!(line.contains("\u{1b}[") && line.contains("INFO"), "{line}");
    drop(relay);
}
