//! The admin server over a real core: schemas, pages, refusals, steering.

use std::path::Path;
use std::sync::Arc;

use relay_core::Admit as _;
use relay_core::admit::{Connected, Received};
use relay_core::dead_letters::{DeadLetter, Origin};
use sapi_protocol::Framer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::SOFTWARE;
use crate::http::Peer;
use crate::relay::{Relay, SharedState, Signals};

struct Running {
    relay: Relay,
    peer: Peer,
    home: TempDir,
}

async fn running(more: &str) -> Running {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let text = format!(
        "[upstream]\nurl = 'ws://127.0.0.1:1'\ntenant_id = 'acmecorp01'\ntoken = 'hunter2'\nsubs_ids = ['relay_a']\n\
         [journal]\ndir = {dir:?}\nreserve = '0B'\n[sinks.downstream]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\n\
         [sinks.archive]\ntype = 'file'\npath = '{path}'\nstart_from = 'earliest'\n[admin]\nlisten = '127.0.0.1:0'\n{more}",
        dir = dir.join("journal").display().to_string(),
        path = dir.join("events.ndjson").display(),
    );
    let file = dir.join("relay.toml");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(std::slice::from_ref(&file), &[]).unwrap();
    let relay = Relay::build(config, vec![file]).await.unwrap();
    let peer = peer(&relay, None);
    Running { relay, peer, home }
}

fn peer(relay: &Relay, token: Option<&Path>) -> Peer {
    Peer::new(&format!("http://{}", relay.admin_address()), token).unwrap()
}

impl Running {
    fn state(&self) -> &Arc<SharedState> {
        self.relay.state()
    }

    async fn json(&self, path: &str) -> Value {
        let body = self
            .peer
            .get(path)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"));
        serde_json::from_slice(&body).unwrap()
    }

    async fn refused(&self, path: &str) -> String {
        format!("{:#}", self.peer.get(path).await.unwrap_err())
    }

