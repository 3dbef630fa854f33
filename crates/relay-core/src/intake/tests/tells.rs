//! What intake tells of holes, restarts of the numbering, and connections.

use std::time::Duration;

use super::rig::now_ms;
use super::{Doc, Rig};
use crate::admit::DisconnectReason;
use crate::intake::Across;
use crate::notice::{NoticeKind, Verdict};

const LOSSES: [NoticeKind; 4] = [
    NoticeKind::PossibleLoss,
    NoticeKind::CertainLoss,
    NoticeKind::SequenceGap,
    NoticeKind::SequenceUnverified,
];

#[tokio::test]
async fn a_hole_that_stays_open_is_a_gap() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(1), Doc::event(5)]).await;
    let gap = rig.notice(NoticeKind::SequenceGap).await;
    assert_eq!(
        (gap.missing, gap.subscription.as_deref()),
        (Some(3), Some("a"))
    );
    assert_eq!(
        rig.config
            .metrics
            .sequence_gaps_total
            .with_label_values(&["a"])
            .get(),
        1
    );
    assert_eq!(
        rig.config
            .metrics
            .sequence_missing_total
            .with_label_values(&["a"])
            .get(),
        3
    );
    assert_eq!(rig.config.boards[0].snapshot().gaps, 1);
    // And when it is filled after all, that is said.
    rig.admit("a", &[Doc::event(2), Doc::event(4), Doc::event(3)])
        .await;
    assert_eq!(
        rig.notice(NoticeKind::SequenceFilled).await.missing,
        Some(3)
    );
    assert_eq!(rig.ids().await.len(), 5);
}

#[tokio::test]
async fn an_expected_rotation_is_recovered_and_no_loss() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(1), Doc::event(2)]).await;
    rig.disconnect("a", now_ms(), DisconnectReason::Rotation)
        .await;
    rig.connect("a", now_ms()).await;
    // A replay of what was already written to the dying socket, unordered, and then news.
    rig.admit(
        "a",
        &[
            Doc::event(5),
            Doc::event(2),
            Doc::event(4),
            Doc::event(3),
            Doc::event(6),
        ],
    )
    .await;
    let recovered = rig.notice(NoticeKind::Recovered).await;
    assert_eq!(recovered.verdict, Some(Verdict::Recovered));
    assert!(rig.notices(&LOSSES).await.is_empty());
    assert_eq!(rig.ids().await.len(), 6);
    let told = rig
        .notices(&[NoticeKind::Connected, NoticeKind::Disconnected])
        .await;
    let told: Vec<_> = told.iter().map(|notice| notice.kind).collect();
    assert_eq!(
        told,
        [
            NoticeKind::Connected,
            NoticeKind::Disconnected,
            NoticeKind::Connected
        ]
    );
}

#[tokio::test]
async fn a_hole_across_a_disconnect_is_a_possible_loss() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(1)]).await;
    rig.disconnect("a", now_ms(), DisconnectReason::Network)
        .await;
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(4)]).await;
    let loss = rig.notice(NoticeKind::PossibleLoss).await;
    assert_eq!(
        (loss.missing, loss.verdict),
        (Some(2), Some(Verdict::PossibleLoss))
    );
    assert!(loss.text.contains("network"), "{}", loss.text);
}

#[tokio::test]
async fn a_numbering_that_begins_anew_is_no_loss() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    let before: Vec<_> = (100..110).map(Doc::event).collect();
    let after: Vec<_> = (1..10)
        .map(|n| Doc::event(n).timestamp(2_000_000 + n))
        .collect();
    rig.admit("a", &before).await;
    rig.admit("a", &after).await;
    rig.notice(NoticeKind::SequenceRestarted).await;
    assert!(rig.notices(&LOSSES).await.is_empty());
    assert_eq!(rig.ids().await.len(), 19);
}

#[tokio::test]
async fn interleaved_instances_are_numbered_apart() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    let docs: Vec<_> = (1..20)
        .flat_map(|n| [Doc::event(n), Doc::event(500 + n).instance(Some("j"))])
        .collect();
    rig.admit("a", &docs).await;
    rig.disconnect("a", now_ms(), DisconnectReason::Rotation)
        .await;
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(20), Doc::event(520).instance(Some("j"))])
        .await;
    rig.notice(NoticeKind::Recovered).await;
    assert!(rig.notices(&LOSSES).await.is_empty());
}

#[tokio::test]
async fn conflicts_in_storms_are_merged() {
    let rig = Rig::new(&["a"]);
    let docs: Vec<_> = (0..2000)
        .map(|n| Doc::event(1).body(&format!("{n}")))
        .collect();
    rig.admit("a", &docs).await;
    assert_eq!(rig.ids().await.len(), 2000);
    let notices = rig.notices(&[NoticeKind::DuplicateConflict]).await;
    assert!((64..80).contains(&notices.len()), "{}", notices.len());
    let counted = rig
        .config
        .metrics
        .notices_total
        .with_label_values(&["duplicate_conflict"])
        .get();
    assert_eq!(counted, 1999);
}

