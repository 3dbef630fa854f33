//! `/v1/stream`.

use std::time::Duration;

use relay_core::Offset;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::fixture::{Fixture, config, number, refused, soon};
use crate::websocket::SPARE;

#[tokio::test]
async fn a_client_gets_what_comes_after_it() {
    let mut relay = Fixture::new().await;
    relay.commit("AgentStatusChange", 3).await;
    let mut peer = relay.connect("/v1/stream").await;
    relay.until_connected(1).await;
    relay.commit("AgentStatusChange", 2).await;
    let event = peer.json().await;
    assert_eq!(number(&event["data"]), 4);
    assert_eq!(event["id"], "acmecorp01:i:4:1669235836708");
    assert_eq!(event["type"], "com.8x8.cc.AgentStatusChange");
    assert_eq!(event["source"], "urn:8x8:cc:acmecorp01");
    assert_eq!(peer.number().await, 5);
    peer.close().await;
    relay.until_connected(0).await;
    assert_eq!(relay.left("closed"), 1);
    assert_eq!(
        relay
            .metrics
            .client_events_total
            .with_label_values(&["downstream"])
            .get(),
        2
    );
}

#[tokio::test]
async fn a_cursor_resumes_over_the_border_of_disk_and_memory_while_events_arrive() {
    let mut relay = Fixture::with(config(), 40_000).await;
    for _ in 0..20 {
        relay.commit_padded("AgentStatusChange", 50, 300).await;
    }
    assert!(
        relay.core.bus.memory_first() > Offset(10),
        "most of it is on disk only"
    );
    let mut peer = relay.connect("/v1/stream?from=earliest").await;
    let mut numbers = Vec::new();
    let mut cursor = String::new();
    for _ in 0..10 {
        relay.commit("AgentStatusChange", 5).await;
        for _ in 0..40 {
            let event = peer.json().await;
            numbers.push(number(&event["data"]));
            event["relaycursor"]
                .as_str()
                .unwrap()
                .clone_into(&mut cursor);
        }
    }
    drop(peer);
    let mut peer = relay.connect(&format!("/v1/stream?from={cursor}")).await;
    numbers.extend(peer.numbers(1050 - 400).await);
    assert_eq!(numbers, (1..=1050).collect::<Vec<_>>());
}

#[tokio::test]
async fn raw_frames_hold_the_bytes_and_nothing_else() {
    let mut relay = Fixture::new().await;
    relay.commit("AgentStatusChange", 1).await;
    let mut peer = relay.connect("/v1/stream?from=earliest&format=raw").await;
    let text = peer.text().await.unwrap();
    assert_eq!(
        text,
        r#"{"AgentStatusChange":{"n":1,"agentId":"agent1","pad":"xxxxxxxxxx","msgInfo":{"instanceId":"i","sequenceId":1,"timestamp":1669235836708}}}"#
    );
}

#[tokio::test]
async fn filters_hold_and_progress_tells_the_cursor_meanwhile() {
    let mut relay = Fixture::new().await;
    let path = "/v1/stream?types=agent*,!*prov*&key=agent2&progress=true&from=earliest";
    let mut peer = relay.connect(path).await;
    let first = peer.json().await;
    assert!(
        first["relaycursor"].as_str().unwrap().ends_with(".0"),
        "{first}"
    );
    relay.commit("Interaction", 4).await;
    let progress = peer.json().await;
    assert_eq!(progress.as_object().unwrap().len(), 1);
    assert_eq!(
        progress["relaycursor"],
        relay.core.bus.cursor(relay.core.bus.last()).to_string()
    );
    relay.commit("AgentProvChange", 2).await;
    relay.commit("AgentStatusChange", 3).await;
    let mut event = peer.json().await;
    while event.get("data").is_none() {
        event = peer.json().await;
    }
    assert_eq!(number(&event["data"]), 8);
    assert_eq!(event["subject"], "agent2");
}

#[tokio::test]
async fn progress_is_told_once_and_not_again_until_there_is_more() {
    let mut relay = Fixture::new().await;
    let mut peer = relay
        .connect("/v1/stream?types=AgentStatusChange&progress=true")
        .await;
    let position = |relay: &Fixture| relay.core.bus.cursor(relay.core.bus.last()).to_string();
    for _ in 0..2 {
        assert_eq!(peer.json().await["relaycursor"], position(&relay));
        tokio::time::pause();
        let more = timeout(Duration::from_secs(3), peer.text()).await;
        assert!(more.is_err(), "nothing has moved: {more:?}");
        tokio::time::resume();
        relay.commit("Interaction", 1).await;
    }
    assert_eq!(peer.json().await["relaycursor"], position(&relay));
}

#[tokio::test]
async fn unmet_cursors_are_said_first_and_then_met_as_well_as_can_be() {
    let mut relay = Fixture::new().await;
    relay.commit("AgentStatusChange", 2).await;
    let epoch = relay.core.bus.epoch();
    let mut peer = relay.connect("/v1/stream?from=00000000000000ff.1").await;
    let notice = peer.json().await;
    assert_eq!(notice["type"], "io.sapi-relay.notice.cursor_reset");
    assert_eq!(notice["data"]["kind"], "cursor_reset");
    assert_eq!(notice["relaycursor"], format!("{epoch}.0"));
    assert_eq!(peer.numbers(2).await, [1, 2], "from the earliest");
    let mut peer = relay
        .connect(&format!("/v1/stream?from={epoch}.9999&format=raw"))
        .await;
    let notice = peer.json().await;
    assert_eq!(notice["relayNotice"]["kind"], "cursor_reset");
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(number(&peer.json().await), 3, "from the tail");
}

