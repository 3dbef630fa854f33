//! Dead letters that are delivered again.

use std::time::Duration;

use super::seen;
use crate::Offset;
use crate::contract::{FakePeer, Fault, Peer, Relay};
use crate::sink::{Failure, Next};
use crate::status::SinkState;
use crate::worker::{CommandError, Letters, Retried, SinkHandle};

/// A sink that was refused numbers 2 and 4 of five.
async fn refused() -> (Relay, FakePeer, SinkHandle) {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = refused_by(&relay, &peer).await;
    (relay, peer, sink)
}

async fn refused_by(relay: &Relay, peer: &FakePeer) -> SinkHandle {
    peer.inject(Fault::Poison).await;
    let sink = relay.start(peer);
    let keys = ["ada", "poison", "ben", "poison", "ada"];
    relay.commit(&keys).await;
    relay.settled(&sink).await;
    assert_eq!(relay.core.dead_letters.count("lake"), 2);
    sink
}

async fn retry(sink: &SinkHandle) -> Result<Retried, CommandError> {
    sink.retry_dead_letters(Letters::default()).await
}

fn shown(relay: &Relay) -> i64 {
    relay
        .metrics
        .dead_letters
        .with_label_values(&["lake"])
        .get()
}

#[tokio::test]
async fn what_is_taken_now_is_a_dead_letter_no_more_also_after_a_restart() {
    let (relay, peer, sink) = refused().await;
    peer.mend().await;
    let told = retry(&sink).await.unwrap();
    let both = Retried {
        delivered: 2,
        ..Retried::default()
    };
    assert_eq!(told, both);
    assert_eq!(seen(&peer).await, [1, 3, 5, 2, 4], "out of order");
    assert_eq!(sink.status().cursor.offset, Offset(5));
    assert_eq!(
        (relay.core.dead_letters.count("lake"), shown(&relay)),
        (0, 0)
    );
    let relay = relay.restart().await;
    assert_eq!(relay.core.dead_letters.count("lake"), 0);
    let page = relay.core.dead_letters.list(None, None, 10).await.unwrap();
    assert!(page.items.is_empty(), "{page:?}");
    let sink = relay.start(&peer);
    assert_eq!(retry(&sink).await.unwrap(), Retried::default());
    assert_eq!(seen(&peer).await.len(), 5);
}

#[tokio::test]
async fn what_is_refused_again_stays() {
    let (relay, peer, sink) = refused().await;
    let told = retry(&sink).await.unwrap();
    assert_eq!((told.delivered, told.refused), (0, 2));
    assert_eq!(told.text.as_deref(), Some("poison"));
    assert_eq!(
        (relay.core.dead_letters.count("lake"), shown(&relay)),
        (2, 2)
    );
    assert_eq!(seen(&peer).await, [1, 3, 5]);
    let status = sink.status();
    assert_eq!(status.state, SinkState::Running, "{status:?}");
    // One of them alone.
    peer.mend().await;
    let page = relay.core.dead_letters.list(None, None, 1).await.unwrap();
    let first = page.items[0].id;
    let one = Letters {
        after: first.checked_sub(1),
        upto: Some(first),
    };
    assert_eq!(sink.retry_dead_letters(one).await.unwrap().delivered, 1);
    assert_eq!(seen(&peer).await, [1, 3, 5, 2]);
    assert_eq!(shown(&relay), 1);
}

#[tokio::test]
async fn a_sink_that_does_not_deliver_says_what_to_do_first() {
    let (relay, peer, sink) = refused().await;
    let refusal = |told: Result<Retried, CommandError>| told.unwrap_err().to_string();
    sink.pause().await.unwrap();
    let text = refusal(retry(&sink).await);
    assert!(text.contains("is paused: resume it"), "{text}");
    peer.inject(Fault::Blocked).await;
    sink.resume().await.unwrap();
    sink.wait_for(|status| status.state == SinkState::Blocked)
        .await;
    let text = refusal(retry(&sink).await);
    assert!(
        text.contains("is blocked (the fake peer refuses): mend"),
        "{text}"
    );
    peer.inject(Fault::Away).await;
    sink.resume().await.unwrap();
    sink.wait_for(|status| status.state == SinkState::Retrying)
        .await;
    assert!(refusal(retry(&sink).await).contains("wait until it delivers again"));
    sink.stop().await;
    assert!(retry(&sink).await.is_err());
    assert_eq!(relay.core.dead_letters.count("lake"), 2, "they stay");
}

#[tokio::test]
async fn the_stream_goes_on_while_letters_are_under_way() {
    let (relay, peer, sink) = refused().await;
    peer.inject(Fault::Reversed).await;
    let asked = retry(&sink);
    let stream = async {
        peer.received(5).await;
        let again = retry(&sink).await;
        assert_eq!(again, Err(CommandError::Retrying));
        let sent = relay.commit_many(10).await;
        peer.received(15).await;
        assert_eq!(
            relay.core.dead_letters.count("lake"),
            2,
            "not confirmed yet"
        );
        peer.mend().await;
        sent
    };
    let (told, sent) = tokio::join!(asked, stream);
    assert_eq!(told.unwrap().delivered, 2);
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await[5..], sent);
    assert_eq!(relay.core.dead_letters.count("lake"), 0);
}

