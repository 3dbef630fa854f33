//! `/v1/events` and `/v1/history`.

use std::time::Duration;

use http_body_util::BodyExt;
use relay_core::{From, Offset};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::fixture::{Fixture, config, number, soon};
use crate::websocket::query::Wish;
use crate::websocket::{history, sse};

/// A client of `/v1/events` that reads lines.
struct Sse(BufReader<TcpStream>);

impl Sse {
    async fn open(relay: &Fixture, path: &str, headers: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            relay.addr
        );
        let mut sse = Self(BufReader::new(relay.tcp(&request).await));
        let head = sse.until("").await;
        assert!(head[0].starts_with("HTTP/1.1 200"), "{head:?}");
        assert!(
            head.iter()
                .any(|line| line == "content-type: text/event-stream"),
            "{head:?}"
        );
        sse
    }

    /// Lines up to one that starts so, and is not empty unless that is asked for.
    async fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                soon("a line", self.0.read_line(&mut line)).await.unwrap() > 0,
                "{lines:?}"
            );
            let line = line.trim_end().to_owned();
            let last = if start.is_empty() {
                line.is_empty()
            } else {
                line.starts_with(start)
            };
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// The next event: type, number, id.
    async fn event(&mut self) -> (String, u64, String) {
        let lines = self.until("event: ").await;
        let event_type = lines.last().unwrap()["event: ".len()..].to_owned();
        let data = self.until("data: ").await.pop().unwrap();
        let id = self.until("id: ").await.pop().unwrap()["id: ".len()..].to_owned();
        let json: serde_json::Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
        assert_eq!(json["relaycursor"], id);
        (event_type, number(&json["data"]), id)
    }
}

