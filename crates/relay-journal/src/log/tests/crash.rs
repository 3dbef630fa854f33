//! `kill -9` and power loss, at every step and at every byte.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::{ReadError, TrimPolicy};

/// Commits, rolls and trims until the process dies, and returns what was acknowledged.
fn live_until_death(volume: &Volume, dir: &Path) -> Vec<Plain> {
    let mut acknowledged = Vec::new();
    let Ok((mut writer, log, _)) = recovery::open(volume.clone(), dir, options()) else {
        return acknowledged;
    };
    for round in 0..8 {
        let group = group(&mut writer, 1 + round % 3, 1500);
        match writer.commit(group) {
            Ok(committed) => acknowledged.extend(committed.records.iter().map(plain)),
            Err(_) => return acknowledged,
        }
        if round == 6 {
            let policy = TrimPolicy {
                max_bytes: Some(2 * SEGMENT),
                ..TrimPolicy::default()
            };
            drop(log.trim(&policy));
        }
    }
    drop(writer.close());
    acknowledged
}

/// What is read after the restart holds all that was acknowledged and kept, in order, and goes on above.
fn check_restart(dir: &Path, acknowledged: &[Plain], context: &str) {
    let (mut writer, log, recovery) = open(dir);
    assert_eq!(recovery.damage, [], "{context}");
    let read = read_all(&log, Offset(1), 4000);
    let first = log.first();
    let expected: Vec<_> = acknowledged
        .iter()
        .filter(|record| record.0 >= first)
        .collect();
    assert!(
        read.len() >= expected.len(),
        "{context}: {} of {}",
        read.len(),
        expected.len()
    );
    assert!(
        read.iter()
            .zip(&expected)
            .all(|(read, expected)| read == *expected),
        "{context}"
    );
    let used = read
        .last()
        .or(acknowledged.last())
        .map_or(Offset(0), |last| last.0);
    let more = commit(&mut writer, 2, 10);
    assert!(more[0].0 > used, "{context}");
    assert_eq!(read_all(&log, used.next(), 4000), more, "{context}");
    drop(writer);
    let (_writer, log, recovery) = open(dir);
    assert_eq!(
        (recovery.damage, recovery.torn),
        (vec![], None),
        "{context}"
    );
    assert_eq!(read_all(&log, used.next(), 4000), more, "{context}");
}

#[test]
fn what_was_acknowledged_survives_death_at_every_step() {
    let whole = Volume::default();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(live_until_death(&whole, dir.path()).len(), 15);
    let steps = whole.faults.seen();
    assert!(steps > 40, "{steps}");
    for step in 0..steps {
        for part in [0, 7, 40, 513, 1600] {
            let (dir, volume) = (tempfile::tempdir().unwrap(), Volume::default());
            volume.faults.die(step, part);
            let acknowledged = live_until_death(&volume, dir.path());
            assert_eq!(volume.faults.fired(), 1);
            check_restart(
                dir.path(),
                &acknowledged,
                &format!("step {step}, {part} bytes written"),
            );
        }
    }
}

#[test]
fn death_at_every_step_of_a_recovery_does_no_harm() {
    let torn = tempfile::tempdir().unwrap();
    let volume = Volume::default();
    volume.faults.cut_write(6, 60, 5);
    volume.faults.die(19, 0);
    let acknowledged = live_until_death(&volume, torn.path());
    assert!(!acknowledged.is_empty());
    for step in 0.. {
        let (dir, volume) = (tempfile::tempdir().unwrap(), Volume::default());
        copy(torn.path(), dir.path());
        volume.faults.die(step, 20);
        drop(recovery::open(volume.clone(), dir.path(), options()));
        if volume.faults.fired() == 0 {
            assert!(step > 4);
            break;
        }
        check_restart(dir.path(), &acknowledged, &format!("step {step}"));
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn newest(dir: &Path) -> PathBuf {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "segment"))
        .max()
        .unwrap()
}

#[test]
fn a_last_write_cut_at_any_byte_leaves_a_prefix_and_all_before_it() {
    let origin = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(origin.path());
    let acknowledged = commit(&mut writer, 3, 20);
    let start = log.0.view().segments.back().unwrap().end;
    let last = commit(&mut writer, 3, 20);
    let end = log.0.view().segments.back().unwrap().end;
    for cut in start..end {
        for way in ["zeros", "garbage", "truncated"] {
            let dir = tempfile::tempdir().unwrap();
            copy(origin.path(), dir.path());
            let file = OpenOptions::new()
                .write(true)
                .open(newest(dir.path()))
                .unwrap();
            if way == "truncated" {
                file.set_len(cut).unwrap();
            } else {
                let byte = if way == "zeros" { 0 } else { 0xee };
                let rest = vec![byte; usize::try_from(end - cut).unwrap()];
                file.write_all_at(&rest, cut).unwrap();
            }
            check_torn(
                dir.path(),
                &acknowledged,
                &last,
                &format!("{way} from {cut}"),
            );
        }
    }
}

fn check_torn(dir: &Path, acknowledged: &[Plain], last: &[Plain], context: &str) {
    let (mut writer, log, recovery) = open(dir);
    assert_eq!(recovery.damage, [], "{context}");
    let read = read_all(&log, Offset(1), 1 << 20);
    let (before, prefix) = read.split_at(acknowledged.len());
    assert_eq!(before, acknowledged, "{context}");
    assert_eq!(prefix, &last[..prefix.len()], "{context}");
    let next = log.last().next();
    assert_eq!(log.read(next, 100).unwrap(), [], "{context}");
    let more = commit(&mut writer, 1, 0);
    assert!(more[0].0 >= next, "{context}");
    // The jump over what was cut is no damage to a reader.
    assert!(
        !matches!(log.read(next, 100), Err(ReadError::Damaged { .. })),
        "{context}"
    );
    assert_eq!(read_all(&log, next, 100), more, "{context}");
}