#[tokio::test]
async fn a_cursor_that_retention_has_passed_is_said_with_how_much_is_missing() {
    let mut relay =
        Fixture::retaining(tempfile::tempdir().unwrap(), config(), 1 << 20, 8 << 20).await;
    let mut late = relay.connect("/v1/stream?from=earliest").await;
    for _ in 0..60 {
        relay.commit_padded("AgentStatusChange", 20, 3000).await;
    }
    let epoch = relay.core.bus.epoch();
    let everything = relay_journal::TrimPolicy {
        passed: relay.core.bus.last(),
        older_than_ms: None,
        max_bytes: Some(1),
    };
    relay.core.bus.log().trim(&everything).unwrap();
    let first = relay.core.bus.first().0;
    assert!(first > 1, "segments went");
    let mut peer = relay.connect(&format!("/v1/stream?from={epoch}.0")).await;
    let notice = peer.json().await;
    assert_eq!(notice["type"], "io.sapi-relay.notice.skipped");
    assert_eq!(notice["data"]["missing"], first - 1);
    assert_eq!(notice["relaycursor"], format!("{epoch}.{}", first - 1));
    assert!(
        peer.json().await["relaycursor"]
            .as_str()
            .unwrap()
            .ends_with(&format!(".{first}"))
    );
    // One that was being served is told so in between.
    let (mut events, mut missing) = (0, 0);
    while events + missing < 1200 {
        let said = late.json().await;
        match said["data"]["missing"].as_u64() {
            Some(count) => missing += count,
            None => events += 1,
        }
    }
    assert_eq!(
        relay
            .history(&format!("?from={epoch}.0&limit=1"))
            .await
            .len(),
        2
    );
}

#[tokio::test]
async fn pings_are_answered_and_large_frames_refused() {
    let mut relay = Fixture::new().await;
    let mut peer = relay.connect("/v1/stream").await;
    peer.say(Message::Ping("hello".into())).await;
    let answer = soon("a pong", futures_util::StreamExt::next(&mut peer.0)).await;
    assert_eq!(answer.unwrap().unwrap(), Message::Pong("hello".into()));
    peer.say(Message::text("ignored")).await;
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(peer.number().await, 1);
    peer.say(Message::text("x".repeat(5000))).await;
    assert_eq!(peer.close_frame().await.unwrap().code, CloseCode::Protocol);
    relay.until_connected(0).await;
    assert_eq!(relay.left("protocol"), 1);
}

#[tokio::test]
async fn a_stop_says_going_away() {
    let mut relay = Fixture::new().await;
    let mut peers = vec![
        relay.connect("/v1/stream").await,
        relay.connect("/v1/stream").await,
    ];
    relay.until_connected(2).await;
    relay.stop.cancel();
    for peer in &mut peers {
        assert_eq!(peer.close_frame().await.unwrap().code, CloseCode::Away);
    }
    relay.drain().await;
    assert_eq!(relay.left("shutdown"), 2);
    assert!(tokio::net::TcpStream::connect(relay.addr).await.is_err());
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let mut config = config();
    config.max_clients = 1;
    let relay = Fixture::with(config, 1 << 20).await;
    let peer = relay.connect("/v1/stream").await;
    assert_eq!(refused(relay.connect_with("/v1/stream", &[]).await), 503);
    assert!(
        relay.get("/").await.contains("/v1/history"),
        "the rest is still served"
    );
    peer.close().await;
    relay.until_connected(0).await;
    relay.connect("/v1/stream").await;
}

#[tokio::test]
async fn connections_that_are_dropped_because_too_many_are_open_are_counted() {
    let mut config = config();
    config.max_clients = 1;
    let relay = Fixture::with(config, 1 << 20).await;
    let dropped = &relay.metrics.client_connections_dropped_total;
    let dropped = dropped.with_label_values(&["downstream"]);
    let mut silent = Vec::new();
    for _ in 0..=SPARE {
        silent.push(relay.tcp("").await);
    }
    assert_eq!(dropped.get(), 0);
    let mut one_too_many = relay.tcp("").await;
    soon("the end", one_too_many.read(&mut [0])).await.ok();
    assert_eq!(dropped.get(), 1);
}

#[tokio::test]
async fn notices_come_when_asked_for_whatever_the_filter() {
    let mut relay = Fixture::new().await;
    let mut peer = relay
        .connect("/v1/stream?types=Interaction&notices=true")
        .await;
    let mut raw = relay
        .connect("/v1/stream?types=Interaction&notices=true&format=raw")
        .await;
    let mut deaf = relay.connect("/v1/stream").await;
    relay.until_connected(3).await;
    let draft = relay_core::notice::NoticeDraft::new(relay_core::notice::NoticeKind::Clock, "tick");
    relay.core.notices.raise(draft);
    let notice = peer.json().await;
    assert_eq!(notice["type"], "io.sapi-relay.notice.clock");
    assert_eq!(raw.json().await["relayNotice"]["text"], json!("tick"));
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(deaf.number().await, 1);
}

#[tokio::test]
async fn a_silent_stream_is_pinged() {
    let relay = Fixture::new().await;
    let mut peer = relay.connect("/v1/stream").await;
    relay.until_connected(1).await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let said = futures_util::StreamExt::next(&mut peer.0).await;
    assert_eq!(said.unwrap().unwrap(), Message::Ping("".into()));
    assert!(
        started.elapsed() + std::time::Duration::from_secs(1) >= crate::websocket::stream::PING
    );
}
