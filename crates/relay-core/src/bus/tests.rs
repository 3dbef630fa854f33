//! Readers against a real journal: the border between memory and disk, retention, limits.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use relay_journal::{LogOptions, TrimPolicy, Writer};
use sapi_protocol::Format;
use tempfile::TempDir;

use super::*;
use crate::event::{Encoding, Head, Kind};

struct Fixture {
    writer: Writer,
    log: Log,
    bus: Bus,
    _dir: TempDir,
}

impl Fixture {
    fn new(memory: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            segment_bytes: 64 * 1024,
            segment_age: Duration::from_hours(1),
            identity: "acmecorp01".to_owned(),
            reserve_bytes: 0,
        };
        let (writer, log, _) = Log::open(dir.path(), options).unwrap();
        Self {
            writer,
            bus: Bus::new(log.clone(), memory),
            log,
            _dir: dir,
        }
    }

    fn commit(&mut self, kind: Kind, payloads: &[String]) {
        let mut group = self.writer.begin();
        for payload in payloads {
            let mut head = Vec::new();
            let head_fields = Head {
                format: Format::Json,
                id_hash: 1,
                content_hash: 2,
                sequence: Some(3),
                timestamp: Some(4),
                id: "id",
                subscription: "relay_a",
                class: "Interaction",
                event_type: "InteractionCreated",
                key: "key",
                media: "phone",
                instance: "instance",
            };
            head_fields.encode(&mut head);
            group.push(kind as u8, 1_000, &head, payload.as_bytes());
        }
        let committed = self.writer.commit(group).unwrap();
        self.bus.publish(committed);
    }

    fn events(&mut self, range: Range<u64>) {
        let payloads: Vec<_> = range
            .map(|n| format!("event {n} {}", "x".repeat(500)))
            .collect();
        self.commit(Kind::Event, &payloads);
    }
}

const LIMIT: Limit = Limit {
    events: 7,
    bytes: 1 << 20,
};

async fn read(reader: &mut Reader, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let batch = reader.next_batch(LIMIT).await.unwrap();
        assert!(batch.len() <= LIMIT.events);
        assert_eq!(batch.upto(), reader.position());
        offsets.extend(batch.events().map(|event| event.offset().0));
    }
    offsets
}

#[tokio::test]
async fn a_reader_crosses_from_disk_to_memory_without_a_seam() {
    let mut fixture = Fixture::new(20_000);
    for start in 0..20 {
        fixture.events(start * 10 + 1..start * 10 + 11);
    }
    assert!(
        fixture.bus.memory_first() > Offset(1),
        "the tail is bounded"
    );
    assert!(
        fixture.bus.memory_first() < Offset(200),
        "the tail is there"
    );
    let (mut reader, unmet) = fixture.bus.reader(From::Earliest).await.unwrap();
    assert_eq!(unmet, None);
    assert_eq!(read(&mut reader, 200).await, (1..=200).collect::<Vec<_>>());
    assert!(reader.at_tail());
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_next_commit() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.events(1..4);
    let (mut reader, _) = fixture.bus.reader(From::Now).await.unwrap();
    assert!(reader.ready_batch(LIMIT).await.unwrap().is_none());
    let waiting = reader.next_batch(LIMIT);
    fixture.events(4..6);
    let batch = waiting.await.unwrap();
    let texts: Vec<_> = batch
        .events()
        .map(|event| event.bytes().slice(..7))
        .collect();
    assert_eq!(texts, ["event 4", "event 5"]);
}

#[tokio::test]
async fn what_is_never_delivered_moves_the_position_all_the_same() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.commit(Kind::Sighting, &["suppressed".to_owned()]);
    fixture.events(1..2);
    fixture.commit(Kind::Sighting, &["suppressed".to_owned()]);
    for mut reader in [fixture.bus.reader_after(Offset(0)), {
        let bus = Bus::new(fixture.log.clone(), 0);
        bus.reader_after(Offset(0))
    }] {
        let mut offsets = Vec::new();
        while !reader.at_tail() {
            let batch = reader.next_batch(LIMIT).await.unwrap();
            offsets.extend(batch.events().map(|event| event.offset().0));
        }
        assert_eq!((offsets, reader.position()), (vec![2], Offset(3)));
    }
}

