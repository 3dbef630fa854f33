//! Dead letters: kept, listed, counted, bounded.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn config() -> DeadLetterConfig {
    DeadLetterConfig {
        retention_age: Duration::from_hours(720),
        retention_bytes: 64 << 20,
    }
}

fn open(dir: &Path, config: DeadLetterConfig) -> (DeadLetters, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    (
        DeadLetters::open(dir, "acme", config, Arc::clone(&metrics)).unwrap(),
        metrics,
    )
}

fn letter(sink: Option<&str>, n: u64) -> DeadLetter {
    let bytes = Bytes::from(format!("bytes of {n}"));
    DeadLetter {
        id: 0,
        at: timestamp(1_000 + n),
        origin: if sink.is_some() {
            Origin::Sink
        } else {
            Origin::Upstream
        },
        sink: sink.map(str::to_owned),
        subscription: None,
        event_id: Some(format!("event {n}")),
        cursor: None,
        reason: "refused".to_owned(),
        size: bytes.len() as u64,
        bytes,
        truncated: false,
    }
}

#[tokio::test]
async fn letters_are_listed_by_page_and_sink_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (letters, metrics) = open(dir.path(), config());
    for n in 0..10 {
        letters
            .put(vec![letter(Some("lake"), 2 * n), letter(None, 2 * n + 1)])
            .await
            .unwrap();
    }
    assert_eq!(metrics.dead_letters.with_label_values(&["lake"]).get(), 10);
    letters.close();
    assert!(letters.put(vec![letter(None, 1)]).await.is_err());
    drop(letters);
    let (letters, metrics) = open(dir.path(), config());
    assert_eq!(
        metrics.dead_letters.with_label_values(&["upstream"]).get(),
        10
    );
    assert_eq!(letters.count("lake"), 10);
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = letters.list(Some("lake"), after, 3).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..10).map(|n| format!("event {}", 2 * n)).collect();
    let ids: Vec<_> = seen
        .iter()
        .filter_map(|letter| letter.event_id.clone())
        .collect();
    assert_eq!(ids, expected);
    assert_eq!(&seen[1].bytes[..], b"bytes of 2");
    assert_eq!(
        letters.list(None, None, 1000).await.unwrap().items.len(),
        20
    );
    assert!(
        letters
            .list(Some("nobody"), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[test]
fn a_letter_has_the_documented_shape() {
    let letter = DeadLetter {
        id: 3,
        ..letter(Some("lake"), 0)
    };
    assert_eq!(
        serde_json::to_string(&letter).unwrap(),
        r#"{"id":3,"at":"1970-01-01T00:00:01Z","origin":"sink","sink":"lake","event_id":"event 0","reason":"refused","bytes_base64":"Ynl0ZXMgb2YgMA==","size":10,"truncated":false}"#
    );
}

#[tokio::test]
async fn the_oldest_are_dropped_first_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = DeadLetterConfig {
        retention_bytes: 4 << 20,
        ..config()
    };
    let (letters, metrics) = open(dir.path(), bounds);
    let large = Bytes::from(vec![b'x'; 64 << 10]);
    for n in 0..200 {
        let sink = ["lake", "hook"][usize::from(n % 3 == 0)];
        letters
            .put(vec![DeadLetter {
                bytes: large.clone(),
                ..letter(Some(sink), n)
            }])
            .await
            .unwrap();
    }
    let kept = letters.list(None, None, 1000).await.unwrap().items;
    assert!((16..=80).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap().event_id.as_deref(), Some("event 199"));
    let dropped = metrics.dead_letters_dropped_total.get();
    assert_eq!(dropped + kept.len() as u64, 200);
    for sink in ["lake", "hook"] {
        let count = kept
            .iter()
            .filter(|letter| letter.sink.as_deref() == Some(sink))
            .count();
        assert_eq!(letters.count(sink), count as u64, "{sink}");
        assert_eq!(
            metrics.dead_letters.with_label_values(&[sink]).get(),
            i64::try_from(count).unwrap()
        );
    }
}

#[tokio::test]
async fn letters_age_also_when_nothing_more_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let day_ms = 24 * 3_600_000;
    let (letters, metrics) = open(dir.path(), config());
    letters.put(vec![letter(Some("lake"), 1)]).await.unwrap();
    letters.age(1_001 + 30 * day_ms);
    assert_eq!(letters.count("lake"), 1, "its segment may still be written");
    letters.close();
    drop(letters);
    // A wall clock that leaps far ahead ages nothing by itself.
    let (letters, _) = open(dir.path(), config());
    letters
        .put(vec![letter(Some("lake"), 9000 * day_ms)])
        .await
        .unwrap();
    assert_eq!(letters.count("lake"), 2);
    letters.age(1_001 + 30 * day_ms);
    assert_eq!(letters.count("lake"), 2);
    letters.age(1_002 + 30 * day_ms);
    assert_eq!(letters.count("lake"), 1);
    assert_eq!(letters.list(None, None, 10).await.unwrap().items.len(), 1);
    assert_eq!(metrics.dead_letters.with_label_values(&["lake"]).get(), 1);
}

