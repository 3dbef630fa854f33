//! What comes in, how connections end, and how the run does.

use std::time::Duration;

use relay_core::admit::{DisconnectReason, Gate, Stopped};
use relay_core::status::SubscriptionState;
use sapi_protocol::parse_basic;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::harness::{Relay, TOKEN, config, document, event, start};
use super::peer::{Heard, Peer, Talk, Told, Trouble, frame, soon};

#[tokio::test]
async fn it_asks_as_documented_and_admits_what_comes() {
    let (peer, relay) = start().await;
    let mut talk = peer.request().await;
    let query = "desiredOutputType=JSON&tenantId=acmecorp01&subsId=relay_a";
    let path = "/api/streaming/v1/clientconnect/subscribe/TenantUpdates";
    assert!(
        talk.request
            .starts_with(&format!("GET {path}?{query} HTTP/1.1\r\n")),
        "{}",
        talk.request
    );
    assert_eq!(
        talk.header("Host"),
        Some(peer.address().to_string().as_str())
    );
    let basic = parse_basic(talk.header("Authorization").unwrap()).unwrap();
    assert_eq!(
        (basic.user.as_str(), basic.password.as_str()),
        ("acmecorp01", TOKEN)
    );
    talk.upgrade().await;
    talk.text(&event(1)).await;
    talk.frame(OpCode::Control(Control::Ping), b"hello").await;
    talk.frame(OpCode::Data(Data::Binary), event(2).as_bytes())
        .await;
    assert_eq!(talk.heard().await, Heard::Pong(b"hello".to_vec()));
    relay.recorder.document(&event(2)).await;
    assert_eq!(relay.state(), SubscriptionState::Streaming);
    let row = relay.boards[0].snapshot();
    assert!(row.connected_at_ms.is_some() && row.last_event_at_ms.is_some());
    assert_eq!(
        row.expected_cut_at_ms,
        row.connected_at_ms.map(|at| at + 3_600_000)
    );
    let events = &relay.metrics.upstream_events_total;
    assert_eq!(
        events
            .with_label_values(&["relay_a", "AgentStatusChange"])
            .get(),
        2
    );
    assert_eq!(
        relay
            .metrics
            .upstream_connected
            .with_label_values(&["relay_a"])
            .get(),
        1
    );
    relay.stop.cancel();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    talk.close(1000).await;
    let told = relay.stopped().await;
    assert_eq!(
        told[..3],
        [Told::Connected("relay_a".into()), document(1), document(2)]
    );
}

#[tokio::test]
async fn bytes_that_come_with_the_handshake_count() {
    let (peer, relay) = start().await;
    let mut talk = peer.request().await;
    talk.upgrade_with(&frame(OpCode::Data(Data::Text), event(1).as_bytes()))
        .await;
    relay.recorder.document(&event(1)).await;
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn on_stop_it_reads_on_until_the_peers_close() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    relay.stop.cancel();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    for n in 2..500 {
        talk.text(&event(n)).await;
    }
    talk.close(1000).await;
    assert_eq!(talk.heard().await, Heard::End);
    let told = relay.stopped().await;
    let expected: Vec<_> = (1..500).map(document).collect();
    assert_eq!(told[1..500], expected);
    assert!(matches!(
        told[500],
        Told::Disconnected(DisconnectReason::Shutdown, _)
    ));
    assert_eq!(told.len(), 501);
}

#[tokio::test]
async fn a_full_disk_closes_reads_on_and_stays_away_until_there_is_room() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    relay.gate.send(Gate::Full).unwrap();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    talk.text(&event(2)).await;
    talk.close(1000).await;
    assert_eq!(relay.recorder.end(0).await.0, DisconnectReason::DiskFull);
    assert!(relay.recorder.told().contains(&document(2)));
    assert_eq!(relay.state(), SubscriptionState::Stopped);
    // The old socket is closed before another is opened.
    assert_eq!(talk.heard().await, Heard::End);
    relay.gate.send(Gate::Open).unwrap();
    let mut again = peer.upgraded().await;
    again.text(&event(3)).await;
    relay.recorder.document(&event(3)).await;
    assert_eq!(relay.boards[0].snapshot().reconnects, 1);
    drop(again);
    relay.stopped().await;
}

