//! docs/HEALTH.md holds: each failure of its table is brought about, and every endpoint says what
//! stands there.

use std::collections::BTreeSet;
use std::path::Path;

use relay_tests::relay::Setup;
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{Relay, http, load, soon, until};
use rustix::process::Signal;
use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use serde_json::Value;

use crate::disk::Volume;

const DOCUMENT: &str = include_str!("../../docs/HEALTH.md");

/// The failures that are brought about here.
const FAILURES: [&str; 13] = [
    "none",
    "upstream-away",
    "upstream-silent",
    "upstream-refuses",
    "quota-full",
    "numbers-missing",
    "malformed",
    "disk-full",
    "sink-down",
    "sink-blocked",
    "event-refused",
    "reload-refused",
    "stopping",
];

/// A row of the table.
#[derive(Debug)]
struct Row {
    failure: &'static str,
    live: u16,
    ready: u16,
    /// The checks that `/readyz` says fail.
    failing: Vec<&'static str>,
    /// Paths of the status and what stands there.
    status: Vec<(&'static str, Value)>,
    /// Series and their values; `None`: anything above zero.
    metrics: Vec<(&'static str, Option<f64>)>,
    alerts: Vec<&'static str>,
}

/// What stands in backticks.
fn quoted(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn rows() -> Vec<Row> {
    let lines = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &'static str| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [failure, _, live, ready, status, metrics, alerts] = cells[..] else {
            panic!("{cells:?}")
        };
        let quoted_status = quoted(status);
        let pairs = quoted_status.chunks(2);
        // A series, then how it compares: `series` = 1, `series` > 0.
        let series = metrics.split('`').skip(1);
        let series: Vec<_> = series.collect();
        let metric = |pair: &[&'static str]| {
            let value = pair[1].trim().trim_end_matches(',');
            let value = match value.split_once(' ') {
                Some(("=", value)) => Some(value.parse().unwrap()),
                Some((">", "0")) => None,
                other => panic!("{other:?}: {line}"),
            };
            (pair[0], value)
        };
        Row {
            failure: quoted(failure)[0],
            live: live.parse().unwrap(),
            ready: ready.split(' ').next().unwrap().parse().unwrap(),
            failing: quoted(ready),
            status: pairs
                .map(|pair| (pair[0], serde_json::from_str(pair[1]).unwrap()))
                .collect(),
            metrics: series.chunks(2).map(metric).collect(),
            alerts: alerts
                .split(", ")
                .map(|alert| alert.trim_end_matches('|').trim())
                .filter(|alert| !alert.is_empty())
                .collect(),
        }
    };
    lines.map(row).collect()
}

fn row(failure: &str) -> Row {
    let mut rows = rows().into_iter();
    let row = rows.find(|row| row.failure == failure);
    row.unwrap_or_else(|| panic!("no row {failure}"))
}

impl Row {
    /// What differs from the row now; nothing: it holds.
    async fn differences(&self, relay: &Relay) -> Vec<String> {
        let mut found = Vec::new();
        let mut expect = |what: &str, is: String, should: String| {
            if is != should {
                found.push(format!("{what} is {is}, not {should}"));
            }
        };
        let live = http::get(&relay.admin("/livez").await).await.unwrap();
        let live = live.status().as_u16();
        expect("/livez", live.to_string(), self.live.to_string());
        let ready = http::get(&relay.admin("/readyz").await).await.unwrap();
        let status = ready.status().as_u16();
        let body: Value = ready.json().await.unwrap();
        let checks = body["checks"].as_array().unwrap().iter();
        let failing: Vec<_> = checks.filter(|check| check["ok"] == false).collect();
        assert!(failing.iter().all(|check| check["text"] != ""), "{body}");
        let failing: Vec<_> = failing
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        expect("/readyz", status.to_string(), self.ready.to_string());
        expect(
            "what fails",
            format!("{failing:?}"),
            format!("{:?}", self.failing),
        );
        let status = relay.status().await;
        for (path, should) in &self.status {
            let is = status.pointer(path).cloned().unwrap_or_default();
            expect(path, is.to_string(), should.to_string());
        }
        for (series, should) in &self.metrics {
            let is = relay.metric(series).await;
            let holds = match (is, should) {
                (Some(is), Some(should)) => (is - should).abs() < f64::EPSILON,
                (Some(is), None) => is > 0.0,
                (None, _) => false,
            };
            if !holds {
                expect(series, format!("{is:?}"), format!("{should:?}"));
            }
        }
        found
    }