#[tokio::test]
async fn a_range_that_retention_took_is_said_once() {
    let mut fixture = Fixture::new(0);
    for start in 0..40 {
        fixture.events(start * 10 + 1..start * 10 + 11);
    }
    let mut reader = fixture.bus.reader_after(Offset(0));
    let policy = TrimPolicy {
        passed: Offset(0),
        older_than_ms: None,
        max_bytes: Some(100_000),
    };
    fixture.log.trim(&policy).unwrap();
    let first = fixture.bus.first();
    assert!(first > Offset(1));
    let Err(ReadError::Skipped(skipped)) = reader.next_batch(LIMIT).await else {
        panic!("the trimmed range is announced");
    };
    assert_eq!(
        (skipped.from, skipped.to.next(), skipped.damaged),
        (Offset(1), first, false)
    );
    let count = usize::try_from(401 - first.0).unwrap();
    assert_eq!(
        read(&mut reader, count).await,
        (first.0..=400).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn starting_points_that_cannot_be_met() {
    let mut fixture = Fixture::new(0);
    for start in 0..40 {
        fixture.events(start * 10 + 1..start * 10 + 11);
    }
    let policy = TrimPolicy {
        passed: Offset(0),
        older_than_ms: None,
        max_bytes: Some(100_000),
    };
    fixture.log.trim(&policy).unwrap();
    let first = fixture.bus.first();
    let before_first = Offset(first.0 - 1);
    let bus = &fixture.bus;
    let after = |offset| From::After(bus.cursor(Offset(offset)));
    let too_old = Unmet::TooOld {
        from: Offset(4),
        to: before_first,
    };
    assert_eq!(
        bus.resolve(after(3)).await.unwrap(),
        (before_first, Some(too_old))
    );
    assert_eq!(bus.resolve(after(400)).await.unwrap(), (Offset(400), None));
    assert_eq!(
        bus.resolve(after(401)).await.unwrap(),
        (Offset(400), Some(Unmet::Future))
    );
    let foreign = Cursor {
        epoch: "00000000000000ff".parse().unwrap(),
        offset: Offset(1),
    };
    let resolved = bus.resolve(From::After(foreign)).await.unwrap();
    assert_eq!(resolved, (before_first, Some(Unmet::ForeignEpoch)));
    assert_eq!(
        bus.resolve(From::Time(0)).await.unwrap(),
        (before_first, None)
    );
}

#[tokio::test]
async fn a_batch_is_parted_by_a_limit_or_before_an_offset() {
    let mut fixture = Fixture::new(1 << 20);
    let texts = ["one".to_owned(), "other".to_owned()];
    for kind in [Kind::Event, Kind::Sighting, Kind::Event, Kind::Sighting] {
        fixture.commit(kind, &texts);
    }
    let mut reader = fixture.bus.reader_after(Offset(0));
    let batch = reader.next_batch(LIMIT).await.unwrap();
    let parts = |limit: Limit, end: u64| {
        let (front, rest) = batch.clone().split(limit, Offset(end));
        let part = |batch: &crate::Batch| {
            let offsets = batch.events().map(|event| event.offset().0);
            (offsets.collect::<Vec<_>>(), batch.upto().0)
        };
        (part(&front), rest.as_ref().map(part))
    };
    let all = (vec![1, 2, 5, 6], 8);
    assert_eq!(parts(LIMIT, u64::MAX), (all.clone(), None));
    // What is never delivered lies on this side.
    let (front, rest) = ((vec![1, 2], 4), (vec![5, 6], 8));
    assert_eq!(parts(LIMIT, 4), (front, Some(rest.clone())));
    assert_eq!(parts(LIMIT, 3), ((vec![1, 2], 3), Some(rest)));
    let events = |events| Limit { events, ..LIMIT };
    let (front, rest) = ((vec![1, 2, 5], 5), (vec![6], 8));
    assert_eq!(parts(events(3), 7), (front, Some(rest)));
    assert_eq!(parts(events(3), 0), ((vec![], 0), Some(all)));
    let tight = Limit { bytes: 1, ..LIMIT };
    let (front, rest) = ((vec![1], 1), (vec![2, 5, 6], 8));
    assert_eq!(parts(tight, 7), (front, Some(rest)));
}

#[tokio::test]
async fn an_encoding_is_made_once_and_its_bytes_are_counted() {
    let mut fixture = Fixture::new(1 << 20);
    fixture.events(1..2);
    let before = fixture.bus.memory_bytes();
    let (mut one, _) = fixture.bus.reader(From::Earliest).await.unwrap();
    let (mut two, _) = fixture.bus.reader(From::Earliest).await.unwrap();
    let (one, two) = (
        one.next_batch(LIMIT).await.unwrap(),
        two.next_batch(LIMIT).await.unwrap(),
    );
    let encode = |batch: &crate::Batch| {
        let event = batch.events().next().unwrap();
        event
            .encoded(Encoding::Structured, |_| Bytes::from(vec![0; 100]))
            .clone()
    };
    assert_eq!(encode(&one).as_ptr(), encode(&two).as_ptr());
    assert_eq!(fixture.bus.memory_bytes(), before + 100);
}

#[tokio::test]
async fn what_readers_have_encoded_stays_within_the_memory_also_when_nothing_is_published() {
    const MEMORY: usize = 30_000;
    let mut fixture = Fixture::new(MEMORY);
    for start in 0..3 {
        fixture.events(start * 10 + 1..start * 10 + 11);
    }
    assert_eq!(fixture.bus.memory_first(), Offset(1), "there is room");
    let (mut ahead, mut behind) = (
        fixture.bus.reader_after(Offset(0)),
        fixture.bus.reader_after(Offset(0)),
    );
    while !ahead.at_tail() {
        let batch = ahead.next_batch(LIMIT).await.unwrap();
        for event in batch.events() {
            event.encoded(Encoding::Structured, |_| Bytes::from(vec![0; 600]));
        }
        drop(batch);
        let last_batch = LIMIT.events * 600;
        assert!(fixture.bus.memory_bytes() <= MEMORY + last_batch);
    }
    assert!(fixture.bus.memory_first() > Offset(1));
    assert_eq!(read(&mut behind, 30).await, (1..=30).collect::<Vec<_>>());
    assert!(fixture.bus.memory_bytes() <= MEMORY);
}

#[tokio::test]
async fn what_is_read_back_takes_its_memory_from_the_tail() {
    const MEMORY: usize = 60_000;
    let mut fixture = Fixture::new(MEMORY);
    for start in 0..20 {
        fixture.events(start * 10 + 1..start * 10 + 11);
    }
    let first = fixture.bus.memory_first();
    let limit = Limit {
        bytes: 8_000,
        ..LIMIT
    };
    let mut behind = fixture.bus.reader_after(Offset(0));
    let held = behind.next_batch(limit).await.unwrap();
    let mut ahead = fixture.bus.reader_after(Offset(199));
    assert_eq!(ahead.next_batch(limit).await.unwrap().len(), 1);
    assert!(fixture.bus.memory_first() > first);
    assert!(fixture.bus.memory_bytes() <= MEMORY);
    drop(held);
}

#[tokio::test]
async fn an_event_larger_than_a_read_takes_its_whole_share_of_the_replay_budget() {
    let mut fixture = Fixture::new(0);
    let large = "x".repeat(900 << 10);
    fixture.commit(Kind::Event, &[large]);
    fixture.events(1..2);
    let limit = Limit {
        events: 1,
        bytes: 64 << 10,
    };
    let (mut one, mut two) = (
        fixture.bus.reader_after(Offset(0)),
        fixture.bus.reader_after(Offset(0)),
    );
    let held = one.next_batch(limit).await.unwrap();
    assert_eq!(held.len(), 1);
    let mut second = std::pin::pin!(two.next_batch(limit));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err(), "both would take more than the budget");
    drop(held);
    assert_eq!(second.await.unwrap().len(), 1);
}

#[tokio::test]
async fn memory_that_readers_hold_counts_and_is_given_back() {
    let mut fixture = Fixture::new(0);
    fixture.events(1..11);
    let (mut reader, _) = fixture.bus.reader(From::Earliest).await.unwrap();
    let held = reader.next_batch(LIMIT).await.unwrap();
    fixture.events(11..21);
    let with_held = fixture.bus.memory_bytes();
    drop(held);
    assert!(fixture.bus.memory_bytes() < with_held);
}
