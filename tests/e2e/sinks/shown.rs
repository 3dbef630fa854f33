//! What is shown of a sink: its row of `/v1/status`, its metrics, its lines in the log.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use jiff::Timestamp;
use relay_tests::servers::receiver::{Answer, Receiver};
use serde_json::Value;

use super::world::{World, file, hook, numbers};

const STATES: [&str; 6] = [
    "running", "retrying", "paused", "blocked", "halted", "disabled",
];

/// A relay with a sink that is level and one whose destination answers 503.
async fn level_and_behind(receiver: &Receiver) -> World {
    receiver.answers_all(Answer::status(503).body("overloaded"));
    let world = World::start(|path| {
        let level = file("level", path, "start_from = \"earliest\"");
        [level, hook("behind", &receiver.url("/"), "")].concat()
    })
    .await;
    world.emit_many(3);
    world.settled("level").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_status_has_every_field() {
    let receiver = Receiver::start().await;
    let world = level_and_behind(&receiver).await;
    let status = world.relay.status().await;
    let epoch = status["epoch"].as_str().unwrap();
    let at_the_end = |row: &Value| row["lag_events"] == 0;
    let level = world.sink("level", "level", at_the_end).await;
    let fields: BTreeSet<_> = level
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let wanted = [
        "name",
        "type",
        "state",
        "cursor",
        "lag_events",
        "lag_seconds",
        "retries",
        "last_error",
        "warnings",
    ];
    assert_eq!(fields, BTreeSet::from(wanted));
    assert_eq!(
        (&level["name"], &level["type"]),
        (&"level".into(), &"file".into())
    );
    assert_eq!(level["state"], "running");
    assert_eq!(level["lag_events"], 0);
    let cursor = level["cursor"].as_str().unwrap();
    assert!(cursor.starts_with(&format!("{epoch}.")), "{level}");
    assert_eq!(
        (&level["lag_seconds"], &level["retries"]),
        (&0.0.into(), &0.into())
    );
    assert_eq!(
        (&level["last_error"], &level["warnings"]),
        (&Value::Null, &Value::Array(vec![]))
    );

    let twice = |row: &Value| row["retries"].as_u64() >= Some(2);
    let behind = world.sink("behind", "two retries", twice).await;
    assert_eq!(
        (&behind["type"], &behind["state"]),
        (&"webhook".into(), &"retrying".into())
    );
    let cursor = behind["cursor"].as_str().unwrap();
    assert!(cursor.starts_with(&format!("{epoch}.")), "{behind}");
    assert!(behind["lag_events"].as_u64() >= Some(3), "{behind}");
    assert!(behind["lag_seconds"].as_f64() > Some(0.0), "{behind}");
    let error = behind["last_error"].as_object().unwrap();
    let fields: BTreeSet<_> = error.keys().map(String::as_str).collect();
    assert_eq!(fields, BTreeSet::from(["at", "remedy", "text"]));
    let at: Timestamp = error["at"].as_str().unwrap().parse().unwrap();
    assert!(
        Timestamp::now().duration_since(at).as_secs() < 60,
        "{behind}"
    );
    assert!(error["text"].as_str().unwrap().contains("503"), "{behind}");

    receiver.answers_all(Answer::ok());
    world.settled("behind").await;
    let behind = world.state("behind", "running").await;
    assert_eq!(behind["retries"], 0);
    assert!(
        behind["last_error"].is_object(),
        "what went wrong last is still told: {behind}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_a_sink_is_there_under_its_label() {
    let receiver = Receiver::start().await;
    let world = level_and_behind(&receiver).await;
    world.state("behind", "retrying").await;
    let metrics = world.metrics().await;
    let kinds = [
        ("up", "gauge"),
        ("state", "gauge"),
        ("delivered_total", "counter"),
        ("retries_total", "counter"),
        ("rejected_total", "counter"),
        ("skipped_total", "counter"),
        ("lag_events", "gauge"),
        ("lag_seconds", "gauge"),
        ("retention_headroom_seconds", "gauge"),
        ("delivery_duration_seconds", "histogram"),
        ("latency_seconds", "histogram"),
    ];
    for (name, kind) in kinds {
        let name = format!("sapi_relay_sink_{name}");
        assert!(
            metrics.contains(&format!("# TYPE {name} {kind}\n")),
            "{name}: {metrics}"
        );
        for sink in ["level", "behind"] {
            let series = match kind {
                "histogram" => format!("{name}_count{{sink=\"{sink}\"}} "),
                _ if name.ends_with("state") => {
                    format!("{name}{{sink=\"{sink}\",state=\"paused\"}} 0")
                }
                _ => format!("{name}{{sink=\"{sink}\"}} "),
            };
            assert!(metrics.contains(&series), "{series}: {metrics}");
        }
    }
    let own = metrics
        .lines()
        .filter(|line| line.starts_with("# TYPE sapi_relay_sink_"));
    assert_eq!(own.count(), kinds.len(), "no other: {metrics}");
    let states = |sink: &str| {
        let is = |state: &&str| {
            let series = format!("sapi_relay_sink_state{{sink=\"{sink}\",state=\"{state}\"}} 1");
            metrics.lines().any(|line| line == series)
        };
        STATES.into_iter().filter(is).collect::<Vec<_>>()
    };
    assert_eq!(
        (states("level"), states("behind")),
        (vec!["running"], vec!["retrying"])
    );
    let value = async |name: &str, sink: &str| world.metric(name, sink).await.unwrap();
    assert_eq!(value("sink_up", "level").await, 1.0);
    assert_eq!(value("sink_up", "behind").await, 0.0);
    assert_eq!(value("sink_delivered_total", "level").await, 3.0);
    assert_eq!(value("sink_latency_seconds_count", "level").await, 3.0);
    assert!(value("sink_delivery_duration_seconds_count", "level").await >= 1.0);
    assert!(value("sink_lag_events", "behind").await >= 3.0);
    assert!(value("sink_lag_seconds", "behind").await > 0.0);
    assert!(value("sink_retries_total", "behind").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_falters_again_and_again_buys_no_log() {
    let receiver = Receiver::start().await;
    let asked = AtomicUsize::new(0);
    // The first request, and every third from there, is turned away: as many failures as half of the events.
    receiver.answers(move |_| {
        let falters = asked.fetch_add(1, Relaxed).is_multiple_of(3);
        Answer::status(if falters { 503 } else { 200 })
    });
    let quick = hook("hook", &receiver.url("/"), "concurrency = 1").replace("\"50ms\"", "\"1ms\"");
    let quick = quick.replace("\"300ms\"", "\"2ms\"");
    let world = World::start(|_| quick).await;
    // The first event alone: its failure is said, and so is the end of it.
    world.emit_many(1);
    world.settled("hook").await;
    world.state("hook", "running").await;
    world.emit_many(199);
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), (1..=200).collect::<Vec<_>>());
    let failures = world.metric("sink_retries_total", "hook").await.unwrap();
    assert!(failures >= 60.0, "{failures} failures");
    let log = world.relay.log();
    let lines = |words| log.lines().filter(|line| line.contains(words)).count();
    let (failed, again) = (lines("delivery failed"), lines("the sink delivers again"));
    // At the first failure and every power of two.
    assert!(
        (6..=9).contains(&failed),
        "{failed} lines of {failures} failures: {log}"
    );
    assert!(
        (1..=9).contains(&again),
        "{again} lines of {failures} failures: {log}"
    );
}
