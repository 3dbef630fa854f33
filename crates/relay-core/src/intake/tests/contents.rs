//! Subscriptions that are numbered apart: an event is known by its content, counted.

use super::rig::now_ms;
use super::{Doc, Rig};
use crate::admit::DisconnectReason;
use crate::intake::Across;

fn rig() -> Rig {
    Rig::with(&["a", "b"], |config| config.dedup.across = Across::Content)
}

/// The same event as another subscription numbers it.
fn as_b(doc: &Doc) -> Doc {
    Doc {
        sequence: doc.sequence + 5000,
        instance: Some("j"),
        ..doc.clone()
    }
}

#[tokio::test]
async fn one_event_shown_by_two_subscriptions_is_delivered_once() {
    let rig = rig();
    let docs: Vec<_> = (1..=10).map(Doc::event).collect();
    let theirs: Vec<_> = docs.iter().map(as_b).collect();
    rig.admit("a", &docs[..6]).await;
    rig.admit("b", &theirs).await;
    rig.admit("a", &docs).await;
    assert_eq!(rig.ids().await.len(), 10);
}

#[tokio::test]
async fn equal_content_is_delivered_as_often_as_one_subscription_shows_it() {
    let rig = rig();
    let twice = [Doc::event(1).body("x"), Doc::event(2).body("x")];
    rig.admit("a", &twice).await;
    rig.admit("b", &twice.each_ref().map(as_b)).await;
    assert_eq!(rig.ids().await.len(), 2);
    rig.admit("b", &[as_b(&Doc::event(3).body("x"))]).await;
    assert_eq!(rig.ids().await.len(), 3);
}

#[tokio::test]
async fn the_counts_survive_a_kill() {
    let rig = rig();
    let [first, second] = [Doc::event(1).body("x"), Doc::event(2).body("x")];
    rig.admit("a", std::slice::from_ref(&first)).await;
    rig.admit("b", &[as_b(&first)]).await;
    let rig = rig.killed().await;
    // Replays of what either has shown, then a new one that both show.
    rig.admit("b", &[as_b(&first)]).await;
    rig.admit("a", &[first]).await;
    assert_eq!(rig.ids().await.len(), 1);
    rig.admit("b", &[as_b(&second)]).await;
    rig.admit("a", &[second]).await;
    assert_eq!(rig.ids().await.len(), 2);
}

#[tokio::test]
async fn one_that_was_away_for_too_long_starts_level() {
    let rig = rig();
    let start = now_ms();
    rig.connect("a", start - 4 * 3_600_000).await;
    rig.connect("b", start - 4 * 3_600_000).await;
    rig.admit_at("b", start - 4 * 3_600_000, &[as_b(&Doc::event(1))])
        .await;
    rig.disconnect("b", start - 4 * 3_600_000, DisconnectReason::Network)
        .await;
    rig.admit_at("a", start - 60_000, &[Doc::event(2).body("x")])
        .await;
    rig.connect("b", start).await;
    let rig = rig.killed().await;
    // What b never saw does not count against it: the next one that it shows first is news.
    rig.admit("b", &[as_b(&Doc::event(3).body("x"))]).await;
    rig.admit("a", &[Doc::event(3).body("x")]).await;
    assert_eq!(rig.ids().await.len(), 3);
}

#[tokio::test]
async fn no_two_events_share_an_id() {
    let rig = rig();
    let same = Doc::event(1);
    rig.admit("a", &[same.clone().body("x")]).await;
    rig.admit(
        "b",
        &[
            same.clone().body("y"),
            Doc::event(2).body("x"),
            same.body("x"),
        ],
    )
    .await;
    let ids = rig.ids().await;
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}