    /// Waits until everything is as it stands there, at one time.
    async fn holds(&self, relay: &Relay) {
        let last = std::sync::Mutex::new(Vec::new());
        let hold = until("the row to hold", || async {
            let found = self.differences(relay).await;
            let holds = found.is_empty();
            *last.lock().unwrap() = found;
            holds.then_some(())
        });
        let mut hold = std::pin::pin!(hold);
        let limit = relay_tests::PATIENCE - std::time::Duration::from_secs(2);
        if tokio::time::timeout(limit, &mut hold).await.is_err() {
            panic!("{}: {:#?}\n{}", self.failure, last.lock(), relay.log());
        }
    }
}

/// A sink `lake` that posts to a url.
fn lake(url: &str) -> String {
    format!(
        "[sinks.lake]\ntype = \"webhook\"\nstart_from = \"earliest\"\nretry_min = \"50ms\"\nretry_max = \"200ms\"\nurl = {url:?}\n"
    )
}

async fn connected(simulator: &Simulator) {
    let connected = simulator.wait_until(|sim| sim.connected() == 1);
    soon("a subscription", connected).await;
}

/// A simulator, a receiver that takes everything, and a relay between them, connected.
async fn world() -> (Simulator, Receiver, Relay) {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let receiver = Receiver::start().await;
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.more = lake(&receiver.url("/hook"));
    let relay = Relay::start(&setup).await;
    connected(&simulator).await;
    (simulator, receiver, relay)
}

/// A relay whose upstream has a fault from the start.
async fn faulty(fault: &str, keys: &str) -> (Simulator, Relay) {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.set_fault(fault).unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.upstream_keys = keys.to_owned();
    setup.more = lake("http://127.0.0.1:1/hook");
    let relay = Relay::start(&setup).await;
    (simulator, relay)
}

#[test]
fn the_table_is_what_is_tested() {
    let rows = rows();
    let found: Vec<_> = rows.iter().map(|row| row.failure).collect();
    assert_eq!(found, FAILURES);
    let alerts = crate::monitoring::alerts();
    let named = rows.iter().flat_map(|row| row.alerts.iter().copied());
    let words = DOCUMENT.split(|char: char| !char.is_ascii_alphanumeric());
    let words = words.filter(|word| word.starts_with("SapiRelay"));
    let named: BTreeSet<_> = named.chain(words).collect();
    assert!(named.len() > 15, "{named:?}");
    for alert in named {
        assert!(alerts.contains(alert), "there is no alert {alert}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails() {
    let (simulator, receiver, relay) = world().await;
    simulator.emit(3);
    receiver.accepted(3).await;
    row("none").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_away() {
    let mut setup = Setup::new("ws://127.0.0.1:1", DEMO_TOKEN);
    setup.more = lake("http://127.0.0.1:1/hook");
    let relay = Relay::start(&setup).await;
    row("upstream-away").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_silent() {
    let keys =
        "silence_timeout = \"1s\"\nbackoff.network_min = \"50ms\"\nbackoff.network_max = \"100ms\"";
    let (simulator, relay) = faulty("silent", keys).await;
    let again = simulator.wait_until(|sim| sim.connections().len() >= 3);
    soon("connections that stay silent", again).await;
    assert!(simulator.fired("silent") > 0);
    row("upstream-silent").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_refuses() {
    let keys = "backoff.auth_min = \"1s\"\nbackoff.auth_max = \"2s\"";
    let (simulator, relay) = faulty("auth-reject", keys).await;
    row("upstream-refuses").holds(&relay).await;
    assert!(simulator.fired("auth-reject") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_is_full() {
    let keys = "backoff.quota_min = \"1s\"\nbackoff.quota_max = \"2s\"";
    let (simulator, relay) = faulty("quota-full", keys).await;
    row("quota-full").holds(&relay).await;
    assert!(simulator.fired("quota-full") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_missing() {
    let (simulator, _receiver, relay) = world().await;
    simulator.emit(3);
    simulator.set_fault("seq-gap=7").unwrap();
    simulator.emit(3);
    assert_eq!(simulator.fired("seq-gap"), 1);
    row("numbers-missing").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_malformed() {
    let (simulator, _receiver, relay) = world().await;
    simulator.set_fault("not-a-document=1").unwrap();
    simulator.emit(3);
    assert!(simulator.fired("not-a-document") > 0);
    row("malformed").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_full() {
    let _alone = load::alone().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(_volume) = Volume::mount(folder.path(), 96) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI nothing is skipped: mounting must be possible"
        );
        println!("skipped: a small volume can only be mounted by root");
        return;
    };
    std::fs::write(folder.path().join("ballast"), vec![1; 50 << 20]).unwrap();
    let config = Config {
        event_bytes: Some(4_096),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(&folder.path().join("journal"));
    // What it has not passed is not trimmed to make room.
    setup.more = lake("http://127.0.0.1:1/hook");
    let relay = Relay::start(&setup).await;
    connected(&simulator).await;
    simulator.set_rate(3_000.0);
    let unwritable = |status: &Value| status["journal"]["writable"] == false;
    let what = "a journal that can't be written";
    relay.status_where(what, unwritable).await;
    simulator.set_rate(0.0);
    row("disk-full").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_down() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.more = lake("http://127.0.0.1:1/hook");
    let relay = Relay::start(&setup).await;
    connected(&simulator).await;
    simulator.emit(3);
    row("sink-down").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_blocked() {
    let (simulator, receiver, relay) = world().await;
    receiver.answers_all(Answer::status(401));
    simulator.emit(3);
    receiver.asked(1).await;
    row("sink-blocked").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_refused() {
    let (simulator, receiver, relay) = world().await;
    receiver.answers_all(Answer::status(422));
    simulator.emit(3);
    receiver.asked(3).await;
    row("event-refused").holds(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_refused() {
    let (_simulator, _receiver, relay) = world().await;
    let file = relay.home().join("relay.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[no_such_section]\n")).unwrap();
    relay.signal(Signal::HUP);
    row("reload-refused").holds(&relay).await;
    std::fs::write(&file, good).unwrap();
    relay.signal(Signal::HUP);
    let series = "sapi_relay_config_last_reload_successful";
    until("a reload that succeeds", || async {
        relay.metric(series).await.filter(|value| *value > 0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_is_stopping() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let receiver = Receiver::start().await;
    // What is under way is waited for, long enough to be looked at.
    receiver.answers_all(Answer::hang());
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.more = lake(&receiver.url("/hook")) + "timeout = \"5m\"\n[shutdown]\ntimeout = \"5m\"\n";
    let relay = Relay::start(&setup).await;
    connected(&simulator).await;
    simulator.emit(3);
    receiver.asked(1).await;
    relay.signal(Signal::TERM);
    row("stopping").holds(&relay).await;
    // Traffic is to go elsewhere, and the process is to be left alone.
    let path = Path::new("/proc").join(relay.pid().to_string());
    assert!(path.exists());
    relay.kill().await;
}
