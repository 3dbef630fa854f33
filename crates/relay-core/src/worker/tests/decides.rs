//! Rejections, cursors, states, filters: what the worker decides by itself.

use relay_journal::Epoch;

use super::{noticed, seen};
use crate::contract::{FakePeer, Fault, Peer, Relay};
use crate::filter::Filter;
use crate::sink::{Failure, Next, Outcome, Warning};
use crate::status::SinkState;
use crate::worker::{CommandError, OnReject, SinkHandle, StartFrom};
use crate::{Cursor, From, Offset};

/// A wait that fails rather than never ends.
async fn within<T>(wait: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_mins(1);
    tokio::time::timeout(limit, wait).await.unwrap()
}

async fn state(sink: &SinkHandle, state: SinkState) {
    sink.wait_for(|status| status.state == state).await;
}

#[tokio::test]
async fn a_halt_keeps_its_place_and_its_reason_across_a_restart() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Poison).await;
    let halting = |config: &mut crate::worker::WorkerConfig| config.on_reject = OnReject::Halt;
    let sink = relay.start_with(&peer, halting);
    relay.commit(&["ada", "poison", "ben"]).await;
    state(&sink, SinkState::Halted).await;
    let relay = relay.restart().await;
    let sink = relay.start_with(&peer, halting);
    state(&sink, SinkState::Halted).await;
    let status = sink.status();
    assert_eq!(status.cursor.offset, Offset(1));
    let error = status.last_error.unwrap();
    assert!(
        error.text.contains("event 2") && error.remedy.contains("resume sink lake"),
        "{error:?}"
    );
    peer.mend().await;
    sink.resume().await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(
        seen(&peer).await,
        [1, 3, 2, 3],
        "a restart forgets what was settled ahead"
    );
}

#[tokio::test]
async fn a_destination_that_refuses_everything_blocks_rather_than_drains_the_stream() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Poison).await;
    let sink = relay.start_with(&peer, |config| config.max_consecutive_rejections = 3);
    relay
        .commit(&["ada", "poison", "poison", "ben", "poison"])
        .await;
    relay.commit(&["poison"; 20]).await;
    sink.wait_for(|status| status.state == SinkState::Blocked && status.retries >= 4)
        .await;
    assert_eq!(
        relay.core.dead_letters.count("lake"),
        5,
        "two, and three in a row"
    );
    let rejected = relay
        .metrics
        .sink_rejected_total
        .with_label_values(&["lake"]);
    assert_eq!(
        rejected.get(),
        5,
        "what is offered again is not counted again"
    );
    assert_eq!(seen(&peer).await, [1, 4]);
    assert_eq!(sink.status().cursor.offset, Offset(7));
    assert_eq!(noticed(&relay, "sink_stopped").await, 1, "said once");
    peer.mend().await;
    sink.resume().await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await.len(), 2 + 18);
    assert_eq!(sink.status().state, SinkState::Running);
}

#[tokio::test]
async fn dead_letters_that_cannot_be_kept_are_no_refusals_of_the_destination() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Poison).await;
    relay.core.dead_letters.close();
    let sink = relay.start_with(&peer, |config| config.max_consecutive_rejections = 3);
    relay.commit(&["poison"]).await;
    let status = within(sink.wait_for(|status| status.retries >= 6)).await;
    assert_eq!(status.state, SinkState::Retrying);
    let text = status.last_error.unwrap().text;
    assert!(text.contains("could not be kept as dead letters"), "{text}");
    let rejected = relay
        .metrics
        .sink_rejected_total
        .with_label_values(&["lake"]);
    assert_eq!(rejected.get(), 0, "it is not settled");
}

#[tokio::test]
async fn what_is_dropped_by_policy_is_counted_and_passed() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Poison).await;
    let sink = relay.start_with(&peer, |config| config.on_reject = OnReject::Drop);
    relay.commit(&["poison", "ada"]).await;
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, [2]);
    assert_eq!(
        relay
            .metrics
            .sink_rejected_total
            .with_label_values(&["lake"])
            .get(),
        1
    );
    assert_eq!(relay.core.dead_letters.count("lake"), 0);
}

#[tokio::test]
async fn a_first_start_at_the_latest_is_durable_before_anything_is_delivered() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    relay.commit_many(10).await;
    let latest = |config: &mut crate::worker::WorkerConfig| config.start_from = StartFrom::Latest;
    relay.start_with(&peer, latest);
    peer.connected().await;
    let relay = relay.crash().await;
    let sent = relay.commit_many(5).await;
    let sink = relay.start_with(&peer, latest);
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
}

