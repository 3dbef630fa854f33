//! What is admitted becomes durable and visible, once.

use std::sync::Arc;

use sapi_protocol::Framed;

use super::{Doc, Rig};
use crate::admit::{Admit, Received, Stopped};
use crate::intake::{CloseError, CoreConfig};
use crate::notice::NoticeKind;
use crate::{Core, Kind, Metrics};

#[tokio::test]
async fn documents_become_events_in_order_with_their_bytes() {
    let rig = Rig::new(&["a"]);
    let docs: Vec<_> = (1..=100).map(Doc::event).collect();
    for chunk in docs.chunks(7) {
        rig.admit("a", chunk).await;
    }
    let read = rig.read().await;
    let expected: Vec<_> = docs
        .iter()
        .map(|doc| {
            (
                Kind::Event,
                format!("acme:i:{}:{}", doc.sequence, doc.timestamp),
                doc.json(),
            )
        })
        .collect();
    assert_eq!(read, expected);
    assert!(rig.core.intake.is_alive() && rig.core.intake.writable());
    assert!(rig.core.intake.progress().commits > 0);
    rig.core.close().await.unwrap();
}

#[tokio::test]
async fn a_message_beyond_the_queue_is_cut_into_groups() {
    let rig = Rig::new(&["a"]);
    let body = "x".repeat(1000);
    let docs: Vec<_> = (1..=6000)
        .map(|n| Doc::event(n).body(&format!("{n}{body}")))
        .collect();
    rig.admit("a", &docs).await;
    assert_eq!(rig.ids().await.len(), 6000);
    assert!(
        rig.core.intake.progress().commits >= 6,
        "groups of about a MiB"
    );
}

#[tokio::test]
async fn a_replay_is_dropped_also_within_one_group() {
    let rig = Rig::new(&["a"]);
    let docs: Vec<_> = (1..=5).map(Doc::event).collect();
    rig.admit("a", &[docs.clone(), docs.clone()].concat()).await;
    rig.admit("a", &docs).await;
    assert_eq!(rig.ids().await.len(), 5);
    assert_eq!(
        rig.config
            .metrics
            .duplicates_total
            .with_label_values(&["a"])
            .get(),
        10
    );
    assert_eq!(rig.config.metrics.journal_appended_events_total.get(), 5);
}

#[tokio::test]
async fn subscriptions_that_show_the_same_numbers_make_one_event() {
    let rig = Rig::new(&["a", "b"]);
    let docs: Vec<_> = (1..=5).map(Doc::event).collect();
    rig.admit("a", &docs).await;
    rig.admit("b", &docs).await;
    assert_eq!(rig.ids().await.len(), 5);
}

#[tokio::test]
async fn equal_content_under_other_ids_is_other_events() {
    let rig = Rig::new(&["a"]);
    let docs = [
        Doc::event(1).body("x"),
        Doc::event(2).body("x"),
        Doc::event(2).timestamp(9).body("x"),
    ];
    let other = Doc::event(1).instance(Some("j")).body("x");
    rig.admit("a", &[docs.as_slice(), &[other]].concat()).await;
    assert_eq!(rig.ids().await.len(), 4);
}

#[tokio::test]
async fn the_same_id_with_other_content_is_another_event_and_its_replay_none() {
    let rig = Rig::new(&["a"]);
    let (first, second) = (Doc::event(1).body("first"), Doc::event(1).body("second"));
    rig.admit(
        "a",
        &[first.clone(), second.clone(), first.clone(), second.clone()],
    )
    .await;
    rig.admit("a", &[second.clone(), first]).await;
    let Framed::Document(parsed) = second.framed() else {
        panic!()
    };
    let suffix = format!("{:016x}", parsed.content_hash() >> 64);
    assert_eq!(
        rig.ids().await,
        ["acme:i:1:1000001", &format!("acme:i:1:1000001:{suffix}")]
    );
    let notice = rig.notice(NoticeKind::DuplicateConflict).await;
    assert_eq!(notice.subscription.as_deref(), Some("a"));
}

