//! Where a sink starts that has no cursor: one that is new, and one whose cursor was lost.

use super::{noticed, seen};
use crate::contract::{FakePeer, Relay};
use crate::worker::{StartFrom, WorkerConfig};

fn latest(config: &mut WorkerConfig) {
    config.start_from = StartFrom::Latest;
}

#[tokio::test]
async fn a_new_sink_on_an_old_journal_starts_at_the_latest() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    relay.commit_many(10).await;
    let relay = relay.restart().await;
    let sink = relay.start_with(&peer, latest);
    let sent = relay.commit_many(5).await;
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
}

#[tokio::test]
async fn a_sink_whose_cursor_was_lost_starts_at_the_oldest_event_and_says_so() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = relay.start_with(&peer, latest);
    let mut sent = relay.commit_many(3).await;
    relay.settled(&sink).await;
    sink.stop().await;
    sent.extend(relay.commit_many(7).await);
    let relay = relay.crash_and_lose_state().await;
    // A start that comes to nothing changes nothing: what is lost stays lost.
    let relay = relay.crash().await;
    assert_eq!(
        relay.core.store.passed(relay.core.bus.epoch()).0,
        0,
        "retention waits for sinks that nobody remembers"
    );
    let sink = relay.start_with(&peer, latest);
    relay.settled(&sink).await;
    let mut seen = seen(&peer).await;
    assert_eq!(seen.split_off(3), sent);
    assert_eq!(noticed(&relay, "cursor_reset").await, 1);
}
