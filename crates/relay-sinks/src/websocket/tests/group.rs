//! Clients on their way between the group that serves the level ones and their own tasks.

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::fixture::{Fixture, Peer, config, soon};

const STREAM: &str = "/v1/stream";
const SAPI: &str = "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&desiredOutputType=JSON&subsId=";

/// Reads to the last event, a while behind now and then, and speaks in between.
async fn reads(mut peer: Peer, number: u64, last: u64, sapi: bool) {
    let mut expected = 1;
    while expected <= last {
        let got = if sapi {
            super::fixture::number(&peer.json().await)
        } else {
            peer.number().await
        };
        assert_eq!(got, expected, "client {number}");
        if expected % 97 == number {
            peer.say(Message::Ping(vec![0; 50].into())).await;
        }
        if number < 8 && expected % (400 + number * 50) == 0 {
            // Its kernel refuses meanwhile: the pace of a client is its own.
            sleep(Duration::from_millis(30 + number * 20)).await;
        }
        expected += 1;
    }
}

/// Bursts that no socket takes at once, single events, and clients that stop reading, speak and
/// come back: everybody gets everything once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_and_goes_between_group_and_own_task_gets_everything_once() {
    const LAST: u64 = 3000;
    let mut relay = Fixture::with(config(), 1 << 20).await;
    let mut readers = JoinSet::new();
    for number in 0..16 {
        let sapi = number % 4 == 3;
        let path = if sapi {
            format!("{SAPI}client_{number}")
        } else {
            STREAM.to_owned()
        };
        let peer = relay.connect(&path).await;
        readers.spawn(reads(peer, number, LAST, sapi));
    }
    relay.until_connected(16).await;
    let mut last = 0;
    while last < LAST {
        let (count, pad) = match last % 3 {
            0 => (97, 3000),
            1 => (1, 10),
            _ => (7, 20_000),
        };
        last = relay
            .commit_padded("AgentStatusChange", count.min(LAST - last), pad)
            .await;
    }
    while let Some(read) = soon("the readers", readers.join_next()).await {
        read.unwrap();
    }
}

/// Filters of their own, and shapes: each is given what it wants of every batch.
#[tokio::test]
async fn clients_of_different_tastes_are_served_side_by_side() {
    let mut relay = Fixture::new().await;
    let mut all = relay.connect(STREAM).await;
    let mut some = relay.connect("/v1/stream?types=Interaction").await;
    let mut alike = relay.connect("/v1/stream?types=interaction").await;
    let mut one = relay.connect("/v1/stream?key=agent1").await;
    relay.until_connected(4).await;
    for _ in 0..3 {
        relay.commit("Interaction", 2).await;
        relay.commit("AgentStatusChange", 2).await;
    }
    assert_eq!(all.numbers(12).await, (1..=12).collect::<Vec<_>>());
    assert_eq!(some.numbers(6).await, [1, 2, 5, 6, 9, 10]);
    assert_eq!(alike.numbers(6).await, [1, 2, 5, 6, 9, 10]);
    assert_eq!(one.numbers(4).await, [1, 4, 7, 10]);
}

/// A client that hangs up is let go of at once, with no event to show that it has gone.
#[tokio::test]
async fn who_leaves_while_nothing_comes_is_gone() {
    let relay = Fixture::new().await;
    for _ in 0..3 {
        let mut peer = relay.connect(STREAM).await;
        relay.until_connected(1).await;
        peer.0.close(None).await.unwrap();
        relay.until_connected(0).await;
        let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = peer.0.get_mut() else {
            panic!("plain")
        };
        let mut rest = Vec::new();
        soon("the end of the connection", tcp.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    assert_eq!(relay.left("closed"), 3);
}

/// One that breaks the protocol while the group serves it is told so.
#[tokio::test]
async fn who_breaks_the_protocol_is_told_so_wherever_it_is() {
    let mut relay = Fixture::new().await;
    let mut peer = relay.connect(STREAM).await;
    relay.until_connected(1).await;
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(peer.number().await, 1);
    let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = peer.0.get_mut() else {
        panic!("plain")
    };
    // A frame of a client without a mask.
    tcp.write_all(&[0x81, 1, b'x']).await.unwrap();
    relay.until_connected(0).await;
    assert_eq!(relay.left("protocol"), 1);
    peer.0.flush().await.ok();
}