#[tokio::test]
async fn without_msg_info_everything_is_delivered_under_its_cursor() {
    let rig = Rig::new(&["a"]);
    let doc = Doc::event(1).instance(None);
    rig.admit("a", &[doc.clone(), Doc::event(1), doc]).await;
    let epoch = rig.core.bus.epoch();
    let ids = [
        format!("acme:@{epoch}.1"),
        "acme:i:1:1000001".into(),
        format!("acme:@{epoch}.3"),
    ];
    assert_eq!(rig.ids().await, ids);
    assert_eq!(
        rig.config
            .metrics
            .events_without_id_total
            .with_label_values(&["a"])
            .get(),
        2
    );
}

#[tokio::test]
async fn heartbeats_are_not_journaled() {
    let rig = Rig::new(&["a"]);
    rig.admit("a", &[Doc::heartbeat(1), Doc::event(2), Doc::heartbeat(3)])
        .await;
    assert_eq!(rig.read().await.len(), 1);
}

#[tokio::test]
async fn what_is_no_document_goes_to_the_dead_letters() {
    let rig = Rig::new(&["a"]);
    rig.malformed("a", b"{nonsense").await;
    rig.admit("a", &[Doc::event(1)]).await;
    assert_eq!(rig.ids().await.len(), 1);
    let page = rig
        .core
        .dead_letters
        .list(Some("upstream"), None, 10)
        .await
        .unwrap();
    assert_eq!(&page.items[0].bytes[..], b"{nonsense");
    assert_eq!((page.items.len(), page.next), (1, None));
    assert_eq!(page.items[0].reason, "invalid_json");
    assert_eq!(page.items[0].subscription.as_deref(), Some("a"));
    assert_eq!(
        rig.config
            .metrics
            .malformed_total
            .with_label_values(&["a", "invalid_json"])
            .get(),
        1
    );
}

#[tokio::test]
async fn a_closed_intake_admits_nothing_and_keeps_what_it_admitted() {
    let rig = Rig::new(&["a"]);
    let docs: Vec<_> = (1..=500).map(Doc::event).collect();
    let (intake, bus) = (rig.core.intake.clone(), rig.core.bus.clone());
    rig.admit("a", &docs).await;
    let Rig {
        dir: _dir, core, ..
    } = rig;
    Core::close(core).await.unwrap();
    assert_eq!(bus.last().0, 500);
    let received = Received {
        subscription: "a".into(),
        at_ms: 0,
        documents: Vec::new(),
    };
    assert_eq!(intake.documents(received).await, Err(Stopped));
    assert!(!intake.is_alive());
    intake.flush().await;
}

#[tokio::test]
async fn whoever_waits_for_a_commit_thread_that_panics_is_told() {
    let rig = Rig::new(&["a"]);
    rig.admit("a", &[Doc::event(1)]).await;
    rig.core.intake.flush().await;
    let intake = rig.core.intake.clone();
    let (broken, ()) = tokio::join!(intake.break_down(), intake.ended());
    broken.unwrap();
    assert!(!intake.is_alive() && !intake.writable());
    intake.flush().await;
    assert_eq!(intake.break_down().await, Err(Stopped));
    let closed = rig.core.close().await;
    assert!(matches!(closed, Err(CloseError::Panicked)), "{closed:?}");
    // What was committed before is there, and nothing keeps the next start from it.
    let core = Core::open(CoreConfig {
        metrics: Arc::new(Metrics::new().unwrap()),
        ..rig.config
    });
    assert_eq!(core.unwrap().bus.last().0, 1);
}

#[tokio::test]
async fn a_large_replay_message_waits_for_the_disk_only_and_bounds_memory() {
    let rig = Rig::new(&["a", "b"]);
    let body = "x".repeat(10_000);
    let doc = |n| Doc::event(n).body(&format!("{n}{body}"));
    // Twice what the queue takes, from two sessions at once.
    let (a, b): (Vec<_>, Vec<_>) = ((1..=400).map(doc).collect(), (401..=800).map(doc).collect());
    tokio::join!(rig.admit("a", &a), rig.admit("b", &b));
    let ids = rig.ids().await;
    assert_eq!(ids.len(), 800);
    // Each message kept its order.
    let place = |n: u64| {
        ids.iter()
            .position(|id| *id == format!("acme:i:{n}:{}", 1_000_000 + n))
    };
    assert!((1..400).all(|n| place(n) < place(n + 1)));
    assert!((401..800).all(|n| place(n) < place(n + 1)));
}
