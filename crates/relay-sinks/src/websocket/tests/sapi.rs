//! The face that speaks SAPI.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::fixture::{Fixture, config, number, refused, soon};

fn path(subs_id: &str, output: &str) -> String {
    format!(
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates-acmecorp01-{subs_id}?desiredOutputType={output}&tenantId=acmecorp01&subsId={subs_id}"
    )
}

#[tokio::test]
async fn a_first_subscription_starts_now_and_a_second_where_the_first_ended() {
    let mut relay = Fixture::new().await;
    relay.commit("AgentStatusChange", 3).await;
    let mut peer = relay.connect(&path("board", "JSON")).await;
    relay.until_connected(1).await;
    relay.commit("AgentStatusChange", 2).await;
    assert_eq!(number(&peer.json().await), 4);
    assert_eq!(number(&peer.json().await), 5);
    peer.close().await;
    relay.until_connected(0).await;
    relay.commit("AgentStatusChange", 2).await;
    // The bare form of the path is the same subscription.
    let bare = path("board", "json").replace("-acmecorp01-board", "");
    let mut peer = relay.connect(&bare).await;
    assert_eq!(number(&peer.json().await), 6);
    let mut other = relay.connect(&path("other", "JSON")).await;
    relay.until_connected(2).await;
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(number(&other.json().await), 8);
    assert_eq!(number(&peer.json().await), 7);
    assert_eq!(number(&peer.json().await), 8);
}

#[tokio::test]
async fn cursors_survive_a_restart_of_the_relay() {
    let mut relay = Fixture::new().await;
    let mut peer = relay.connect(&path("board", "JSON")).await;
    relay.until_connected(1).await;
    relay.commit("AgentStatusChange", 3).await;
    assert_eq!(number(&peer.json().await), 1);
    let dir = relay.close().await;
    let mut relay = Fixture::over(dir, config(), 1 << 20)
        .await
        .numbered_after(3);
    relay.commit("AgentStatusChange", 1).await;
    let mut peer = relay.connect(&path("board", "JSON")).await;
    assert_eq!(
        number(&peer.json().await),
        4,
        "all before was handed to the kernel"
    );
}

#[tokio::test]
async fn all_output_types() {
    let mut relay = Fixture::new().await;
    let mut peers = Vec::new();
    for output in ["JSON", "NEWLINE_JSON", "XML", "NEWLINE_XML"] {
        peers.push((output, relay.connect(&path(output, output)).await));
    }
    relay.until_connected(4).await;
    relay.commit("AgentStatusChange", 1).await;
    for (output, peer) in &mut peers {
        let text = peer.text().await.unwrap();
        assert_eq!(
            text.ends_with('\n'),
            output.starts_with("NEWLINE"),
            "{text:?}"
        );
        if output.ends_with("XML") {
            assert!(text.starts_with("<AgentStatusChange>"), "{text}");
            assert!(text.contains("<sequenceId>1</sequenceId>"), "{text}");
        } else {
            assert_eq!(number(&serde_json::from_str(&text).unwrap()), 1);
        }
    }
}

