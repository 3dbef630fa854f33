//! What survives: `kill -9`, a clean stop, another configuration.

use std::sync::Arc;
use std::time::Duration;

use super::rig::now_ms;
use super::{Doc, Rig};
use crate::Offset;
use crate::admit::DisconnectReason;
use crate::intake::{Core, OpenError};
use crate::notice::{NoticeKind, timestamp};

#[tokio::test]
async fn exactly_once_across_a_kill() {
    let rig = Rig::new(&["a"]);
    let docs: Vec<_> = (1..=300).map(Doc::event).collect();
    rig.admit("a", &docs[..200]).await;
    let conflict = Doc::event(7).body("other");
    rig.admit("a", std::slice::from_ref(&conflict)).await;
    let killed = rig.killed().await;
    killed.admit("a", &docs[100..]).await;
    killed.admit("a", &[conflict]).await;
    assert_eq!(killed.ids().await.len(), 301);
    assert_eq!(killed.core.bus.epoch(), rig.core.bus.epoch());
}

#[tokio::test]
async fn the_memory_of_ids_looks_back_from_the_newest_record() {
    let rig = Rig::new(&["a"]);
    let old = now_ms() - 10 * 3_600_000;
    rig.admit_at("a", old, &[Doc::event(1)]).await;
    // Nothing happened for ten hours, then the upstream replays: still known.
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.admit_at("a", old, &[Doc::event(1)]).await;
    assert_eq!(rig.ids().await.len(), 1);
    rig.admit_at("a", old + 9_000_001, &[Doc::event(2)]).await;
    // A leap of the clock is no reason to forget what was committed a moment ago.
    rig.admit_at("a", old + 9_000_002, &[Doc::event(1)]).await;
    assert_eq!(rig.ids().await.len(), 2);
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.admit_at("a", old + 9_000_003, &[Doc::event(1)]).await;
    assert_eq!(
        rig.ids().await.len(),
        3,
        "beyond the horizon in doubt it is delivered"
    );
}

#[tokio::test]
async fn another_process_and_another_tenant_are_refused() {
    let rig = Rig::new(&["a"]);
    assert!(matches!(
        Core::open(rig.config.clone()),
        Err(OpenError::Locked { .. })
    ));
    let refused = rig.reopen(|config| config.tenant = "other".into()).await;
    let Err(OpenError::ForeignTenant {
        found, expected, ..
    }) = refused.map(|_| ())
    else {
        panic!()
    };
    assert_eq!((found.as_str(), expected.as_str()), ("acme", "other"));
}

#[tokio::test]
async fn ids_used_a_short_while_ago_count_against_the_three() {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|id| Arc::from(*id))
            .collect::<Vec<Arc<str>>>()
    };
    let rig = Rig::new(&["a", "b"]);
    rig.connect("a", now_ms()).await;
    rig.connect("b", now_ms() - 3 * 3_600_000).await;
    let rig = rig
        .reopen(|config| config.subs_ids = names(&["c", "d"]))
        .await
        .unwrap();
    let refused = rig
        .reopen(|config| config.subs_ids = names(&["c", "d", "e"]))
        .await
        .map(|_| ());
    let Err(OpenError::TooManySubscriptions { remembered, .. }) = refused else {
        panic!()
    };
    assert_eq!(
        remembered,
        ["a"],
        "b was used longer ago than the upstream keeps events"
    );
}

#[tokio::test]
async fn a_restart_after_a_quiet_night_announces_no_loss() {
    let rig = Rig::new(&["a"]);
    let start = now_ms();
    rig.connect("a", start - 8 * 3_600_000).await;
    rig.admit_at("a", start - 8 * 3_600_000, &[Doc::event(1)])
        .await;
    // Heartbeats all night, then a stop and a start a minute later.
    rig.admit_at("a", start - 120_000, &[Doc::heartbeat(2)])
        .await;
    rig.disconnect("a", start - 60_000, DisconnectReason::Shutdown)
        .await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.connect("a", start).await;
    rig.admit_at("a", start, &[Doc::heartbeat(3)]).await;
    rig.notice(NoticeKind::Recovered).await;
    let losses = [
        NoticeKind::PossibleLoss,
        NoticeKind::CertainLoss,
        NoticeKind::SequenceGap,
    ];
    assert!(rig.notices(&losses).await.is_empty());
}

