//! Readers: beside the writer, beside trimming, in another process' shoes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::{ReadError, TrimPolicy};

#[test]
fn a_record_larger_than_the_limit_and_than_a_segment_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(dir.path());
    let mut all = commit(&mut writer, 3, 10);
    all.extend(commit(&mut writer, 1, 700_000));
    all.extend(commit(&mut writer, 2, 5_000));
    for max in [0, 100, 1 << 20] {
        assert_eq!(read_all(&log, Offset(1), max), all);
        assert_eq!(read_all(&log, Offset(4), max), all[3..]);
    }
    assert_eq!(log.read(Offset(7), 100).unwrap(), []);
}

#[test]
fn an_offset_deep_in_a_large_active_segment_is_found_by_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 4 << 20,
        ..options()
    };
    let (mut writer, log, _) = Log::open(dir.path(), options).unwrap();
    let mut all = Vec::new();
    for _ in 0..20 {
        all.extend(commit(&mut writer, 100, 1000));
    }
    assert!(
        log.0
            .view()
            .segments
            .back()
            .unwrap()
            .live
            .as_ref()
            .unwrap()
            .index
            .len()
            > 20
    );
    for n in (0..2000).step_by(97) {
        let record = &log.read(Offset(n + 1), 1).unwrap()[0];
        assert_eq!(plain(record), all[usize::try_from(n).unwrap()]);
        assert_eq!(log.offset_at(n * 10 + 1), Offset(n + 1));
    }
}

#[test]
fn sealed_segments_are_not_read_at_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, ..) = open(dir.path());
    (0..10).for_each(|_| drop(commit(&mut writer, 4, 1000)));
    writer.close().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
        {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[600] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let (_writer, log, recovery) = open(dir.path());
    assert_eq!(recovery.damage, []);
    let (mut findings, segments) = (0, log.0.view().segments.len());
    Log::verify(dir.path(), |_| findings += 1).unwrap();
    assert!(segments > 4);
    assert_eq!(findings, segments);
}

#[test]
fn read_only_beside_the_writer_follows_it_and_its_trimming() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(dir.path());
    let mut all = commit(&mut writer, 3, 10);
    let reader = Log::open_read_only(dir.path()).unwrap();
    assert_eq!((reader.epoch(), reader.identity()), (log.epoch(), "acme"));
    assert_eq!(read_all(&reader, Offset(1), 1000), all);
    for round in 0..20 {
        all.extend(commit(&mut writer, 3, 700));
        reader.refresh().unwrap();
        assert_eq!(
            (reader.last(), reader.next()),
            (log.last(), log.next()),
            "round {round}"
        );
    }
    assert_eq!(read_all(&reader, Offset(1), 1000), all);
    let trimmed = log.trim_passed(log.last(), 4 * SEGMENT).unwrap();
    assert!(trimmed.segments >= 4);
    // Files that it has not open are gone: it finds that out by itself.
    let fresh = read_all(&reader, Offset(trimmed.first.0), 1000);
    assert_eq!(fresh, all[usize::try_from(trimmed.first.0).unwrap() - 1..]);
    assert!(reader.trim(&TrimPolicy::default()).is_err());
    reader.refresh().unwrap();
    assert_eq!(reader.first(), trimmed.first);
}

#[test]
fn a_read_only_log_whose_files_are_trimmed_behind_its_back_says_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(dir.path());
    (0..20).for_each(|_| drop(commit(&mut writer, 3, 1000)));
    let reader = Log::open_read_only(dir.path()).unwrap();
    let first = log.trim_passed(log.last(), 4 * SEGMENT).unwrap().first;
    assert!(
        matches!(reader.read(Offset(1), 10), Err(ReadError::Trimmed { first: f }) if f == first)
    );
}

fn follow(log: &Log, mut from: Offset, done: &AtomicBool) {
    while !done.load(Ordering::Acquire) || from < log.next() {
        match log.read(from, 5000) {
            Ok(records) => {
                let right = |r: &Record| r.head() == format!("head {}", r.offset()).as_bytes();
                assert!(records.iter().all(right));
                from = records.last().map_or(from, |last| last.offset().next());
            }
            Err(ReadError::Trimmed { first }) => from = first,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn readers_beside_trimming_see_right_records_or_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(dir.path());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for start in 0..3 {
            let (log, done) = (log.clone(), &done);
            scope.spawn(move || follow(&log, Offset(start), done));
        }
        for _ in 0..400 {
            commit(&mut writer, 5, 600);
            let policy = TrimPolicy {
                max_bytes: Some(5 * SEGMENT),
                ..TrimPolicy::default()
            };
            log.trim(&policy).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert!(log.first() > Offset(1));
}

#[test]
fn everything_trimmed_leaves_the_numbering_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(dir.path());
    commit(&mut writer, 9, 1000);
    writer.close().unwrap();
    let trimmed = log.trim_passed(Offset(9), u64::MAX).unwrap();
    assert_eq!(
        (trimmed.first, log.bytes(), log.last()),
        (Offset(10), 0, Offset(9))
    );
    let (mut writer, log, _) = open(dir.path());
    assert_eq!(
        (log.first(), log.next(), log.last()),
        (Offset(10), Offset(10), Offset(9))
    );
    let mut group = writer.begin();
    group.push(1, 7, b"", b"a clock that was set back");
    let more = writer.commit(group).unwrap().records;
    assert_eq!((more[0].offset(), more[0].time_ms()), (Offset(10), 90));
    assert!(matches!(
        log.read(Offset(3), 1),
        Err(ReadError::Trimmed { first: Offset(10) })
    ));
}

#[test]
fn age_closes_a_segment_although_nothing_more_comes() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_age: std::time::Duration::ZERO,
        ..options()
    };
    let (mut writer, log, _) = Log::open(dir.path(), options).unwrap();
    assert!(!writer.roll_if_old().unwrap());
    commit(&mut writer, 2, 0);
    let policy = TrimPolicy {
        passed: Offset(2),
        older_than_ms: Some(u64::MAX),
        max_bytes: Some(0),
    };
    assert_eq!(log.trim(&policy).unwrap().segments, 0);
    assert!(writer.roll_if_old().unwrap());
    assert_eq!(log.trim(&policy).unwrap().first, Offset(3));
    assert_eq!(commit(&mut writer, 1, 0)[0].0, Offset(3));
}
