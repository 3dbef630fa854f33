//! Waiting, on a paused clock.

use std::time::Duration;

use tokio::time::Instant;

use super::seen;
use crate::contract::{FakePeer, Fault, Peer, Relay};
use crate::sink::{Failure, Next};
use crate::status::SinkState;

async fn waited(next: Next) -> Duration {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = relay.start_with(&peer, |config| {
        config.retry_min = Duration::from_secs(10);
        config.retry_max = Duration::from_secs(100);
    });
    peer.connected().await;
    peer.fail_once(Failure {
        next,
        text: "no".into(),
        remedy: "wait".into(),
    });
    let sent = relay.commit_many(5).await;
    peer.received(5).await;
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
    peer.left_alone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_the_minimum_at_least() {
    let waited = waited(Next::Retry).await;
    assert!(
        waited >= Duration::from_secs(10) && waited <= Duration::from_secs(21),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_destination_asks_for_is_honoured_up_to_an_hour() {
    let asked = waited(Next::RetryAfter(Duration::from_secs(77))).await;
    assert!(
        asked >= Duration::from_secs(77) && asked < Duration::from_secs(80),
        "{asked:?}"
    );
    let asked = waited(Next::RetryAfter(Duration::from_secs(1_000_000))).await;
    assert!(
        asked >= Duration::from_hours(1) && asked < Duration::from_secs(3700),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blocked_sink_is_tried_again_slowly() {
    let waited = waited(Next::Blocked).await;
    assert!(
        waited >= Duration::from_secs(50) && waited <= Duration::from_secs(101),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_absent_destination_is_tried_without_end_and_ever_more_slowly() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Away).await;
    let sent = relay.commit_many(5).await;
    let start = Instant::now();
    let sink = relay.start_with(&peer, |config| {
        config.retry_min = Duration::from_millis(200);
        config.retry_max = Duration::from_mins(1);
    });
    sink.wait_for(|status| status.retries >= 50).await;
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_mins(20) && waited < Duration::from_secs(50 * 61),
        "{waited:?}"
    );
    assert_eq!(sink.status().state, SinkState::Retrying);
    peer.mend().await;
    relay.settled(&sink).await;
    assert_eq!((seen(&peer).await, sink.status().retries), (sent, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_in_memory_while_it_waits() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Stalled).await;
    let sink = relay.start_with(&peer, |config| {
        config.in_flight_bytes = 512 << 10;
        config.ahead_events = 10_000;
    });
    relay.commit_many(1500).await;
    let before = relay.core.bus.memory_bytes();
    peer.fail_once(Failure {
        next: Next::RetryAfter(Duration::from_mins(10)),
        text: "away".into(),
        remedy: String::new(),
    });
    peer.mend().await;
    sink.wait_for(|status| status.state == SinkState::Retrying)
        .await;
    // The trouble shows before what is still under way has come back.
    let held = || relay.core.bus.memory_bytes();
    let given_back = tokio::time::timeout(Duration::from_secs(30), async {
        while held() >= 100 << 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(given_back.await.is_ok(), "{before} then {}", held());
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_drain_is_closed_in_time() {
    for fault in [Fault::Stalled, Fault::Hang] {
        let (relay, peer) = (Relay::new(), FakePeer::default());
        peer.inject(fault).await;
        let sink = relay.start_with(&peer, |config| {
            config.drain_timeout = Duration::from_mins(10);
        });
        // Enough for one delivery to be under way while another is offered.
        relay.commit_many(50).await;
        peer.offered(1).await;
        let start = Instant::now();
        sink.stop_by(start + Duration::from_secs(7)).await;
        assert_eq!(start.elapsed().as_secs(), 7, "{fault:?}");
        assert_eq!(peer.closes(), 1, "{fault:?}");
    }
}
