//! Notices: their schema, their limits, their list.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_journal::{Epoch, Offset};

use super::limiter::{BURST, REFILL};
use super::*;
use crate::Cursor;

fn draft(kind: NoticeKind) -> NoticeDraft {
    NoticeDraft::new(kind, "text")
}

#[test]
fn kinds_are_a_closed_list_of_distinct_names_that_read_back() {
    let names: std::collections::HashSet<_> = NoticeKind::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(names.len(), NoticeKind::ALL.len());
    for kind in NoticeKind::ALL {
        let json = serde_json::to_string(kind).unwrap();
        assert_eq!(json, format!("\"{}\"", kind.as_str()));
        assert_eq!(serde_json::from_str::<NoticeKind>(&json).unwrap(), *kind);
    }
    for verdict in [
        Verdict::Recovered,
        Verdict::PossibleLoss,
        Verdict::CertainLoss,
        Verdict::Unverified,
    ] {
        assert_eq!(
            serde_json::to_string(&verdict).unwrap(),
            format!("\"{}\"", verdict.as_str())
        );
    }
}

#[test]
fn the_body_has_the_documented_shape() {
    let subscription: Arc<str> = "a".into();
    let draft = draft(NoticeKind::PossibleLoss)
        .subscription(&subscription)
        .between(Some(1_000), Some(2_500))
        .missing(3)
        .verdict(Verdict::PossibleLoss);
    let notice = draft.place("notice:00.1".into(), 3_000);
    assert_eq!(
        serde_json::to_string(&notice).unwrap(),
        r#"{"id":"notice:00.1","kind":"possible_loss","at":"1970-01-01T00:00:03Z","subscription":"a","from":"1970-01-01T00:00:01Z","until":"1970-01-01T00:00:02.5Z","missing":3,"verdict":"possible_loss","text":"text"}"#
    );
    let bare = NoticeDraft::new(NoticeKind::Clock, "x").place("notice:00.2".into(), u64::MAX);
    let json = serde_json::to_string(&bare).unwrap();
    assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), bare);
    assert!(!json.contains("null"), "{json}");
}

#[test]
fn a_burst_passes_and_a_storm_is_merged() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    for n in 0..1000u64 {
        let one = draft(NoticeKind::SequenceGap)
            .missing(1)
            .between(Some(n), Some(n + 1));
        limiter.offer(one, start);
    }
    let burst = limiter.take(start);
    assert_eq!(burst.len(), BURST as usize);
    assert!(limiter.take(start).is_empty());
    assert_eq!(limiter.due(), Some(start + REFILL));
    let merged = limiter.take(start + REFILL);
    let [merged] = merged.as_slice() else {
        panic!("{merged:?}")
    };
    assert_eq!(merged.missing, Some(1000 - u64::from(BURST)));
    assert_eq!(
        (merged.from, merged.until),
        (Some(u64::from(BURST)), Some(1000))
    );
    assert!(
        merged.text.ends_with("(and 935 more of this kind)"),
        "{}",
        merged.text
    );
    assert_eq!(limiter.due(), None);
}

#[test]
fn one_storm_does_not_silence_another_subject() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    for _ in 0..500 {
        limiter.offer(draft(NoticeKind::Skipped).sink("noisy"), start);
    }
    limiter.offer(draft(NoticeKind::Skipped).sink("quiet"), start);
    let ready = limiter.take(start);
    assert!(
        ready
            .iter()
            .any(|notice| notice.sink.as_deref() == Some("quiet"))
    );
}

#[test]
fn a_bucket_fills_again_and_subjects_are_bounded() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    for _ in 0..BURST {
        limiter.offer(draft(NoticeKind::Clock), start);
    }
    let later = start + REFILL * BURST * 10;
    limiter.take(start);
    for _ in 0..BURST {
        limiter.offer(draft(NoticeKind::Clock), later);
    }
    assert_eq!(limiter.take(later).len(), BURST as usize);
    for n in 0..100_000 {
        limiter.offer(draft(NoticeKind::Skipped).sink(&format!("s{n}")), later);
    }
    assert!(limiter.take(later).len() < 2000);
    let first = limiter.due().unwrap();
    assert_eq!(limiter.take(first).len(), 1);
}