#[tokio::test]
async fn the_segment_that_is_written_ages_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = DeadLetterConfig {
        retention_age: Duration::from_millis(1),
        ..config()
    };
    let (letters, metrics) = open(dir.path(), bounds);
    letters.put(vec![letter(Some("lake"), 1)]).await.unwrap();
    // The segment is a millisecond old before long.
    while letters.count("lake") > 0 {
        letters.age(1_000_000);
    }
    assert_eq!(metrics.dead_letters_dropped_total.get(), 1);
    letters.put(vec![letter(Some("lake"), 2)]).await.unwrap();
    assert_eq!(letters.count("lake"), 1);
}

#[test]
fn a_million_letters_of_changing_origin_take_little() {
    let mut counts = Counts::default();
    for place in 1..=1_000_000u64 {
        counts.add(
            ["lake", "hook", "upstream"][usize::try_from(place % 3).unwrap()],
            place,
        );
    }
    assert!(counts.bytes() < 3 << 20, "{}", counts.bytes());
    assert_eq!(counts.trim(500_001), 500_000);
    assert!(counts.bytes() < 2 << 20, "{}", counts.bytes());
    assert_eq!(counts.last(), Some(1_000_000));
    assert!(!counts.holds(500_000) && counts.holds(500_001));
    // Places may be far apart.
    counts.add("lake", 1 << 60);
    assert!(counts.holds(1 << 60) && !counts.holds(1 << 59));
    assert!(counts.bytes() < 2 << 20);
    assert!(counts.remove(1 << 60) && !counts.remove(1 << 60));
}

proptest! {
    #[test]
    fn counts_are_those_of_a_list(
        steps in prop::collection::vec(
            (0..3usize, 1..20u64, any::<bool>(), prop::option::of(any::<prop::sample::Index>())),
            1..100,
        ),
    ) {
        let (mut counts, mut model) = (Counts::default(), Vec::new());
        let labels = ["upstream", "lake", "hook"];
        let (mut next, mut first) = (1, 1);
        for (label, many, trim, remove) in steps {
            for _ in 0..many {
                counts.add(labels[label], next);
                model.push((next, labels[label]));
                next += 1;
            }
            if trim {
                first = (first + many).min(next);
                let before = model.len();
                model.retain(|(place, _)| *place >= first);
                prop_assert_eq!(counts.trim(first), (before - model.len()) as u64);
            }
            if let Some(index) = remove.filter(|_| next > 1) {
                let place = 1 + index.index(usize::try_from(next - 1).unwrap()) as u64;
                let before = model.len();
                model.retain(|(other, _)| *other != place);
                prop_assert_eq!(counts.remove(place), model.len() < before);
            }
            for place in 0..next {
                let held = model.iter().any(|(other, _)| *other == place);
                prop_assert_eq!(counts.holds(place), held);
            }
            prop_assert_eq!(counts.last(), model.last().map(|(place, _)| *place));
            let mut totals: HashMap<&str, u64> = HashMap::new();
            for (_, label) in &model {
                *totals.entry(label).or_default() += 1;
            }
            for label in labels {
                prop_assert_eq!(counts.get(label), totals.get(label).copied().unwrap_or(0));
            }
        }
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_for_good_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (letters, metrics) = open(dir.path(), config());
    let all = (0..6).map(|n| letter(Some("lake"), n)).collect();
    letters.put(all).await.unwrap();
    let ids = |page: Page<DeadLetter>| {
        page.items
            .iter()
            .map(|letter| letter.id)
            .collect::<Vec<_>>()
    };
    let before = ids(letters.list(None, None, 10).await.unwrap());
    letters
        .remove(vec![before[1], before[4], 999])
        .await
        .unwrap();
    letters.remove(vec![before[1]]).await.unwrap();
    letters.put(vec![letter(Some("lake"), 6)]).await.unwrap();
    let after = ids(letters.list(None, None, 10).await.unwrap());
    assert_eq!(after[..4], [before[0], before[2], before[3], before[5]]);
    assert_eq!(after.len(), 5);
    assert_eq!(metrics.dead_letters.with_label_values(&["lake"]).get(), 5);
    letters.close();
    assert!(letters.remove(vec![before[0]]).await.is_err());
    drop(letters);
    let (letters, metrics) = open(dir.path(), config());
    assert_eq!(ids(letters.list(None, None, 10).await.unwrap()), after);
    assert_eq!(metrics.dead_letters.with_label_values(&["lake"]).get(), 5);
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let (letters, _) = open(dir.path(), config());
    for n in 0..5 {
        let large = DeadLetter {
            bytes: Bytes::from(vec![b'x'; 3 << 20]),
            ..letter(None, n)
        };
        letters.put(vec![large]).await.unwrap();
    }
    let page = letters.list(None, None, 100).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let rest = letters.list(None, page.next, 100).await.unwrap();
    assert_eq!(rest.items.len(), 2);
}