#[tokio::test]
async fn a_cursor_of_another_journal_is_said_and_everything_delivered() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sent = relay.commit_many(10).await;
    let foreign = Cursor {
        epoch: Epoch(7),
        offset: Offset(3),
    };
    relay.core.store.set_cursor("lake", foreign);
    let sink = relay.start_with(&peer, |config| config.start_from = StartFrom::Latest);
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
    assert_eq!(noticed(&relay, "cursor_reset").await, 1);
    assert!(matches!(
        sink.seek(From::After(foreign)).await,
        Err(CommandError::ForeignEpoch(_))
    ));
    let future = relay.core.bus.cursor(Offset(1_000));
    assert!(matches!(
        sink.seek(From::After(future)).await,
        Err(CommandError::Future(_))
    ));
}

#[tokio::test]
async fn the_cursor_that_the_destination_keeps_wins() {
    let (relay, peer) = (Relay::new(), FakePeer::keeping());
    let sent = relay.commit_many(20).await;
    peer.keep(relay.core.bus.cursor(Offset(12)));
    let sink = relay.start(&peer);
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent[12..]);
    sink.seek(From::Earliest).await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await.len(), 8 + 20, "a seek writes it there");
}

#[tokio::test]
async fn a_destination_of_another_journal_blocks_until_it_is_sought() {
    let (relay, peer) = (Relay::new(), FakePeer::keeping());
    let sent = relay.commit_many(4).await;
    peer.keep(Cursor {
        epoch: Epoch(7),
        offset: Offset(3),
    });
    let sink = relay.start(&peer);
    state(&sink, SinkState::Blocked).await;
    assert!(
        sink.status()
            .last_error
            .unwrap()
            .remedy
            .contains("seek sink lake")
    );
    sink.seek(From::Earliest).await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
}

#[tokio::test]
async fn what_is_disabled_stays_so_until_the_destination_is_another() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Gone).await;
    let sink = relay.start(&peer);
    state(&sink, SinkState::Disabled).await;
    assert_eq!(peer.connects(), 1);
    peer.mend().await;
    let relay = relay.restart().await;
    let sink = relay.start(&peer);
    state(&sink, SinkState::Disabled).await;
    let relay = relay.restart().await;
    assert_eq!(peer.connects(), 1, "never tried again");
    let sent = relay.commit_many(3).await;
    let sink = relay.start_with(&peer, |config| config.fingerprint = "another".into());
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
}

#[tokio::test]
async fn a_panic_restarts_the_sink_from_its_cursor() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = relay.start(&peer);
    let mut sent = relay.commit_many(10).await;
    relay.settled(&sink).await;
    peer.inject(Fault::Panic).await;
    let shown = sink.wait_for(|status| status.state == SinkState::Retrying);
    let (failed, more) = tokio::join!(within(shown), relay.commit_many(10));
    let text = failed.last_error.unwrap().text;
    assert!(text.contains("the fake sink panics"), "{text}");
    sent.extend(more);
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
    within(state(&sink, SinkState::Running)).await;
    assert_eq!(
        relay
            .metrics
            .task_restarts_total
            .with_label_values(&["sink lake", "panic"])
            .get(),
        1
    );
}

#[tokio::test]
async fn filters_hold_events_back_and_notices_are_a_question_of_their_own() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = relay.start_with(&peer, |config| {
        config.filter = Filter::parse(&["Interaction/*"]).unwrap();
        config.notices = true;
    });
    relay.commit_many(20).await;
    relay.core.notices.raise(crate::notice::NoticeDraft::new(
        crate::notice::NoticeKind::Clock,
        "a test",
    ));
    relay.commit_many(20).await;
    relay.settled(&sink).await;
    assert_eq!(
        seen(&peer).await,
        [0],
        "the notice alone, which has no number"
    );
    assert_eq!(sink.status().lag_events, 0);
}

#[tokio::test]
async fn what_retention_took_is_said_and_counted() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = relay.start(&peer);
    relay.commit_many(10).await;
    relay.settled(&sink).await;
    sink.pause().await.unwrap();
    let long = "k".repeat(4_000);
    for _ in 0..10 {
        relay.commit(&[long.as_str(); 50]).await;
    }
    let policy = relay_journal::TrimPolicy {
        passed: Offset(0),
        older_than_ms: None,
        max_bytes: Some(0),
    };
    let trimmed = relay.core.bus.log().trim(&policy).unwrap();
    assert!(trimmed.segments > 0);
    sink.resume().await.unwrap();
    relay.settled(&sink).await;
    let first = trimmed.first.0;
    assert_eq!(
        relay
            .metrics
            .sink_skipped_total
            .with_label_values(&["lake"])
            .get(),
        first - 11
    );
    assert_eq!(noticed(&relay, "skipped").await, 1);
    let left = relay.core.bus.last().0 - first;
    assert_eq!(
        seen(&peer).await.len() as u64,
        10 + left,
        "all but the notice"
    );
}

