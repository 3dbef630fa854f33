//! Flipped bits, lost bytes and lost files: never a panic, never a wrong record, never silence.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::{Damage, OpenError, ReadError};

fn filled(dir: &Path, close: bool) -> Vec<Plain> {
    let (mut writer, ..) = open(dir);
    let all: Vec<_> = (0..12).flat_map(|_| commit(&mut writer, 3, 500)).collect();
    if close {
        writer.close().unwrap();
    }
    all
}

/// The anchor, then the segments, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "segment")
    });
    paths.sort();
    paths.insert(0, dir.join("anchor"));
    paths
}

/// Opens a damaged log, reads all of it, and goes on writing.
fn check(dir: &Path, all: &[Plain]) -> usize {
    let read_only = Log::open_read_only(dir).unwrap();
    for record in read_all(&read_only, Offset(1), 3000) {
        assert!(all.contains(&record));
    }
    Log::verify(dir, |_| ()).unwrap();
    let (mut writer, log, _) = open(dir);
    let read = read_all(&log, Offset(1), 3000);
    let mut rest = all.iter();
    assert!(
        read.iter()
            .all(|record| rest.any(|expected| expected == record))
    );
    assert!(
        log.next() > all.last().unwrap().0,
        "an offset would be used again"
    );
    let more = commit(&mut writer, 2, 100);
    let again = read_all(&log, Offset(1), 3000);
    assert_eq!(again, [&read[..], &more[..]].concat());
    for (time, offset) in [(0, log.first()), (u64::MAX, log.next())] {
        assert_eq!(log.offset_at(time), offset);
    }
    read.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_flipped_bit_costs_its_own_record_at_the_most(
        close: bool, file: Index, at: Index, bit in 0u8..8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let all = filled(dir.path(), close);
        let path = file.get(&files(dir.path())).clone();
        let mut bytes = fs::read(&path).unwrap();
        *at.get_mut(&mut bytes) ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        prop_assert!(check(dir.path(), &all) >= all.len() - 1);
    }

    #[test]
    fn bytes_lost_from_the_end_of_a_file_cost_what_stood_there(
        close: bool, file: Index, at: Index,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let all = filled(dir.path(), close);
        let path = file.get(&files(dir.path())).clone();
        let len = fs::metadata(&path).unwrap().len();
        let keep = at.index(usize::try_from(len).unwrap()) as u64;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(keep).unwrap();
        check(dir.path(), &all);
    }

    #[test]
    fn a_stretch_of_garbage_costs_what_stood_there(
        close: bool, file: Index, at: Index, len in 1usize..3000, fill: u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let all = filled(dir.path(), close);
        let path = file.get(&files(dir.path())).clone();
        let mut bytes = fs::read(&path).unwrap();
        let start = at.index(bytes.len());
        let end = bytes.len().min(start + len);
        bytes[start..end].fill(fill);
        fs::write(&path, bytes).unwrap();
        check(dir.path(), &all);
    }
}

#[test]
fn a_lost_file_is_told_and_its_offsets_are_not_used_again() {
    for (lost, close) in [
        (0, true),
        (1, true),
        (2, true),
        (2, false),
        (3, true),
        (3, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let all = filled(dir.path(), close);
        let paths = files(dir.path());
        fs::remove_file(&paths[lost]).unwrap();
        let mut findings = Vec::new();
        Log::verify(dir.path(), |finding| findings.push(finding.what)).unwrap();
        let middle = lost > 1 && lost + 1 < paths.len();
        let told = |damage: &Damage| matches!(damage, Damage::Missing { .. });
        assert_eq!(findings.iter().any(told), middle, "{findings:?}");
        check(dir.path(), &all);
    }
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), false);
    let newest = files(dir.path()).pop().unwrap();
    let first: u64 = newest
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    fs::remove_file(newest).unwrap();
    let (mut writer, log, _) = open(dir.path());
    assert_eq!(log.last(), Offset(first - 1));
    assert!(log.next() > all.last().unwrap().0);
    let next = commit(&mut writer, 1, 0)[0].0;
    assert!(matches!(log.read(Offset(first), 9), Err(ReadError::Damaged { next: n }) if n == next));
}

#[test]
fn damage_in_the_middle_of_the_last_segment_is_damage_and_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = open(dir.path());
    let all = commit(&mut writer, 1, 100);
    let at = log.0.view().segments.back().unwrap().end;
    let all = [all, commit(&mut writer, 3, 100)].concat();
    drop(writer);
    let path = files(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(at).unwrap() + 50] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (_writer, log, recovery) = open(dir.path());
    assert_eq!(recovery.torn, None);
    assert_eq!(recovery.damage.len(), 1);
    let finding = &recovery.damage[0];
    assert_eq!((finding.byte, finding.offset), (at, Offset(2)));
    assert!(matches!(
        finding.what,
        Damage::Records {
            next: Offset(3),
            bytes: 100..
        }
    ));
    assert!(matches!(
        log.read(Offset(2), 9),
        Err(ReadError::Damaged { next: Offset(3) })
    ));
    assert_eq!(
        read_all(&log, Offset(1), 9),
        [&all[..1], &all[2..]].concat()
    );
}

#[test]
fn a_newer_format_and_another_log_are_refused_or_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), true);
    let other = tempfile::tempdir().unwrap();
    filled(other.path(), true);
    let foreign = files(other.path())[1].clone();
    let into = dir.path().join("00000000000000001000.segment");
    fs::copy(foreign, &into).unwrap();
    let (writer, log, recovery) = open(dir.path());
    assert!(matches!(
        recovery.damage[..],
        [crate::Finding {
            what: Damage::Foreign { .. },
            ..
        }]
    ));
    assert_eq!(read_all(&log, Offset(1), 3000), all);
    assert!(into.with_extension("foreign").exists());
    drop(writer);

    let path = files(dir.path())[1].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..512]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = Log::open(dir.path(), options());
    assert!(matches!(
        refused,
        Err(OpenError::NewerFormat { found: 9, known: 1 })
    ));
}