#[tokio::test]
async fn server_sent_events_resume_with_the_last_id() {
    let mut relay = Fixture::new().await;
    relay.commit("AgentStatusChange", 3).await;
    let mut sse = Sse::open(&relay, "/v1/events?from=earliest", "").await;
    let first = sse.event().await;
    assert_eq!((first.0.as_str(), first.1), ("AgentStatusChange", 1));
    assert_eq!(sse.event().await.1, 2);
    drop(sse);
    let last = format!("Last-Event-ID: {}\r\n", first.2);
    let mut sse = Sse::open(&relay, "/v1/events?from=now", &last).await;
    assert_eq!(sse.event().await.1, 2, "it wins over from");
    assert_eq!(sse.event().await.1, 3);
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(sse.event().await.1, 4);
    let answer = relay.get_with("/v1/events", "Last-Event-ID: 17\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn an_idle_stream_of_events_knows_its_cursor_and_ends_with_the_relay() {
    let mut relay = Fixture::new().await;
    let mut sse = Sse::open(&relay, "/v1/events?types=Interaction&progress=true", "").await;
    let start = sse.until("id: ").await.pop().unwrap();
    assert_eq!(start, format!("id: {}.0", relay.core.bus.epoch()));
    relay.commit("AgentStatusChange", 2).await;
    let progress = sse.until("id: ").await.pop().unwrap();
    assert_eq!(
        progress,
        format!("id: {}", relay.core.bus.cursor(relay.core.bus.last()))
    );
    relay.stop.cancel();
    let mut end = String::new();
    while soon("the end", sse.0.read_line(&mut end)).await.unwrap() > 0 {}
    assert!(
        end.ends_with("0\r\n\r\n"),
        "{end:?}: the body ends in order"
    );
    relay.drain().await;
    assert_eq!(relay.left("shutdown"), 1);
}

#[tokio::test]
async fn history_has_a_beginning_an_end_and_a_limit() {
    let mut relay = Fixture::with(config(), 20_000).await;
    for _ in 0..10 {
        relay.commit_padded("AgentStatusChange", 30, 200).await;
        relay.commit_padded("Interaction", 10, 200).await;
    }
    let numbers = |lines: Vec<serde_json::Value>| -> Vec<u64> {
        lines.iter().map(|line| number(&line["data"])).collect()
    };
    assert_eq!(
        numbers(relay.history("").await),
        (1..=400).collect::<Vec<_>>()
    );
    let lines = relay.history("?limit=5").await;
    let cursor = lines[4]["relaycursor"].as_str().unwrap().to_owned();
    assert_eq!(numbers(lines), [1, 2, 3, 4, 5]);
    let lines = relay.history(&format!("?from={cursor}&limit=2")).await;
    assert_eq!(numbers(lines), [6, 7]);
    assert_eq!(
        numbers(relay.history(&format!("?until={cursor}")).await),
        [1, 2, 3, 4, 5]
    );
    let interactions = relay.history("?types=Interaction").await;
    assert_eq!(interactions.len(), 100);
    assert_eq!(relay.history("?key=agent0&types=Agent*").await.len(), 100);
    assert_eq!(relay.history("?from=now").await.len(), 0);
    assert_eq!(relay.history("?until=2020-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(
        relay
            .history("?from=2020-01-01T00:00:00%2B00:00&limit=1")
            .await
            .len(),
        1
    );
    relay.until_connected(0).await;
    assert_eq!(relay.left("complete"), 9);
}

#[tokio::test]
async fn a_history_under_way_is_finished_when_the_relay_stops() {
    use tokio::io::AsyncReadExt;
    let mut relay = Fixture::with(config(), 1 << 20).await;
    for _ in 0..50 {
        relay.commit_padded("AgentStatusChange", 20, 4000).await;
    }
    let mut socket = relay
        .tcp("GET /v1/history HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut answer = vec![0; 1000];
    soon("the beginning", socket.read_exact(&mut answer))
        .await
        .unwrap();
    relay.stop.cancel();
    soon("the end", socket.read_to_end(&mut answer))
        .await
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.ends_with("0\r\n\r\n"), "the body ends in order");
    assert_eq!(answer.matches("relaycursor").count(), 1000);
    relay.drain().await;
}

#[tokio::test]
async fn silent_events_say_their_cursor_now_and_then() {
    let relay = Fixture::new().await;
    let mut sse = Sse::open(&relay, "/v1/events", "").await;
    let start = sse.until("id: ").await.pop().unwrap();
    tokio::time::pause();
    let mut line = String::new();
    while !line.starts_with("id: ") {
        line.clear();
        assert!(sse.0.read_line(&mut line).await.unwrap() > 0);
    }
    assert_eq!(line.trim_end(), start);
}

/// Where others hold the whole budget, an event goes at a time, and none is left out.
#[tokio::test]
async fn answers_go_on_by_small_steps_when_others_hold_the_memory() {
    let mut relay = Fixture::new().await;
    relay.commit_padded("AgentStatusChange", 20, 5000).await;
    let hub = relay.hub();
    let held = hub.budget.take(vec![0; 64 << 20]).unwrap();
    let wish = || Wish {
        from: Some(From::Earliest),
        limit: Some(20),
        ..Wish::default()
    };
    let admission = || hub.admit(&hub.clients.anonymous().unwrap()).unwrap();
    let mut history = history::open(admission(), wish()).await.unwrap();
    let mut events = sse::open(admission(), wish()).await.unwrap();
    let greeting = events.frame().await.unwrap().unwrap();
    assert!(!text(greeting).contains("data:"));
    for n in 1..=20 {
        let line = text(history.frame().await.unwrap().unwrap());
        assert_eq!(
            number(&serde_json::from_str::<Value>(&line).unwrap()["data"]),
            n
        );
        let chunk = text(events.frame().await.unwrap().unwrap());
        assert_eq!(chunk.matches("data: ").count(), 1);
        assert!(chunk.contains(&format!("\"n\":{n},")), "{chunk}");
    }
    assert!(history.frame().await.is_none());
    drop(held);
    let mut history = history::open(admission(), wish()).await.unwrap();
    let lines = text(history.frame().await.unwrap().unwrap());
    assert!(
        lines.lines().count() > 1,
        "with room there are many at once"
    );
}

/// Of large events there are never more under way than the budget holds, however many clients do
/// not take theirs; who waits for room gets it when it comes, or may come back.
#[tokio::test]
async fn a_large_event_is_not_begun_before_there_is_room_for_it() {
    const CLIENTS: usize = 30;
    let mut relay = Fixture::with(config(), 1 << 20).await;
    relay.commit_padded("AgentStatusChange", 1, 4 << 20).await;
    relay.commit("AgentStatusChange", 1).await;
    assert!(relay.core.bus.memory_first() > Offset(1), "it is on disk");
    let hub = relay.hub();
    let admission = || hub.admit(&hub.clients.anonymous().unwrap()).unwrap();
    let wish = || Wish {
        from: Some(From::Earliest),
        ..Wish::default()
    };
    let mut clients = JoinSet::new();
    let (given, mut held) = mpsc::channel(CLIENTS);
    for number in 0..CLIENTS {
        let mut body = if number % 2 == 0 {
            history::open(admission(), wish()).await.unwrap()
        } else {
            sse::open(admission(), wish()).await.unwrap()
        };
        let given = given.clone();
        clients.spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let chunk = frame.into_data().unwrap();
                if chunk.len() > 4 << 20 {
                    // Kept, like the connection of a client that does not read.
                    given.send((chunk, body)).await.unwrap();
                    return;
                }
            }
        });
    }
    let mut chunks = Vec::new();
    let first = soon("a large event", held.recv()).await.unwrap();
    chunks.push(first);
    // Time passes once nobody moves any more: then those who wait are told to leave.
    tokio::time::pause();
    while clients.join_next().await.is_some() {}
    while let Ok(next) = held.try_recv() {
        chunks.push(next);
    }
    let bytes: usize = chunks.iter().map(|(chunk, _)| chunk.len()).sum();
    assert!(bytes <= 64 << 20, "{} chunks are held", chunks.len());
    let (waited, held) = (relay.left("slow"), chunks.len() as u64);
    assert_eq!(waited + held, CLIENTS as u64);
    // One that reads makes room for the next.
    let mut next = history::open(admission(), wish()).await.unwrap();
    let mut frame = std::pin::pin!(next.frame());
    tokio::time::resume();
    let waiting = tokio::time::timeout(Duration::from_millis(200), &mut frame);
    assert!(waiting.await.is_err());
    drop(chunks.pop());
    let frame = soon("room", frame).await.unwrap().unwrap();
    assert!(frame.into_data().unwrap().len() > 4 << 20);
}

fn text(frame: hyper::body::Frame<bytes::Bytes>) -> String {
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}