#[tokio::test]
async fn a_clock_that_falls_back_is_noticed_and_time_stands_still() {
    let rig = Rig::new(&["a"]);
    let start = now_ms();
    rig.admit_at("a", start, &[Doc::event(1)]).await;
    rig.admit_at("a", start - 3_600_000, &[Doc::event(2)]).await;
    rig.notice(NoticeKind::Clock).await;
    let mut reader = rig.core.bus.reader_after(crate::Offset(0));
    let batch = reader
        .ready_batch(crate::Limit {
            events: 10,
            bytes: 1 << 20,
        })
        .await
        .unwrap()
        .unwrap();
    let times: Vec<_> = batch
        .events()
        .take(2)
        .map(crate::Event::received_at_ms)
        .collect();
    assert_eq!(times, [start, start]);
}

/// Two subscriptions that have shown that they share a numbering.
async fn shared(rig: &Rig) {
    for name in ["a", "b"] {
        rig.connect(name, now_ms()).await;
        rig.admit(name, &[Doc::event(1)]).await;
    }
}

#[tokio::test]
async fn heartbeats_of_another_subscription_are_no_loss_also_across_a_restart() {
    let rig = Rig::new(&["a", "b"]);
    shared(&rig).await;
    rig.admit("a", &[Doc::heartbeat(2), Doc::heartbeat(3), Doc::event(5)])
        .await;
    rig.admit("b", &[Doc::heartbeat(4), Doc::event(5)]).await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    for name in ["a", "b"] {
        rig.connect(name, now_ms()).await;
    }
    rig.admit("b", &[Doc::heartbeat(6), Doc::heartbeat(8)])
        .await;
    rig.admit("a", &[Doc::heartbeat(7), Doc::heartbeat(9)])
        .await;
    // Number 10 is heard by none.
    rig.admit("a", &[Doc::event(11)]).await;
    rig.admit("b", &[Doc::event(11)]).await;
    let gap = rig.notice(NoticeKind::SequenceGap).await;
    assert_eq!((gap.missing, gap.subscription.as_deref()), (Some(1), None));
    assert_eq!(
        gap.text,
        "number 10 of i is missing on every subscription that shares its numbers: a, b"
    );
    assert_eq!(rig.notices(&LOSSES).await.len(), 1);
    assert_eq!(rig.notices(&[NoticeKind::Recovered]).await.len(), 2);
    for (board, name) in rig.config.boards.iter().zip(["a", "b"]) {
        assert_eq!(board.snapshot().gaps, 1);
        let missing = &rig.config.metrics.sequence_missing_total;
        assert_eq!(missing.with_label_values(&[name]).get(), 1);
    }
}

#[tokio::test]
async fn what_was_held_when_the_relay_stopped_is_announced_by_the_next_one() {
    let rig = Rig::new(&["a", "b"]);
    shared(&rig).await;
    rig.admit("a", &[Doc::event(4)]).await;
    rig.admit("b", &[Doc::event(3), Doc::event(4)]).await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    for name in ["a", "b"] {
        rig.connect(name, now_ms()).await;
        rig.admit(name, &[Doc::event(5)]).await;
    }
    let gap = rig.notice(NoticeKind::SequenceGap).await;
    assert!(
        gap.text.starts_with("number 2 of i is missing"),
        "{}",
        gap.text
    );
    assert_eq!(rig.notices(&LOSSES).await.len(), 1);
}

#[tokio::test]
async fn by_content_nothing_is_shared() {
    let rig = Rig::with(&["a", "b"], |config| config.dedup.across = Across::Content);
    shared(&rig).await;
    rig.admit("a", &[Doc::heartbeat(2)]).await;
    rig.admit("b", &[Doc::event(3)]).await;
    let gap = rig.notice(NoticeKind::SequenceGap).await;
    assert_eq!(gap.subscription.as_deref(), Some("b"));
    assert_eq!(gap.text, "number 2 of i is missing");
}

#[tokio::test]
async fn away_for_long_while_another_brought_everything_is_no_loss() {
    // Arrivals lie hours apart, the test does not take them: any time is longer than this.
    let rig = Rig::with(&["a", "b"], |config| config.cache_horizon = Duration::ZERO);
    let start = now_ms() - 8 * 3_600_000;
    for name in ["a", "b"] {
        rig.connect(name, start).await;
        rig.admit_at(name, start, &[Doc::event(1)]).await;
    }
    rig.disconnect("b", start, DisconnectReason::Network).await;
    rig.admit_at("a", start, &[Doc::event(2), Doc::event(3)])
        .await;
    rig.connect("b", now_ms()).await;
    rig.admit("b", &[Doc::heartbeat(4)]).await;
    rig.notice(NoticeKind::Recovered).await;
    rig.disconnect("b", now_ms(), DisconnectReason::Network)
        .await;
    rig.admit("a", &[Doc::event(5)]).await;
    rig.connect("b", now_ms() + 8 * 3_600_000).await;
    rig.admit_at("b", now_ms() + 8 * 3_600_000, &[Doc::event(7)])
        .await;
    rig.notice(NoticeKind::CertainLoss).await;
}