#[tokio::test]
async fn a_hole_across_a_restart_is_unverified() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(1)]).await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(5)]).await;
    let notice = rig.notice(NoticeKind::SequenceUnverified).await;
    assert_eq!(notice.missing, Some(3));
    assert_eq!(
        rig.config
            .metrics
            .sequence_gaps_total
            .with_label_values(&["a"])
            .get(),
        0
    );
    assert!(
        rig.notices(&[NoticeKind::SequenceGap, NoticeKind::PossibleLoss])
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn longer_away_than_the_cache_is_a_certain_loss_also_across_a_kill() {
    let rig = Rig::new(&["a"]);
    let start = now_ms() - 5 * 3_600_000;
    rig.connect("a", start).await;
    rig.admit_at("a", start, &[Doc::event(1)]).await;
    rig.core.intake.flush().await;
    // What was heard is handed to the store within about a second.
    while rig.core.store.get(crate::Table::Facts, "heard/a").is_none() {
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>())
            .await
            .ok();
    }
    rig.core.store.flush().await.unwrap();
    let rig = rig.killed().await;
    rig.connect("a", start + 3 * 3_600_000).await;
    let notice = rig.notice(NoticeKind::CertainLoss).await;
    assert_eq!(notice.from, Some(timestamp(start)));
    assert_eq!(notice.until, Some(timestamp(start + 3 * 3_600_000)));
}

#[tokio::test]
async fn gaps_are_listed_again_after_a_restart() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    rig.disconnect("a", now_ms(), DisconnectReason::Network)
        .await;
    rig.notice(NoticeKind::Disconnected).await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    let page = rig.core.notices.gaps(None, 10);
    let kinds: Vec<_> = page.items.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::Disconnected]);
    assert!(page.items[0].id.starts_with("notice:"));
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn a_replay_after_a_quiet_night_is_known_also_after_a_kill() {
    let rig = Rig::new(&["a"]);
    let old = now_ms() - 10 * 3_600_000;
    rig.admit_at("a", old, &[Doc::event(1), Doc::event(2)])
        .await;
    rig.admit("a", &[Doc::event(1)]).await;
    // The notice of the connection is a newer record, and no newer event.
    rig.connect("a", now_ms()).await;
    let killed = rig.killed().await;
    killed.admit("a", &[Doc::event(1), Doc::event(2)]).await;
    assert_eq!(killed.ids().await.len(), 2);
}

#[tokio::test]
async fn one_instance_that_went_on_does_not_vouch_for_another_across_a_restart() {
    let rig = Rig::new(&["a"]);
    rig.connect("a", now_ms()).await;
    let of_k = |n| Doc::event(n).instance(Some("k"));
    rig.admit("a", &[Doc::event(1), of_k(1)]).await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(5), of_k(2)]).await;
    let notice = rig.notice(NoticeKind::SequenceUnverified).await;
    assert_eq!(notice.missing, Some(3));
    assert!(rig.notices(&[NoticeKind::Recovered]).await.is_empty());
}

#[tokio::test]
async fn a_damaged_last_record_costs_no_more_than_itself() {
    let rig = Rig::new(&["a"]);
    let docs: Vec<_> = (1..=3).map(Doc::event).collect();
    rig.admit("a", &docs).await;
    let Rig { dir, config, core } = rig;
    core.close().await.unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().path());
    let path = names
        .filter(|path| path.extension().is_some_and(|ext| ext == "segment"))
        .max()
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(7).rposition(|text| text == b"event 3");
    bytes[at.unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let core = Core::open(config.clone()).unwrap();
    let rig = Rig { dir, config, core };
    rig.admit("a", &docs).await;
    rig.core.intake.flush().await;
    let duplicates = &rig.config.metrics.duplicates_total;
    assert_eq!(duplicates.with_label_values(&["a"]).get(), 2);
}

#[tokio::test]
async fn damage_in_what_is_sealed_is_said_at_the_start() {
    let rig = Rig::with(&["a"], |config| config.journal.retention_bytes = 8 << 20);
    for n in 1..=40 {
        let body = format!("{n} {}", "x".repeat(64 << 10));
        rig.admit("a", &[Doc::event(n).body(&body)]).await;
    }
    let Rig { dir, config, core } = rig;
    core.close().await.unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().path());
    let path = names
        .filter(|path| path.extension().is_some_and(|ext| ext == "segment"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let core = Core::open(config.clone()).unwrap();
    assert!(core.recovery.damage.is_empty(), "opening does not read it");
    let rig = Rig { dir, config, core };
    let notice = rig
        .notice_after(Offset(40), NoticeKind::JournalDamaged)
        .await;
    assert!(notice.text.contains("can't be read"), "{}", notice.text);
}

#[tokio::test]
async fn a_leap_of_the_clock_doubles_nothing() {
    let rig = Rig::new(&["a"]);
    let hours = 3_600_000;
    let docs: Vec<_> = (1..=100).map(Doc::event).collect();
    rig.admit_at("a", now_ms(), &docs).await;
    for at_ms in [now_ms() + 3 * hours, now_ms(), now_ms() + 24 * hours] {
        rig.admit_at("a", at_ms, &[Doc::event(at_ms)]).await;
        rig.admit_at("a", at_ms, &docs).await;
    }
    assert_eq!(rig.ids().await.len(), 103);
}
