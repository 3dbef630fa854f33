//! The admin server over a real core: schemas, pages, refusals, steering.

use std::path::Path;
use std::sync::Arc;

use relay_core::admit::{Connected, Received};
use relay_core::dead_letters::{DeadLetter, Origin};
use relay_core::{Admit as _, NoticeDraft, NoticeKind};
use sapi_protocol::Framer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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

/// The head and the beginning of the body that a request is answered with.
async fn raw(relay: &Relay, head: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(relay.admin_address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The head, and of a stream its first chunk.
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    (stream, String::from_utf8_lossy(&answer).into_owned())
}

/// What an answer holds once it holds something, with what of it came before.
async fn until_read(stream: &mut TcpStream, before: String, wanted: &str) -> String {
    let mut text = before.into_bytes();
    let limit = std::time::Duration::from_secs(30);
    let read = tokio::time::timeout(limit, async {
        while !String::from_utf8_lossy(&text).contains(wanted) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{wanted}");
        }
    });
    read.await.expect(wanted);
    String::from_utf8(text).unwrap()
}

fn get(running: &Running, path: &str, headers: &str) -> String {
    let host = running.relay.admin_address();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_is_what_the_dashboard_draws() {
    let running = running("").await;
    running.receive(&format!("{}{}", event(1), event(2))).await;
    running.receive("{\"broken\": nope}\n").await;
    let overview = running.json("/v1/overview").await;
    assert_eq!(overview["status"]["tenant"], "acmecorp01");
    assert_eq!(overview["committed"], 2);
    assert!(overview["commits"].as_u64() >= Some(1), "{overview}");
    assert_eq!(overview["dead_letters"]["upstream"], 1.0, "{overview}");
    assert_eq!(overview["checks"][0]["name"], "journal");
    assert_eq!(overview["gaps"], json!([]), "{overview}");
    for number in [1, 2] {
        let text = format!("disconnected for the {number}. time");
        let draft = NoticeDraft::new(NoticeKind::Disconnected, text);
        running.state().notices.raise(draft);
    }
    let both = async {
        loop {
            let overview = running.json("/v1/overview?seen=notice:unknown").await;
            if overview["gaps"].as_array().unwrap().len() == 2 {
                return overview;
            }
        }
    };
    let limit = std::time::Duration::from_secs(30);
    let both = tokio::time::timeout(limit, both).await.unwrap();
    let latest = both["gaps"][1]["id"].as_str().unwrap();
    let seen = running.json(&format!("/v1/overview?seen={latest}")).await;
    assert!(seen.get("gaps").is_none(), "{seen}");
    assert_eq!(seen["notices"]["disconnected"], 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_shows_what_is_wanted_and_is_bounded() {
    let running = running("").await;
    running.receive(&event(1)).await;
    let (mut stream, answer) = raw(&running.relay, &get(&running, "/v1/events", "")).await;
    assert!(
        answer.contains("content-type: text/event-stream"),
        "{answer}"
    );
    let text = until_read(&mut stream, answer, "}]").await;
    assert!(
        text.contains("data: [{") && text.contains(r#""key":"a1""#),
        "{text}"
    );
    let (mut other, others) = raw(
        &running.relay,
        &get(&running, "/v1/events?types=Interaction/*", ""),
    )
    .await;
    let cursor = running.json("/v1/status").await["journal"]["last"].clone();
    let resumed = format!("Last-Event-ID: {}\r\n", cursor.as_str().unwrap());
    let (mut third, thirds) = raw(&running.relay, &get(&running, "/v1/events", &resumed)).await;
    let large = event(2).replace("a1", &"x".repeat(20_000));
    running.receive(&large).await;
    let text = until_read(&mut third, thirds, "}]").await;
    assert!(text.len() < 20_000 + 16_384, "cut: {}", text.len());
    assert!(!text.contains(r#""key":"a1""#), "seen before: {text}");
    let notice = NoticeDraft::new(NoticeKind::Clock, "the clock jumped");
    running.state().notices.raise(notice);
    running.state().intake.flush().await;
    let text = until_read(&mut other, others, "the clock jumped").await;
    assert!(!text.contains("AgentStatusChange"), "{text}");

    let mut more = Vec::new();
    let refused = loop {
        let (stream, answer) = raw(&running.relay, &get(&running, "/v1/events", "")).await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        more.push(stream);
        assert!(more.len() < 20, "there is an end");
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let (_, refused) = raw(&running.relay, &get(&running, "/v1/events?types=a,,b", "")).await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    for path in ["/", "/v1/events", "/v1/status", "/v1/dead-letters"] {
        let elsewhere = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let (_, refused) = raw(&running.relay, &elsewhere).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{path}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stands_for_the_token_and_for_nothing_more() {
    let running = running("token = 'letmein'").await;
    let host = running.relay.admin_address();
    let post = |path: &str, more: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let status = |answer: &str| answer.get(9..12).unwrap_or_default().to_owned();
    let ask = async |request: String| raw(&running.relay, &request).await.1;
    let login = |token: &str| post("/v1/session", "", &json!({ "token": token }).to_string());
    assert_eq!(status(&ask(login("guess")).await), "401");
    assert_eq!(status(&ask(post("/v1/session", "", "x")).await), "400");
    let foreign = post("/v1/session", "Origin: http://evil.example\r\n", "{}");
    assert_eq!(status(&ask(foreign).await), "403");
    let opened = ask(login("letmein")).await;
    assert_eq!(status(&opened), "204");
    assert!(opened.contains("; HttpOnly; SameSite=Strict"), "{opened}");
    let cookie = opened.split("set-cookie: ").nth(1).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    for path in ["/", "/v1/status", "/v1/overview", "/v1/events"] {
        let with = ask(get(&running, path, &cookie)).await;
        assert_eq!(status(&with), "200", "{path}");
        let without = ask(get(&running, path, "")).await;
        assert_eq!(status(&without), "401", "{path}");
        assert!(without.contains("Bearer realm"), "{without}");
    }
    let pause = |more: &str| post("/v1/sinks/archive/pause", more, "{}");
    assert_eq!(status(&ask(pause("")).await), "401");
    let foreign = format!("{cookie}Origin: http://evil.example\r\n");
    assert_eq!(status(&ask(pause(&foreign)).await), "403");
    assert_eq!(status(&ask(pause(&cookie)).await), "200");
    assert_eq!(
        status(&ask(get(&running, "/assets/main.js", "")).await),
        "200"
    );
    let close = format!("DELETE /v1/session HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n");
    assert!(ask(close).await.contains("Max-Age=0"));
    assert_eq!(
        status(&ask(get(&running, "/v1/status", &cookie)).await),
        "401"
    );
}