#[tokio::test]
async fn a_dropped_confirmation_is_not_known_and_comes_again() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    peer.inject(Fault::Stalled).await;
    let sink = relay.start_with(&peer, |config| {
        config.drain_timeout = std::time::Duration::from_millis(20);
    });
    let sent = relay.commit_many(30).await;
    peer.connected().await;
    sink.pause().await.unwrap();
    assert_eq!(sink.status().cursor.offset, Offset(0));
    peer.mend().await;
    sink.resume().await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
}

#[tokio::test]
async fn a_failure_of_one_delivery_is_said_with_its_words() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sink = relay.start_with(&peer, |config| {
        config.retry_min = std::time::Duration::from_hours(1);
        config.retry_max = config.retry_min;
    });
    peer.connected().await;
    peer.fail_once(Failure {
        next: Next::Retry,
        text: "too busy".into(),
        remedy: String::new(),
    });
    let sent = relay.commit_many(5).await;
    state(&sink, SinkState::Retrying).await;
    let status = sink.status();
    assert_eq!(status.last_error.unwrap().text, "too busy");
    assert!(
        status.lag_events == 5 && status.lag_seconds < 60.0,
        "{}",
        status.lag_seconds
    );
    sink.scrape();
    let metric = |name: &str| {
        let families = relay.metrics.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == format!("sapi_relay_{name}"));
        family.unwrap().get_metric()[0].get_gauge().get_value()
    };
    assert!((metric("sink_lag_events") - 5.0).abs() < 0.1);
    assert!(metric("sink_up") < 0.1);
    assert!(metric("sink_retention_headroom_seconds").is_infinite());
    sink.resume().await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
    assert_eq!(
        relay
            .metrics
            .sink_retries_total
            .with_label_values(&["lake"])
            .get(),
        1
    );
}

#[tokio::test]
async fn a_refused_event_is_not_offered_again_for_the_sake_of_order() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    // Its first event is left out once; the second one, of the same key, is refused at once.
    peer.inject(Fault::Stalled).await;
    let sink = relay.start(&peer);
    let keys = ["poison", "ada", "poison"];
    relay.commit(&keys).await;
    peer.connected().await;
    peer.answer_once(vec![
        Outcome::Retry,
        Outcome::Confirmed,
        Outcome::Rejected("poison".into()),
    ]);
    peer.mend().await;
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, [2, 1], "the third was refused, once");
    let letters = relay.core.dead_letters.list(None, None, 10).await.unwrap();
    let cursors: Vec<_> = letters.items.iter().map(|letter| &letter.cursor).collect();
    assert_eq!(cursors.len(), 1, "{cursors:?}");
}

#[tokio::test]
async fn what_the_last_connect_warns_of_is_shown() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let warning = Warning {
        text: "short of breath".into(),
        remedy: "rest".into(),
    };
    peer.warn(Some(warning.clone()));
    let sink = relay.start(&peer);
    let warned = within(sink.wait_for(|status| !status.warnings.is_empty())).await;
    assert_eq!((warned.warnings, warned.last_error), (vec![warning], None));
    peer.warn(None);
    peer.fail_once(Failure {
        next: Next::Reconnect,
        text: "gone".into(),
        remedy: String::new(),
    });
    relay.commit_many(1).await;
    within(sink.wait_for(|status| status.warnings.is_empty())).await;
}

#[tokio::test]
async fn small_batches_from_the_disk_hold_what_they_are_and_no_more() {
    let (relay, peer) = (Relay::new(), FakePeer::default());
    let sent = relay.commit_many(2_000).await;
    let bus = &relay.core.bus;
    assert!(
        bus.memory_first() > Offset(1_000),
        "the beginning is on disk"
    );
    // It takes what comes, in order, and confirms nothing yet.
    peer.inject(Fault::Reversed).await;
    let before = bus.memory_bytes();
    let sink = relay.start_with(&peer, |config| {
        config.batch_events = 1;
        config.batch_bytes = 128 << 10;
        config.in_flight_bytes = 1 << 20;
        config.ahead_events = 256;
    });
    within(peer.offered(256)).await;
    let held = bus.memory_bytes() - before;
    assert!(held < 512 << 10, "256 small events hold {} KiB", held >> 10);
    peer.mend().await;
    relay.settled(&sink).await;
    assert_eq!(seen(&peer).await, sent);
}
