//! A volume that is really full. Needs the right to mount a small tmpfs; without it there is nothing
//! to test here, and the injected faults of `errors` stand alone.

use std::ffi::CString;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;
use crate::{CommitError, free_bytes};

struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = CString::new(format!("size={size}")).unwrap();
        mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            MountFlags::empty(),
            size.as_c_str(),
        )
        .ok()?;
        Some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.0.path(), UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_full_volume_gives_the_group_back_and_reserve_and_trimming_make_room() {
    let Some(mounted) = Mounted::new("16m") else {
        eprintln!("skipped: no right to mount a tmpfs");
        return;
    };
    let dir = mounted.0.path().join("journal");
    let options = LogOptions {
        segment_bytes: 1 << 20,
        reserve_bytes: 64 << 20,
        ..options()
    };
    let (mut writer, log, _) = Log::open(&dir, options.clone()).unwrap();
    let reserve = writer.reserve_left();
    assert!(
        (1 << 20..=16 << 20).contains(&reserve),
        "a tenth of the volume: {reserve}"
    );
    let mut all = Vec::new();
    let full = loop {
        let group = group(&mut writer, 16, 8000);
        match writer.commit(group) {
            Ok(committed) => all.extend(committed.records.iter().map(plain)),
            Err(CommitError::Full(group, _)) => break group,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert!(all.len() > 1000);
    assert_eq!(
        (log.last(), log.next()),
        (all.last().unwrap().0, full.first)
    );
    assert!(!writer.refill_reserve().unwrap() || writer.reserve_left() == reserve);

    assert!(writer.use_reserve().unwrap() > 0);
    let committed = writer.commit(full).unwrap();
    all.extend(committed.records.iter().map(plain));
    assert!(!writer.refill_reserve().unwrap());
    while writer.use_reserve().unwrap() > 0 {}
    let full = loop {
        let group = group(&mut writer, 16, 8000);
        match writer.commit(group) {
            Ok(committed) => all.extend(committed.records.iter().map(plain)),
            Err(error) => break error.into_parts().0,
        }
    };
    // A restart on a full volume works, and so does reading.
    drop((full, writer));
    let (mut writer, log, recovery) = Log::open(&dir, options).unwrap();
    assert_eq!((recovery.torn, recovery.damage), (None, vec![]));
    assert_eq!(read_all(&log, Offset(1), 1 << 16), all);

    let free = free_bytes(&dir).unwrap().available;
    let trimmed = log.trim_passed(log.last(), 4 << 20).unwrap();
    assert!(trimmed.bytes >= 4 << 20);
    assert!(free_bytes(&dir).unwrap().available >= free + (4 << 20));
    assert!(writer.refill_reserve().unwrap());
    assert_eq!(commit(&mut writer, 1, 0)[0].0, all.last().unwrap().0.next());
}
