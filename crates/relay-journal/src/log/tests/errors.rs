//! Full volumes, failing disks, and those who may not open a log.

use super::faults::Op;
use super::*;
use crate::{CommitError, OpenError};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn faulty(dir: &Path) -> (Volume, Writer, Log) {
    let volume = Volume::default();
    let (writer, log, _) = open_on(&volume, dir);
    (volume, writer, log)
}

#[test]
fn two_writers_and_another_identity_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, ..) = open(dir.path());
    let pid = Some(std::process::id());
    let refused = Log::open(dir.path(), options());
    assert!(matches!(refused, Err(OpenError::Locked { pid: p }) if p == pid));
    commit(&mut writer, 1, 0);
    drop(writer);
    for _ in 0..2 {
        let other = LogOptions {
            identity: "other".to_owned(),
            ..options()
        };
        let Err(OpenError::Identity { found, expected }) = Log::open(dir.path(), other) else {
            panic!("opened");
        };
        assert_eq!((found.as_str(), expected.as_str()), ("acme", "other"));
        // The anchor alone tells it, and so does a segment alone.
        drop(std::fs::remove_file(dir.path().join("anchor")));
    }
    let (_, log, recovery) = open(dir.path());
    assert_eq!((recovery.damage.len(), log.next()), (1, Offset(2)));
}

#[test]
fn a_group_that_was_filled_ahead_waits_for_the_one_before_also_when_that_one_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (volume, mut writer, log) = faulty(dir.path());
    let first = group(&mut writer, 3, 300);
    let mut second = first.after();
    second.push(1, 0, b"head", b"ahead");
    let (second, error) = writer.commit(second).unwrap_err().into_parts();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    volume.faults.fail(Op::Sync, 2, EIO);
    let (first, _) = writer.commit(first).unwrap_err().into_parts();
    let (second, _) = writer.commit(second).unwrap_err().into_parts();
    assert_eq!(log.next(), Offset(1));
    writer.commit(first).unwrap();
    assert_eq!(writer.commit(second).unwrap().first, Offset(4));
    let all = read_all(&log, Offset(1), 9);
    drop(writer);
    let (_writer, log, recovery) = open(dir.path());
    assert_eq!((recovery.torn, recovery.damage), (None, vec![]));
    assert_eq!((all.len(), read_all(&log, Offset(1), 9)), (4, all));
}