#[tokio::test]
async fn a_destination_that_fails_meanwhile_costs_nothing() {
    let (relay, peer, sink) = refused().await;
    peer.mend().await;
    peer.fail_once(Failure {
        next: Next::Reconnect,
        text: "gone".into(),
        remedy: String::new(),
    });
    let told = retry(&sink).await;
    // Told by the worker, or by its state, whichever is first.
    match told {
        Ok(told) => assert_eq!((told.unconfirmed, told.text.as_deref()), (2, Some("gone"))),
        Err(error) => assert!(matches!(error, CommandError::NotDelivering(_)), "{error}"),
    }
    let sent = relay.commit_many(3).await;
    relay.settled(&sink).await;
    sink.wait_for(|status| status.state == SinkState::Running)
        .await;
    assert_eq!(relay.core.dead_letters.count("lake"), 2);
    assert_eq!(retry(&sink).await.unwrap().delivered, 2);
    let mut all = vec![1, 3, 5];
    all.extend(sent);
    all.extend([2, 4]);
    assert_eq!(seen(&peer).await, all);
}

#[tokio::test]
async fn a_pause_does_not_wait_for_letters_beyond_the_drain_timeout() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Poison).await;
    let sink = relay.start_with(&peer, |config| {
        config.drain_timeout = Duration::from_millis(20);
    });
    relay.commit(&["poison"]).await;
    relay.settled(&sink).await;
    for fault in [Fault::Hang, Fault::Stalled] {
        peer.inject(fault).await;
        let (told, paused) = tokio::join!(retry(&sink), sink.pause());
        paused.unwrap();
        match told {
            Ok(told) => assert_eq!(told.unconfirmed, 1),
            Err(error) => assert!(error.to_string().contains("paused"), "{error}"),
        }
        peer.mend().await;
        sink.resume().await.unwrap();
        sink.wait_for(|status| status.state == SinkState::Running)
            .await;
    }
    assert_eq!(relay.core.dead_letters.count("lake"), 1);
    assert_eq!(retry(&sink).await.unwrap().delivered, 1);
}

#[tokio::test]
async fn a_cursor_that_the_destination_keeps_is_not_moved_by_letters() {
    let (relay, peer) = (Relay::new(), FakePeer::keeping());
    peer.keep(relay.core.bus.cursor(Offset(0)));
    let sink = refused_by(&relay, &peer).await;
    let more = relay.commit_many(3).await;
    relay.settled(&sink).await;
    peer.mend().await;
    assert_eq!(retry(&sink).await.unwrap().delivered, 2);
    let mut all = vec![1, 3, 5];
    all.extend(more);
    all.extend([2, 4]);
    assert_eq!(seen(&peer).await, all);
    // What it keeps is read at the next connect.
    let relay = relay.restart().await;
    let sink = relay.start(&peer);
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, all, "nothing again");
}

#[tokio::test]
async fn letters_from_behind_the_cursor_that_the_destination_keeps_do_not_move_it_either() {
    let (relay, peer) = (Relay::new(), FakePeer::keeping());
    peer.keep(relay.core.bus.cursor(Offset(0)));
    peer.inject(Fault::Poison).await;
    let sink = relay.start(&peer);
    relay.commit(&["ada"]).await;
    relay.settled(&sink).await;
    // Refused entirely: the worker moves on, and the destination hears of no cursor.
    relay.commit(&["poison"]).await;
    relay.settled(&sink).await;
    let kept = Some(relay.core.bus.cursor(Offset(1)));
    assert_eq!(peer.kept(), kept);
    peer.mend().await;
    assert_eq!(retry(&sink).await.unwrap().delivered, 1);
    assert_eq!(peer.kept(), kept);
}

#[tokio::test]
async fn letters_outlive_the_journal() {
    let (relay, peer, sink) = refused().await;
    let long = "k".repeat(4_000);
    peer.mend().await;
    for _ in 0..10 {
        relay.commit(&[long.as_str(); 50]).await;
    }
    relay.settled(&sink).await;
    let policy = relay_journal::TrimPolicy {
        passed: Offset(u64::MAX),
        older_than_ms: None,
        max_bytes: Some(0),
    };
    relay.core.bus.log().trim(&policy).unwrap();
    assert!(relay.core.bus.first() > Offset(5));
    assert_eq!(retry(&sink).await.unwrap().delivered, 2);
    assert_eq!(seen(&peer).await[503..], [2, 4]);
}

#[tokio::test]
async fn many_letters_come_in_batches() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Poison).await;
    let sink = relay.start_with(&peer, |config| config.max_consecutive_rejections = 1_000);
    let sent = relay.commit(&["poison"; 100]).await;
    relay.settled(&sink).await;
    peer.mend().await;
    assert_eq!(retry(&sink).await.unwrap().delivered, 100);
    assert_eq!(seen(&peer).await, sent);
    assert_eq!(shown(&relay), 0);
}
