//! The metrics are those of docs/METRICS.md, and no hostile event adds to them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{SinkExt as _, StreamExt as _};
use relay_tests::exposition::{Family, parse};
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::Receiver;
use relay_tests::{Relay, Stream, soon, until};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

pub(crate) const PREFIX: &str = "sapi_relay_";

/// What others build upon: it may be added to, and nothing of it taken away.
const PROMISED: &[(&str, &[&str])] = &[
    ("upstream_connected", &["subscription"]),
    ("upstream_connects_total", &["subscription"]),
    ("upstream_disconnects_total", &["subscription", "reason"]),
    ("upstream_events_total", &["subscription", "type"]),
    ("upstream_bytes_total", &["subscription"]),
    ("upstream_last_byte_timestamp_seconds", &["subscription"]),
    ("upstream_session_age_seconds", &["subscription"]),
    ("duplicates_total", &["subscription"]),
    ("sequence_gaps_total", &["subscription"]),
    ("sequence_missing_total", &["subscription"]),
    ("malformed_total", &["subscription", "reason"]),
    ("notices_total", &["kind"]),
    ("dead_letters", &["sink"]),
    ("journal_appended_events_total", &[]),
    ("journal_commit_duration_seconds", &[]),
    ("journal_bytes", &[]),
    ("journal_oldest_timestamp_seconds", &[]),
    ("journal_writable", &[]),
    ("bus_memory_bytes", &[]),
    ("sink_up", &["sink"]),
    ("sink_state", &["sink", "state"]),
    ("sink_delivered_total", &["sink"]),
    ("sink_retries_total", &["sink"]),
    ("sink_rejected_total", &["sink"]),
    ("sink_skipped_total", &["sink"]),
    ("sink_lag_events", &["sink"]),
    ("sink_lag_seconds", &["sink"]),
    ("sink_retention_headroom_seconds", &["sink"]),
    ("sink_delivery_duration_seconds", &["sink"]),
    ("sink_latency_seconds", &["sink"]),
    ("clients_connected", &["sink"]),
    ("clients_disconnected_total", &["sink", "reason"]),
    ("client_connections_dropped_total", &["sink"]),
    ("client_events_total", &["sink"]),
    ("config_last_reload_successful", &[]),
    ("build_info", &["version"]),
];

/// What a relay exports that has every kind of thing to export: subscriptions, a sink, clients.
pub(crate) async fn exported() -> (String, BTreeMap<String, Family>) {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let receiver = Receiver::start().await;
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.more = format!(
        "[traces]\nendpoint = {:?}\n\
         [sinks.lake]\ntype = \"webhook\"\nstart_from = \"earliest\"\nurl = {:?}",
        receiver.url("/v1/traces"),
        receiver.url("/hook")
    );
    let relay = Relay::start(&setup).await;
    let connected = simulator.wait_until(|sim| sim.connected() == 1);
    soon("a subscription", connected).await;
    let mut client = Stream::connect(&relay.downstream("/v1/stream").await).await;
    simulator.emit(5);
    receiver.accepted(5).await;
    for _ in 0..5 {
        client.next_event().await;
    }
    let settled = "sapi_relay_sink_delivered_total{sink=\"lake\"}";
    until("the confirmations", || async {
        relay.metric(settled).await.filter(|count| *count >= 5.0)
    })
    .await;
    let text = relay.metrics().await;
    let families = parse(&text);
    (text, families)
}

/// The rows of a table of a document, as cells, below its heading.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let from = document.find(heading).expect("the table's heading");
    let lines = document[from..].lines().skip(2);
    let table = lines.take_while(|line| line.starts_with('|'));
    table
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_what_is_documented() {
    let document = include_str!("../../docs/METRICS.md");
    let (text, families) = exported().await;
    let mut documented = BTreeMap::new();
    for row in rows(document, "| metric | type |") {
        let [name, kind, labels, help] = row[..] else {
            panic!("{row:?}")
        };
        let name = format!("{PREFIX}{}", name.trim_matches('`'));
        documented.insert(name, (kind, quoted(labels), help));
    }
    let found: BTreeMap<_, _> = families
        .iter()
        .map(|(name, family)| {
            let of = (&*family.kind, family.labels(), &*family.help);
            (name.clone(), of)
        })
        .collect();
    assert_eq!(found, documented);

    for (name, labels) in PROMISED {
        let family = &families[&format!("{PREFIX}{name}")];
        assert_eq!(family.labels(), labels.iter().copied().collect(), "{name}");
    }
    for (name, family) in &families {
        let unit = match name {
            name if name.ends_with("_seconds") => "econds",
            name if name.ends_with("_bytes") || name.ends_with("_bytes_total") => "ytes",
            _ => "",
        };
        assert!(family.help.contains(unit), "{name}: {}", family.help);
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
    }
    for row in rows(document, "| label | of |") {
        let [label, name, values] = row[..] else {
            panic!("{row:?}")
        };
        let family = &families[&format!("{PREFIX}{}", name.trim_matches('`'))];
        let label = label.trim_matches('`');
        assert_eq!(family.values(label), quoted(values), "{label} of {name}");
    }
    crate::monitoring::promtool_reads(&["check", "metrics"], &text);
}

/// An upstream that says what no real one would.
async fn hostile(listener: TcpListener, documents: Vec<String>) {
    let (tcp, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
    for document in documents {
        socket.send(Message::text(document)).await.unwrap();
    }
    // Until the relay closes.
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_types_do_not_grow_the_metrics() {
    const TYPES: usize = 2_000;
    let mut documents: Vec<_> = (0..TYPES)
        .map(|number| json!({ (format!("T{number}\"}}\n{{x=\"é\\")): { "agentId": number } }))
        .collect();
    documents.push(json!({ ("x".repeat(100_000)): {} }));
    documents.push(json!({ "AgentStatusChange": { "agentId": "a" } }));
    let documents: Vec<_> = documents.iter().map(ToString::to_string).collect();
    let sent = documents.len();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut upstream = tokio::task::JoinSet::new();
    upstream.spawn(hostile(listener, documents));
    let relay = Relay::start(&Setup::new(&url, DEMO_TOKEN)).await;
    let name = "sapi_relay_upstream_events_total";
    let family = until("every document to be counted", || async {
        let family = parse(&relay.metrics().await).remove(name)?;
        let counted: f64 = family.series.iter().map(|series| series.value).sum();
        (counted >= sent as f64).then_some(family)
    })
    .await;
    let value = |name: &str| {
        let of = |labels: &BTreeMap<String, String>| labels["type"] == name;
        let series = family.series.iter().find(|series| of(&series.labels));
        series.map(|series| series.value)
    };
    assert_eq!(value("AgentStatusChange"), Some(1.0), "a known name");
    assert_eq!(value("T99\"}\n{x=\"é\\"), Some(1.0), "the hundredth other");
    assert_eq!(value("T100\"}\n{x=\"é\\"), None);
    assert_eq!(value("other"), Some((TYPES - 100 + 1) as f64));
    assert_eq!(family.series.len(), 102);
    let text = relay.metrics().await;
    assert!(text.len() < 100_000, "{} bytes", text.len());
    crate::monitoring::promtool_reads(&["check", "metrics"], &text);
}