fn gap(log: &mut GapLog, n: u64, kind: NoticeKind, at_ms: u64) {
    let cursor = Cursor {
        epoch: Epoch(1),
        offset: Offset(n),
    };
    log.append(vec![draft(kind).place(format!("notice:{cursor}"), at_ms)]);
}

#[test]
fn the_list_pages_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = GapLog::open(dir.path(), "acme").unwrap();
    for n in 1..=5 {
        gap(&mut log, n, NoticeKind::Disconnected, n);
        gap(&mut log, n, NoticeKind::Connected, n);
    }
    let ids = |items: &[Notice]| items.iter().map(|n| n.id.clone()).collect::<Vec<_>>();
    let before = log.list().read().unwrap().page(None, 100);
    assert_eq!((before.items.len(), before.next), (5, None));
    log.close();
    let log = GapLog::open(dir.path(), "acme").unwrap();
    let list = log.list();
    let list = list.read().unwrap();
    assert_eq!(list.page(None, 100), before);
    let first = list.page(None, 2);
    let second = list.page(first.next, 2);
    let third = list.page(second.next, 2);
    assert_eq!(third.next, None);
    let pages = [first.items, second.items, third.items].concat();
    assert_eq!(ids(&pages), ids(&before.items));
    assert_eq!(ids(&list.latest(2)), ids(&before.items[3..]));
    assert_eq!(log.last_id(), before.items.last().map(|n| n.id.clone()));
}

#[test]
fn the_list_keeps_thirty_days_and_ten_thousand() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = GapLog::open(dir.path(), "acme").unwrap();
    let day = u64::try_from(Duration::from_hours(24).as_millis()).unwrap();
    gap(&mut log, 1, NoticeKind::Disconnected, day);
    gap(&mut log, 2, NoticeKind::Disconnected, 31 * day);
    assert_eq!(log.list().read().unwrap().page(None, 10).items.len(), 2);
    log.age(31 * day);
    assert_eq!(log.list().read().unwrap().page(None, 10).items.len(), 2);
    log.age(31 * day + 1);
    let left = log.list().read().unwrap().page(None, 10).items;
    assert_eq!(left.len(), 1, "without anything new");
    assert!(left[0].id.ends_with(".2"));
    let many =
        (0..11_000).map(|n| draft(NoticeKind::Skipped).place(format!("notice:{n}"), 32 * day));
    log.append(many.collect());
    assert_eq!(
        log.list().read().unwrap().page(None, 20_000).items.len(),
        10_000
    );
}

#[test]
fn what_could_not_be_written_is_listed_and_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gaps");
    let mut log = GapLog::open(&path, "acme").unwrap();
    gap(&mut log, 1, NoticeKind::Disconnected, 1);
    log.close();
    let mut log = GapLog::open(&path, "acme").unwrap();
    // A segment can't be made while the folder is elsewhere.
    let aside = dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    gap(&mut log, 2, NoticeKind::PossibleLoss, 2);
    gap(&mut log, 3, NoticeKind::CertainLoss, 3);
    assert!(log.is_pending());
    let listed = log.list().read().unwrap().page(None, 10);
    assert_eq!(listed.items.len(), 3);
    log.append(Vec::new());
    assert!(log.is_pending());
    // And it does not grow for ever.
    for n in 4..20_000 {
        let text = "x".repeat(1000);
        let notice = NoticeDraft::new(NoticeKind::Skipped, text).place(format!("notice:{n}"), n);
        log.append(vec![notice]);
    }
    assert!(log.list().read().unwrap().page(None, 20_000).items.len() < 5_000);
    std::fs::rename(&aside, &path).unwrap();
    log.append(Vec::new());
    assert!(!log.is_pending());
    gap(&mut log, 20_000, NoticeKind::Disconnected, 20_000);
    let before = log.list().read().unwrap().page(None, 20_000);
    log.close();
    let log = GapLog::open(&path, "acme").unwrap();
    assert_eq!(log.list().read().unwrap().page(None, 20_000), before);
    assert_eq!(before.items[..3], listed.items[..]);
}
