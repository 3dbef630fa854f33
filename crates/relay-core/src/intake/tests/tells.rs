//! What intake tells of holes, restarts of the numbering, and connections.

use super::rig::now_ms;
use super::{Doc, Rig};
use crate::admit::DisconnectReason;
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
    rig.notice(NoticeKind::SequenceFilled).await;
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
