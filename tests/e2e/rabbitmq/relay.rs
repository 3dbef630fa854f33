//! The whole relay with a RabbitMQ sink: what it tells, what it costs, and how it bears a network.

use std::time::Duration;

use relay_tests::ledger::emitted;
use relay_tests::until;

use super::fixture::{LARGEST, Whole, assert_complete, contents, name, shared};

/// How long the cost of idleness is measured: longer than a heartbeat takes to come.
const IDLE: Duration = Duration::from_secs(6);

/// How much of a core an idle relay may take, with all its parts.
const IDLE_SHARE: f64 = 0.02;

/// The resident memory that a silent broker may cost, in bytes.
const MEMORY: u64 = 160 << 20;

/// The time that a process has computed.
fn computed(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    // Linux tells it in hundredths of a second, whatever the machine.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// How many threads of lapin's a process has: one a connection.
fn connections(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| {
        // It may have ended.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    names.filter(|name| name.trim() == "lapin-io-loop").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_it_does_costs_nothing_idle_and_bears_cuts_and_silence() {
    let server = &shared().await.server;
    let client = server.client().await;
    let exchange = name();
    let keys = format!("exchange = {exchange:?}");
    let whole = Whole::start(server, &[("lake", &keys)]).await;
    whole.simulator.emit(50);
    whole
        .blocked(
            "lake",
            &["there is no exchange", &exchange, "set declare = true"],
        )
        .await;
    let retries = whole.metric("retries_total", "lake").await;
    assert!(retries.is_some_and(|count| count >= 1.0), "{retries:?}");
    whole.make(&client, "lake", &exchange).await;
    whole.settled("lake").await;

    let large = "x".repeat(LARGEST);
    let large = format!(
        "{{\"Interaction\":{{\"event\":\"Blob\",\"interactionGUID\":\"g\",\"blob\":\"{large}\"}}}}"
    );
    whole.simulator.emit_raw("Interaction", large);
    whole.simulator.emit(10);
    whole.settled("lake").await;
    told(&whole).await;

    cut(&whole).await;
    idle(&whole).await;
    silent(&whole).await;
    let fit: Vec<_> = emitted(&whole.simulator)
        .into_iter()
        .filter(|event| event.len() <= LARGEST)
        .collect();
    assert_complete(&contents(&client, &exchange).await, &fit);
    assert!(whole.relay.terminate().await.success());
}

/// The sink's row and metrics after sixty events and one that was too large.
async fn told(whole: &Whole) {
    let row = whole
        .sink("lake", "delivery", |row| row["state"] == "running")
        .await;
    assert_eq!(
        (&row["type"], &row["lag_events"]),
        (&"rabbitmq".into(), &0.into())
    );
    assert!(
        row["cursor"].is_string() && row["listen"].is_null(),
        "{row}"
    );
    let metrics = [
        ("up", 1.0),
        ("delivered_total", 60.0),
        ("rejected_total", 1.0),
        ("skipped_total", 0.0),
        ("lag_events", 0.0),
        ("lag_seconds", 0.0),
    ];
    for (name, value) in metrics {
        assert_eq!(whole.metric(name, "lake").await, Some(value), "{name}");
    }
    for name in ["delivery_duration_seconds_count", "latency_seconds_count"] {
        let count = whole.metric(name, "lake").await;
        assert!(count.is_some_and(|count| count >= 1.0), "{name}: {count:?}");
    }
    let reasons = whole.reasons("lake").await;
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("max_message_size"), "{reasons:?}");
    let log = whole.relay.log();
    let named = ["refuses an event for good", "max_message_size"];
    assert!(named.iter().all(|words| log.contains(words)), "{log}");
}

/// A connection that is cut is replaced, and nothing of it stays.
async fn cut(whole: &Whole) {
    for _ in 0..5 {
        let before = whole.proxy.accepted();
        whole.proxy.cut();
        whole.simulator.emit(20);
        whole.settled("lake").await;
        assert!(whole.proxy.accepted() > before, "it has connected anew");
    }
    until("one connection's thread", || async {
        (connections(whole.relay.pid()) == 1).then_some(())
    })
    .await;
}

/// A connection without events costs heartbeats.
async fn idle(whole: &Whole) {
    let (pid, accepted) = (whole.relay.pid(), whole.proxy.accepted());
    let before = computed(pid);
    // The length of it is what is measured over.
    tokio::time::sleep(IDLE).await;
    let share = (computed(pid) - before).as_secs_f64() / IDLE.as_secs_f64();
    assert!(share < IDLE_SHARE, "{share:.3} of a core");
    assert_eq!(whole.proxy.accepted(), accepted, "the connection stands");
}

/// A broker that neither reads nor answers is noticed by its missing heartbeats. Meanwhile events cost disk,
/// not memory.
async fn silent(whole: &Whole) {
    whole.proxy.black_hole();
    whole.simulator.emit(5_000);
    let row = whole
        .sink("lake", "the silence seen", |row| row["state"] == "retrying")
        .await;
    assert_ne!(row["last_error"]["text"], "", "{row}");
    whole
        .sink("lake", "its lag", |row| {
            row["lag_events"].as_u64() >= Some(5_000)
        })
        .await;
    let memory = whole.relay.peak_memory();
    assert!(memory < MEMORY, "{} MiB resident", memory >> 20);
    whole.proxy.cut();
    whole.proxy.heal();
    whole.settled("lake").await;
}