#[tokio::test]
async fn close_is_sent_while_intake_waits_for_the_disk() {
    for stop in [false, true] {
        let (peer, relay) = start().await;
        let mut talk = peer.upgraded().await;
        relay.recorder.until(|told| !told.is_empty()).await;
        relay.recorder.hold(true);
        talk.text(&event(1)).await;
        is_closed_while_held(relay, talk, stop).await;
    }
}

#[tokio::test]
async fn close_is_sent_while_the_news_of_a_connection_waits_for_the_disk() {
    for stop in [false, true] {
        let (peer, relay) = start().await;
        relay.recorder.hold(true);
        let mut talk = peer.upgraded().await;
        talk.text(&event(1)).await;
        is_closed_while_held(relay, talk, stop).await;
    }
}

async fn is_closed_while_held(relay: Relay, mut talk: Talk<TcpStream>, stop: bool) {
    relay.recorder.holds().await;
    if stop {
        relay.stop.cancel();
    } else {
        relay.gate.send(Gate::Full).unwrap();
    }
    assert_eq!(talk.heard().await, Heard::Close(1000), "stop: {stop}");
    // Written before the Close came: read when the disk gives again.
    talk.text(&event(2)).await;
    talk.close(1000).await;
    relay.recorder.hold(false);
    let (reason, _) = relay.recorder.end(0).await;
    let wanted = if stop {
        DisconnectReason::Shutdown
    } else {
        DisconnectReason::DiskFull
    };
    assert_eq!(reason, wanted);
    assert_eq!(relay.stopped().await[1..3], [document(1), document(2)]);
}

#[tokio::test]
async fn it_comes_back_after_every_kind_of_end() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    talk.close(1011).await;
    assert_eq!(talk.heard().await, Heard::Close(1000));
    assert_eq!(talk.heard().await, Heard::End);
    let (reason, text) = relay.recorder.end(0).await;
    assert_eq!(reason, DisconnectReason::ClosedByPeer);
    assert!(text.contains("1011"), "{text}");
    drop(peer.upgraded().await);
    assert_eq!(relay.recorder.end(1).await.0, DisconnectReason::Network);
    // For the third time soon after connecting: a loop.
    drop(peer.upgraded().await);
    assert_eq!(relay.recorder.end(2).await.0, DisconnectReason::Quota);
    let mut talk = peer.upgraded().await;
    talk.text(&event(2)).await;
    relay.recorder.document(&event(2)).await;
    let ends = &relay.metrics.upstream_disconnects_total;
    assert_eq!(
        ends.with_label_values(&["relay_a", "closed_by_peer"]).get(),
        1
    );
    assert_eq!(ends.with_label_values(&["relay_a", "quota"]).get(), 1);
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn invalid_utf8_in_text_fails_the_connection_after_what_came_before() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    let good = frame(OpCode::Data(Data::Text), event(1).as_bytes());
    let bad = frame(OpCode::Data(Data::Text), b"{\"a\":\"\xFF\"}");
    talk.raw(&[good, bad].concat()).await;
    assert_eq!(talk.heard().await, Heard::Close(1007));
    assert_eq!(relay.recorder.end(0).await.0, DisconnectReason::Protocol);
    assert_eq!(relay.recorder.told()[1], document(1));
    let mut talk = peer.upgraded().await;
    // In binary it costs its own document.
    talk.frame(OpCode::Data(Data::Binary), b"{\"a\":\"\xFF\"}")
        .await;
    talk.text(&event(2)).await;
    let told = relay
        .recorder
        .until(|told| told.contains(&document(2)))
        .await;
    assert!(told.contains(&Told::Malformed("invalid_utf8")), "{told:?}");
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn half_a_document_at_the_end_is_malformed_and_told_before_the_end() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text("{\"AgentStatusChange\":").await;
    drop(talk);
    relay.recorder.end(0).await;
    let told = relay.recorder.told();
    assert_eq!(told[1], Told::Malformed("truncated"));
    assert!(matches!(told[2], Told::Disconnected(..)));
    relay.stopped().await;
}