#[tokio::test]
async fn a_second_connection_takes_over_and_nothing_is_lost_or_doubled() {
    let mut relay = Fixture::new().await;
    let mut numbers = Vec::new();
    let mut peer = relay.connect(&path("board", "JSON")).await;
    relay.until_connected(1).await;
    for round in 0..10 {
        relay.commit("AgentStatusChange", 50).await;
        let mut next = relay.connect(&path("board", "JSON")).await;
        // What the first was given, up to its Close.
        let mut texts = Vec::new();
        let close = loop {
            use futures_util::StreamExt;
            use tokio_tungstenite::tungstenite::Message;
            match soon("the takeover", peer.0.next()).await.unwrap().unwrap() {
                Message::Text(text) => texts.push(text),
                Message::Close(close) => break close.unwrap(),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        };
        assert_eq!(close.code, CloseCode::Policy, "round {round}");
        numbers.extend(
            texts
                .iter()
                .map(|text| number(&serde_json::from_str(text).unwrap())),
        );
        std::mem::swap(&mut peer, &mut next);
    }
    relay.commit("AgentStatusChange", 1).await;
    while numbers.last() != Some(&501) {
        numbers.push(number(&peer.json().await));
    }
    assert_eq!(numbers, (1..=501).collect::<Vec<_>>());
    relay.until_connected(1).await;
    assert_eq!(relay.left("taken_over"), 10);
}

#[tokio::test]
async fn heartbeats_have_numbers_of_their_own_that_go_on() {
    let mut config = config();
    config.sapi.heartbeat = Duration::from_millis(20);
    let relay = Fixture::with(config, 1 << 20).await;
    let mut peer = relay.connect(&path("board", "JSON")).await;
    for n in 1..=2 {
        let beat = peer.json().await;
        let check = &beat["ClientCheck"];
        assert_eq!(check["heartbeat"], "[HEARTBEAT]");
        assert_eq!(check["msgInfo"]["sequenceId"], n);
        let instance = format!("sapi-relay-{}", relay.core.bus.epoch());
        assert_eq!(check["msgInfo"]["instanceId"], instance);
        assert_eq!(check["subscription-id"], "board");
        assert_eq!(check["tenant-id"], "acmecorp01");
    }
    let mut next = relay.connect(&path("board", "NEWLINE_XML")).await;
    let beat = next.text().await.unwrap();
    assert!(
        beat.starts_with("<ClientCheck>") && beat.ends_with('\n'),
        "{beat}"
    );
    let sequence = beat
        .split("<sequenceId>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    assert!(sequence.parse::<u64>().unwrap() > 2, "{beat}");
}

#[tokio::test]
async fn a_session_is_cut_when_its_time_is_over() {
    let mut config = config();
    config.sapi.session_length = Some(Duration::from_millis(50));
    let relay = Fixture::with(config, 1 << 20).await;
    let mut peer = relay.connect(&path("board", "JSON")).await;
    assert_eq!(peer.close_frame().await.unwrap().code, CloseCode::Normal);
    relay.until_connected(0).await;
    assert_eq!(relay.left("session_length"), 1);
}

#[tokio::test]
async fn a_subs_id_that_was_away_for_too_long_starts_anew() {
    let mut config = config();
    config.sapi.cache = Duration::ZERO;
    let mut relay = Fixture::with(config, 1 << 20).await;
    let peer = relay.connect(&path("board", "JSON")).await;
    relay.until_connected(1).await;
    peer.close().await;
    relay.until_connected(0).await;
    relay.commit("AgentStatusChange", 2).await;
    // Time is counted in milliseconds: let one pass.
    let before = std::time::Instant::now();
    while before.elapsed() < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    let mut peer = relay.connect(&path("board", "JSON")).await;
    relay.until_connected(1).await;
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(number(&peer.json().await), 3);
}

#[tokio::test]
async fn subs_ids_are_bounded_and_each_client_has_its_own() {
    use super::fixture::client;
    let mut config = config();
    config.clients = vec![client("one", "1", &[]), client("two", "2", &[])];
    config.sapi.max_subs_ids = 2;
    let relay = Fixture::with(config, 1 << 20).await;
    let (one, two) = (("authorization", "Bearer 1"), ("authorization", "Bearer 2"));
    let _a = relay
        .connect_with(&path("a", "JSON"), &[one])
        .await
        .unwrap();
    relay
        .connect_with(&path("b", "JSON"), &[one])
        .await
        .unwrap()
        .close()
        .await;
    assert_eq!(
        refused(relay.connect_with(&path("c", "JSON"), &[one]).await),
        429
    );
    let mut mine = relay
        .connect_with(&path("a", "JSON"), &[two])
        .await
        .unwrap();
    relay
        .connect_with(&path("b", "JSON"), &[one])
        .await
        .unwrap();
    relay
        .clients
        .replace(vec![client("one", "1", &[])])
        .unwrap();
    let close = mine.close_frame().await.unwrap();
    assert_eq!(
        close.reason.as_str(),
        "the token is no longer valid",
        "nobody took it over"
    );
}

#[tokio::test]
async fn no_notice_reaches_a_sapi_client() {
    let mut relay = Fixture::new().await;
    let mut peer = relay.connect(&path("board", "JSON")).await;
    relay.until_connected(1).await;
    let draft = relay_core::notice::NoticeDraft::new(relay_core::notice::NoticeKind::Clock, "tick");
    relay.core.notices.raise(draft);
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(number(&peer.json().await), 1);
}