    async fn receive(&self, bytes: &str) {
        let mut framer = Framer::new(1 << 20);
        framer.push(bytes.to_owned().into());
        let documents = std::iter::from_fn(|| framer.next()).collect();
        let at_ms = crate::relay::now_ms();
        let subscription: Arc<str> = "relay_a".into();
        let received = Received {
            subscription,
            at_ms,
            documents,
        };
        self.state().intake.documents(received).await.unwrap();
        self.state().intake.flush().await;
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

const EVENT: &str = r#"{"AgentStatusChange":{"agentId":"a1","newState":4,"msgInfo":{"instanceId":"i","sequenceId":SEQ,"timestamp":1669235836708}}}"#;

fn event(sequence: u64) -> String {
    EVENT.replace("SEQ", &sequence.to_string())
}

#[expect(clippy::too_many_lines, reason = "one line a key")]
#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_its_schema() {
    let running = running("").await;
    running.receive(&format!("{}{}", event(1), event(2))).await;
    let status = running.json("/v1/status").await;
    for key in [
        "version",
        "tenant",
        "epoch",
        "started_at",
        "ready",
        "subscriptions",
        "journal",
        "bus",
        "sinks",
        "clients",
    ] {
        assert!(status.get(key).is_some(), "{key}: {status}");
    }
    let subscription = &status["subscriptions"][0];
    for key in [
        "id",
        "state",
        "since",
        "connected_at",
        "expected_cut_at",
        "last_byte_at",
        "last_event_at",
        "last_error",
        "gaps",
        "reconnects",
    ] {
        assert!(subscription.get(key).is_some(), "{key}: {subscription}");
    }
    assert_eq!(subscription["id"], "relay_a");
    assert_eq!(
        keys(&status["journal"]),
        [
            "bytes",
            "commit_ms",
            "first",
            "last",
            "oldest_at",
            "writable"
        ]
    );
    assert_eq!(keys(&status["bus"]), ["bytes", "first"]);
    assert_eq!(status["clients"]["connected"], 0);
    let sinks = status["sinks"].as_array().unwrap();
    assert_eq!(sinks.len(), 2);
    for key in [
        "name",
        "type",
        "state",
        "cursor",
        "lag_events",
        "lag_seconds",
        "retries",
        "last_error",
    ] {
        assert!(
            sinks.iter().all(|sink| sink.get(key).is_some()),
            "{key}: {sinks:?}"
        );
    }
    assert_eq!(
        (&sinks[0]["name"], &sinks[0]["type"]),
        (&"archive".into(), &"file".into())
    );
    assert_eq!(
        (&sinks[1]["name"], &sinks[1]["type"]),
        (&"downstream".into(), &"websocket".into())
    );
    assert!(!status.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_means_heard_from() {
    let running = running("").await;
    let silent = running.refused("/readyz").await;
    assert!(
        silent.contains("503") && silent.contains("no subscription has been heard"),
        "{silent}"
    );
    assert_eq!(&running.peer.get("/livez").await.unwrap()[..], b"alive\n");
    running.state().boards[0].update(|row| row.connected_at_ms = Some(crate::relay::now_ms()));
    let ready = running.json("/readyz").await;
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["checks"][0]["name"], "journal");
    assert_eq!(ready["sinks"][0]["name"], "archive");
    running.state().boards[0].update(|row| row.connected_at_ms = Some(1));
    running.refused("/readyz").await;
    // Connected again after a silence: that alone is no sign of life.
    running.state().boards[0].update(|row| {
        row.connected_at_ms = Some(crate::relay::now_ms());
        row.ended_silent = true;
    });
    running.refused("/readyz").await;
    running.state().boards[0].bytes_at(crate::relay::now_ms());
    running.json("/readyz").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_restart_cures_is_not_alive() {
    let documented = include_str!("../../../../docs/HEALTH.md");
    let running = running("").await;
    let alive = || async { running.peer.get("/livez").await.is_ok() };
    assert!(alive().await);
    let due = |ago| std::time::Instant::now().checked_sub(std::time::Duration::from_secs(ago));
    let board = &running.state().boards[0];
    board.update(|row| row.due = due(20));
    assert!(alive().await, "late, but not too late");
    board.update(|row| row.due = Some(due(31).expect("the machine has run for so long")));
    let late = running.refused("/livez").await;
    let words = "has been due to look at its connection for";
    assert!(
        late.contains("503") && late.contains("relay_a") && late.contains(words),
        "{late}"
    );
    assert!(documented.contains(words));
    board.update(|row| row.due = None);
    assert!(alive().await);

    running.state().intake.break_down().await.unwrap();
    running.state().intake.ended().await;
    let dead = running.refused("/livez").await;
    let words = "the commit thread has ended";
    assert!(dead.contains("503") && dead.contains(words), "{dead}");
    assert!(documented.contains(words));
    running.refused("/readyz").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_come_in_pages() {
    let running = running("").await;
    running.receive("{\"broken\": nope}\n").await;
    running.receive("{\"also\": broken}\n").await;
    let first = running.json("/v1/dead-letters?limit=1").await;
    assert_eq!(first["items"].as_array().unwrap().len(), 1, "{first}");
    let letter = &first["items"][0];
    for key in [
        "id",
        "at",
        "origin",
        "reason",
        "bytes_base64",
        "size",
        "truncated",
    ] {
        assert!(letter.get(key).is_some(), "{key}: {letter}");
    }
    assert_eq!(letter["origin"], "upstream");
    let rest = running
        .json(&format!("/v1/dead-letters?after={}", first["next"]))
        .await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest}");
    assert_eq!(rest["next"], Value::Null);
    let none = running.json("/v1/dead-letters?sink=archive").await;
    assert_eq!(none["items"], Value::Array(vec![]));
    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=x",
        "sinc=a",
        "limit=1&limit=2",
    ] {
        let refused = running.refused(&format!("/v1/dead-letters?{wrong}")).await;
        assert!(refused.contains("400"), "{wrong}: {refused}");
    }
    let gaps = running.json("/v1/gaps?limit=5").await;
    assert_eq!(keys(&gaps), ["items", "next"]);
    assert!(
        running
            .refused("/v1/gaps?sink=a")
            .await
            .contains("known here: after, limit")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_text() {
    let running = running("").await;
    let connected = Connected {
        subscription: "relay_a".into(),
        at_ms: crate::relay::now_ms(),
    };
    running.state().intake.connected(connected).await.unwrap();
    running.receive(&event(1)).await;
    let text = running.peer.get("/metrics").await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    for series in [
        "sapi_relay_journal_appended_events_total 1",
        "sapi_relay_journal_writable 1",
        "sapi_relay_config_last_reload_successful 1",
        "sapi_relay_build_info{version=",
        "sapi_relay_sink_state{sink=\"archive\",state=\"running\"} 1",
        "sapi_relay_sink_lag_events{sink=\"archive\"}",
        "sapi_relay_upstream_session_age_seconds{subscription=\"relay_a\"} 0",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_steered() {
    let running = running("").await;
    running.receive(&format!("{}{}", event(1), event(2))).await;
    let post = async |path: &str, body: &'static str| running.peer.post(path, body.into()).await;
    let paused = post("/v1/sinks/archive/pause", "{}").await.unwrap();
    assert!(
        String::from_utf8_lossy(&paused).contains("paused"),
        "{paused:?}"
    );
    let sought = post("/v1/sinks/archive/seek", r#"{"to": "earliest"}"#)
        .await
        .unwrap();
    assert!(
        String::from_utf8_lossy(&sought).contains(".0\""),
        "{sought:?}"
    );
    let resumed = post("/v1/sinks/archive/resume", "{}").await.unwrap();
    assert!(
        !String::from_utf8_lossy(&resumed).contains("paused"),
        "{resumed:?}"
    );
    for (path, body, status) in [
        ("/v1/sinks/archive/seek", "{}", "400"),
        ("/v1/sinks/archive/seek", r#"{"to": "yesterday"}"#, "400"),
        (
            "/v1/sinks/archive/seek",
            r#"{"to": "0000000000000001.1"}"#,
            "400",
        ),
        ("/v1/sinks/archive/explode", "{}", "404"),
        ("/v1/sinks/nobody/pause", "{}", "404"),
        ("/v1/sinks/downstream/pause", "{}", "400"),
    ] {
        let refused = format!("{:#}", post(path, body).await.unwrap_err());
        assert!(refused.contains(status), "{path}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_guards_all_but_the_probes() {
    let running = running("token = 'letmein'").await;
    for open in ["/livez", "/metrics"] {
        running.peer.get(open).await.unwrap();
    }
    for closed in [
        "/",
        "/v1/status",
        "/v1/gaps",
        "/v1/dead-letters",
        "/nothing",
    ] {
        let refused = running.refused(closed).await;
        assert!(
            refused.contains("401") || closed == "/nothing" && refused.contains("404"),
            "{closed}: {refused}"
        );
    }
    let file = running.home.path().join("token");
    std::fs::write(&file, "letmein\n").unwrap();
    let peer = peer(&running.relay, Some(&file));
    assert!(peer.get("/v1/status").await.is_ok());
    assert!(peer.get("/").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_can_not_be_retried_say_why() {
    let running = running("").await;
    let letters = &running.state().dead_letters;
    let letter = |sink: Option<&str>| DeadLetter {
        id: 0,
        at: jiff::Timestamp::now(),
        origin: if sink.is_some() {
            Origin::Sink
        } else {
            Origin::Upstream
        },
        sink: sink.map(str::to_owned),
        subscription: None,
        event_id: None,
        cursor: None,
        reason: "refused".to_owned(),
        bytes: "{}".into(),
        size: 2,
        truncated: false,
    };
    let all = [None, Some("archive"), Some("downstream"), Some("gone")];
    letters.put(all.map(letter).to_vec()).await.unwrap();
    let page = running.json("/v1/dead-letters").await;
    let id = |index: usize| page["items"][index]["id"].as_u64().unwrap();
    let ask = async |wish: Value| {
        let body = wish.to_string().into();
        let answer = running.peer.post("/v1/dead-letters/retry", body).await;
        answer
            .map(|body| serde_json::from_slice::<Value>(&body).unwrap())
            .map_err(|error| format!("{error:#}"))
    };
    for (wish, status, why) in [
        (json!({"sink": "upstream"}), 400, "holds no event"),
        (json!({"id": id(0)}), 400, "holds no event"),
        (json!({"sink": "downstream"}), 400, "read by its clients"),
        (json!({"sink": "gone"}), 404, "no sink \"gone\""),
        (json!({"id": id(3)}), 404, "no sink \"gone\""),
        (json!({"id": 999}), 404, "no dead letter 999"),
        (
            json!({"id": id(1), "sink": "gone"}),
            400,
            "one of sink archive",
        ),
        (json!({}), 400, "{\"sink\": ..} or {\"id\": ..}"),
        (json!({"snk": "archive"}), 400, "unknown field"),
    ] {
        let text = ask(wish.clone()).await.unwrap_err();
        assert!(
            text.contains(&format!("answered {status}")),
            "{wish}: {text}"
        );
        assert!(text.contains(why), "{wish}: {text}");
    }
    // Kept without its event, as earlier versions did.
    let told = ask(json!({"sink": "archive"})).await.unwrap();
    assert_eq!((&told["unfit"], &told["delivered"]), (&json!(1), &json!(0)));
    assert_eq!(told["order"], "out of order");
    let pause = "/v1/sinks/archive/pause";
    running.peer.post(pause, "{}".into()).await.unwrap();
    let text = ask(json!({"sink": "archive"})).await.unwrap_err();
    assert!(
        text.contains("answered 409") && text.contains("is paused: resume it"),
        "{text}"
    );
}

#[tokio::test]
async fn the_relay_ends_by_itself_with_70_when_its_commit_thread_has_panicked() {
    let Running { relay, home, .. } = running("[shutdown]\ntimeout = '2s'\n").await;
    let intake = relay.state().intake.clone();
    let signals = Signals::new(CancellationToken::new()).unwrap();
    let (broken, ended) = tokio::join!(intake.break_down(), relay.run(signals));
    broken.unwrap();
    let failure = ended.unwrap_err();
    assert_eq!(failure.code(), SOFTWARE);
    let text = failure.to_string();
    assert!(text.contains("the commit thread has panicked"), "{text}");
    drop(home);
}