#[tokio::test]
async fn a_huge_message_is_admitted_while_it_arrives() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    let documents: String = (0..100_000).map(event).collect();
    let message = frame(OpCode::Data(Data::Text), documents.as_bytes());
    let (first, rest) = message.split_at(message.len() / 2);
    talk.raw(first).await;
    // The message is not complete, its documents are there.
    relay.recorder.until(|told| told.len() > 45_000).await;
    talk.raw(rest).await;
    relay.recorder.document(&event(99_999)).await;
    let told = relay.recorder.told();
    assert_eq!(told.len(), 100_001);
    assert!(
        told[1..]
            .iter()
            .enumerate()
            .all(|(n, told)| *told == document(n))
    );
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let peer = Peer::bind().await;
    let mut config = config(&format!("ws://{}", peer.address()));
    config.silence_timeout = Duration::from_millis(50);
    let relay = Relay::start(config);
    let mut talk = peer.upgraded().await;
    assert_eq!(talk.heard().await, Heard::Close(1000));
    assert_eq!(relay.recorder.end(0).await.0, DisconnectReason::Silence);
    drop(peer.upgraded().await);
    relay.stopped().await;
}

#[tokio::test]
async fn stopping_before_anything_is_asked_is_immediate() {
    let proxy = Peer::bind().await;
    let mut config = config("ws://upstream.invalid");
    config.proxy = Some(format!("http://{}", proxy.address()).parse().unwrap());
    let relay = Relay::start(config);
    let talk = proxy.request().await;
    assert!(talk.request.starts_with("CONNECT "), "{}", talk.request);
    assert!(relay.stopped().await.is_empty());
    drop(talk);
}

#[tokio::test]
async fn what_comes_with_an_answer_is_admitted_also_when_it_is_not_wanted_any_more() {
    for stop in [false, true] {
        let (peer, relay) = start().await;
        let mut talk = peer.request().await;
        if stop {
            relay.stop.cancel();
        } else {
            relay.gate.send(Gate::Full).unwrap();
        }
        while relay.state() != SubscriptionState::Stopped {
            tokio::task::yield_now().await;
        }
        talk.upgrade_with(&frame(OpCode::Data(Data::Text), event(1).as_bytes()))
            .await;
        assert_eq!(talk.heard().await, Heard::Close(1000), "stop: {stop}");
        talk.close(1000).await;
        let (reason, _) = relay.recorder.end(0).await;
        let wanted = if stop {
            DisconnectReason::Shutdown
        } else {
            DisconnectReason::DiskFull
        };
        assert_eq!(reason, wanted);
        assert_eq!(relay.stopped().await[1], document(1));
    }
}

#[tokio::test]
async fn a_panic_is_survived_and_the_lost_connection_is_told() {
    let (peer, relay) = start().await;
    relay.recorder.next(Trouble::Panic);
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    let (reason, text) = relay.recorder.end(0).await;
    assert_eq!(reason, DisconnectReason::Network);
    assert!(text.contains("panicked"), "{text}");
    assert_eq!(talk.heard().await, Heard::End);
    let mut talk = peer.upgraded().await;
    talk.text(&event(2)).await;
    relay.recorder.document(&event(2)).await;
    let restarts = &relay.metrics.task_restarts_total;
    assert_eq!(restarts.with_label_values(&["upstream", "panic"]).get(), 1);
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn without_an_intake_it_leaves() {
    let (peer, relay) = start().await;
    relay.recorder.next(Trouble::Stopped);
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    assert_eq!(talk.heard().await, Heard::Close(1000));
    assert_eq!(soon(relay.task).await.unwrap(), Err(Stopped));
}

#[tokio::test]
async fn once_intake_has_ended_nothing_is_asked_for_again() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    drop(relay.gate);
    assert_eq!(talk.heard().await, Heard::Close(1000));
    talk.close(1000).await;
    assert_eq!(soon(relay.task).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn several_subscriptions_have_one_socket_each() {
    let peer = Peer::bind().await;
    let mut config = config(&format!("ws://{}", peer.address()));
    config.subs_ids = vec!["a".into(), "b".into()];
    let relay = Relay::start(config);
    let mut first = peer.upgraded().await;
    assert!(first.request.contains("subsId=a"));
    let mut second = peer.upgraded().await;
    assert!(second.request.contains("subsId=b"));
    relay.recorder.until(|told| told.len() == 2).await;
    relay.stop.cancel();
    assert_eq!(first.heard().await, Heard::Close(1000));
    assert_eq!(second.heard().await, Heard::Close(1000));
    first.close(1000).await;
    second.close(1000).await;
    relay.stopped().await;
}