#[test]
fn a_group_that_failed_comes_back_and_is_committed_once() {
    let errors = [
        (Op::Sync, EIO, None),
        (Op::Write, EIO, None),
        (Op::Write, EIO, Some(700)),
        (Op::Write, ENOSPC, Some(100)),
        (Op::Sync, ENOSPC, None),
    ];
    for (op, errno, part) in errors {
        for warm in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (volume, mut writer, log) = faulty(dir.path());
            let before = if warm {
                commit(&mut writer, 2, 100)
            } else {
                Vec::new()
            };
            let group = group(&mut writer, 3, 300);
            // Making the first segment takes two writes and two syncs of its own.
            let after = if warm { 0 } else { 2 };
            match part {
                Some(part) => volume.faults.cut_write(after, part, errno),
                None => volume.faults.fail(op, after, errno),
            }
            let error = writer.commit(group).unwrap_err();
            assert_eq!(volume.faults.fired(), 1);
            assert_eq!(matches!(error, CommitError::Full(..)), errno == ENOSPC);
            assert_eq!(log.next().0, 1 + before.len() as u64);
            assert_eq!(read_all(&log, Offset(1), 9), before);
            let (group, _) = error.into_parts();
            let committed = writer.commit(group).unwrap();
            let all: Vec<_> = before
                .iter()
                .cloned()
                .chain(committed.records.iter().map(plain))
                .collect();
            assert_eq!(read_all(&log, Offset(1), 9), all);
            drop(writer);
            let (_writer, log, recovery) = open(dir.path());
            assert_eq!(
                (recovery.damage, recovery.torn),
                (vec![], None),
                "{op:?} {warm}"
            );
            assert_eq!(read_all(&log, Offset(1), 9), all, "{op:?} {errno} {warm}");
            assert_eq!(log.next(), log.last().next());
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_step_never_loses_or_doubles_a_record() {
    for step in 0..60 {
        for (op, errno) in [
            (Op::Write, EIO),
            (Op::Sync, EIO),
            (Op::SyncDir, EIO),
            (Op::Truncate, EIO),
            (Op::Remove, EIO),
            (Op::Create, EIO),
            (Op::Allocate, ENOSPC),
            (Op::Write, ENOSPC),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (volume, mut writer, log) = faulty(dir.path());
            volume.faults.fail(op, step / 2, errno);
            let mut all = Vec::new();
            for _ in 0..8 {
                let mut pending = group(&mut writer, 2, 1200);
                loop {
                    match writer.commit(pending) {
                        Ok(done) => break all.extend(done.records.iter().map(plain)),
                        Err(error) => pending = error.into_parts().0,
                    }
                }
            }
            assert_eq!(read_all(&log, Offset(1), 4000), all, "{op:?} {step}");
            drop(writer);
            let (_writer, log, recovery) = open(dir.path());
            assert_eq!(recovery.damage, [], "{op:?} {step}");
            assert_eq!(read_all(&log, Offset(1), 4000), all, "{op:?} {step}");
        }
    }
}

#[test]
fn where_a_whole_segment_has_no_room_a_smaller_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..options()
    };
    let volume = Volume::default();
    let (mut writer, log, _) = recovery::open(volume.clone(), dir.path(), options).unwrap();
    (0..5).for_each(|_| volume.faults.fail(Op::Allocate, 0, ENOSPC));
    commit(&mut writer, 1, 100);
    assert_eq!((volume.faults.fired(), log.bytes()), (5, (1 << 20) >> 5));

    (0..99).for_each(|_| volume.faults.fail(Op::Allocate, 0, ENOSPC));
    let group = group(&mut writer, 40, 1000);
    let Err(CommitError::Full(group, _)) = writer.commit(group) else {
        panic!("committed")
    };
    assert_eq!((group.len(), log.last()), (40, Offset(1)));
    assert_eq!(read_all(&log, Offset(1), 9).len(), 1);
}

#[test]
fn a_stale_group_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, ..) = open(dir.path());
    let stale = group(&mut writer, 1, 0);
    commit(&mut writer, 1, 0);
    let error = writer.commit(stale).unwrap_err();
    assert_eq!(
        error.into_parts().1.kind(),
        std::io::ErrorKind::InvalidInput
    );
    let empty = writer.begin();
    assert!(writer.commit(empty).unwrap().records.is_empty());
}

#[test]
fn the_reserve_is_real_space_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mib = 1 << 20;
    let options = LogOptions {
        reserve_bytes: 8 * mib,
        ..options()
    };
    let (mut writer, ..) = Log::open(dir.path(), options.clone()).unwrap();
    let path = dir.path().join("reserve");
    let on_disk = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&path).unwrap().blocks() * 512
    };
    assert_eq!((writer.reserve_left(), on_disk()), (8 * mib, 8 * mib));
    for left in [6, 4, 2, 0] {
        assert_eq!(writer.use_reserve().unwrap(), 2 * mib);
        assert_eq!((writer.reserve_left(), on_disk()), (left * mib, left * mib));
    }
    assert_eq!(writer.use_reserve().unwrap(), 0);
    assert!(writer.refill_reserve().unwrap());
    assert_eq!(on_disk(), 8 * mib);
    drop(writer);
    let none = LogOptions {
        reserve_bytes: 0,
        ..options
    };
    let (writer, ..) = Log::open(dir.path(), none).unwrap();
    assert!(!path.exists() && writer.reserve_left() == 0);
}
