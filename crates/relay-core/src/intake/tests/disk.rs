//! A full disk: a small tmpfs, where one can be mounted; else these tests say that they did not run.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use relay_journal::Table;
use tempfile::TempDir;

use super::rig::{config, now_ms};
use super::{Doc, Rig};
use crate::admit::Gate;
use crate::dead_letters::{DeadLetter, Origin};
use crate::intake::{Core, CoreConfig};
use crate::notice::NoticeKind;
use crate::{Cursor, Kind, Metrics, Offset};

/// A mounted volume of a size, unmounted at the end.
struct Volume(Arc<TempDir>);

impl Volume {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            println!("not run: no tmpfs can be mounted here");
        }
        mounted.then_some(Self(dir))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status()
            .ok();
    }
}

fn rig(volume: &Volume) -> Rig {
    rig_with(volume, 1 << 20)
}

fn rig_with(volume: &Volume, reserve: u64) -> Rig {
    let mut config = config(&volume.0.path().join("relay"), &["a"]);
    config.journal.retention_bytes = 64 << 20;
    config.journal.reserve = reserve;
    let core = Core::open(config.clone()).unwrap();
    Rig {
        dir: Arc::clone(&volume.0),
        config,
        core,
    }
}

async fn gate(rig: &Rig, wanted: Gate) {
    let mut gate = rig.core.intake.gate();
    let reached = gate.wait_for(|gate| *gate == wanted);
    tokio::time::timeout(Duration::from_mins(1), reached)
        .await
        .expect("the gate moves")
        .unwrap();
}

/// Admits large documents until the gate closes; says how many.
async fn fill(rig: &Rig) -> u64 {
    let gate = rig.core.intake.gate();
    for n in 1..2000 {
        let body = format!("{n} {}", "x".repeat(64 << 10));
        rig.admit("a", &[Doc::event(n).body(&body)]).await;
        rig.core.intake.flush().await;
        if *gate.borrow() == Gate::Full {
            return n;
        }
    }
    panic!("the disk never was full");
}

#[tokio::test]
async fn what_no_sink_has_passed_is_kept_and_room_is_made_by_passing() {
    let Some(volume) = Volume::mount(24 << 20) else {
        return;
    };
    let rig = rig(&volume);
    rig.core.store.set_cursor(
        "lake",
        Cursor {
            epoch: rig.core.bus.epoch(),
            offset: Offset(0),
        },
    );
    rig.core.store.register_sink("lake");
    let filled = fill(&rig).await;
    assert!(!rig.core.intake.writable());
    assert_eq!(rig.config.metrics.journal_writable.get(), 0);
    // What was under way is still committed, into the reserve.
    rig.admit("a", &[Doc::event(filled + 1)]).await;
    let ids = rig.ids().await;
    assert_eq!(ids.len() as u64, filled + 1, "nothing is missing");
    rig.notice(NoticeKind::DiskFull).await;
    // The sink passes everything: segments can go, and the relay comes back by itself.
    let passed = Cursor {
        epoch: rig.core.bus.epoch(),
        offset: rig.core.bus.last(),
    };
    rig.core.store.set_cursor("lake", passed);
    gate(&rig, Gate::Open).await;
    assert!(rig.core.intake.writable());
    assert!(rig.core.bus.first() > Offset(1));
    rig.notice_after(passed.offset, NoticeKind::DiskRecovered)
        .await;
    let last = rig.core.bus.last();
    rig.admit("a", &[Doc::event(filled + 2)]).await;
    rig.core.intake.flush().await;
    assert!(rig.core.bus.last() > last);
    rig.core.close().await.unwrap();
}

#[tokio::test]
async fn when_others_fill_the_disk_nothing_is_lost_and_all_is_committed_once_there_is_room() {
    let Some(volume) = Volume::mount(24 << 20) else {
        return;
    };
    let rig = rig(&volume);
    rig.admit("a", &[Doc::event(0)]).await;
    rig.core.intake.flush().await;
    rig.core.store.register_sink("lake");
    let other = volume.0.path().join("filler");
    hog(&other);
    let filled = fill(&rig).await;
    // Admitted beyond what the reserve takes: it waits, and so would the sockets.
    let docs: Vec<_> = (filled + 1..filled + 40)
        .map(|n| Doc::event(n).body(&format!("{n} {}", "x".repeat(48 << 10))))
        .collect();
    rig.admit("a", &docs).await;
    fs::remove_file(&other).unwrap();
    gate(&rig, Gate::Open).await;
    let read = rig.read().await;
    let events = read
        .iter()
        .filter(|(kind, ..)| *kind == Kind::Event)
        .count();
    assert_eq!(events as u64, filled + 40);
    rig.notice(NoticeKind::DiskRecovered).await;
    // And they are all there after a restart.
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.admit("a", &docs).await;
    assert_eq!(
        rig.ids().await.len() as u64,
        filled + 40,
        "the replay is known"
    );
}

#[tokio::test]
async fn sinks_that_pass_make_room_also_when_the_reserve_is_used_up() {
    let Some(volume) = Volume::mount(24 << 20) else {
        return;
    };
    let rig = rig(&volume);
    let cursor = |offset| Cursor {
        epoch: rig.core.bus.epoch(),
        offset,
    };
    rig.core.store.set_cursor("lake", cursor(Offset(0)));
    rig.core.store.register_sink("lake");
    let filled = fill(&rig).await;
    let docs: Vec<_> = (filled + 1..filled + 40)
        .map(|n| Doc::event(n).body(&format!("{n} {}", "x".repeat(48 << 10))))
        .collect();
    rig.admit("a", &docs).await;
    rig.core
        .store
        .set_cursor("lake", cursor(rig.core.bus.last()));
    let committed = rig.core.intake.flush();
    tokio::time::timeout(Duration::from_mins(1), committed)
        .await
        .expect("what waits is committed");
    gate(&rig, Gate::Open).await;
    rig.core.close().await.unwrap();
}

#[tokio::test]
async fn room_is_made_until_a_large_reserve_can_be_taken_again() {
    const RESERVE: u64 = 24 << 20;
    let Some(volume) = Volume::mount(256 << 20) else {
        return;
    };
    let rig = rig_with(&volume, RESERVE);
    let cursor = |offset| Cursor {
        epoch: rig.core.bus.epoch(),
        offset,
    };
    rig.core.store.set_cursor("lake", cursor(Offset(0)));
    rig.core.store.register_sink("lake");
    let docs: Vec<_> = (0..320)
        .map(|n| Doc::event(n).body(&format!("{n} {}", "x".repeat(64 << 10))))
        .collect();
    rig.admit("a", &docs).await;
    rig.core.intake.flush().await;
    let other = volume.0.path().join("filler");
    hog(&other);
    gate(&rig, Gate::Full).await;
    // What is free lies between what counts as room by its size alone and what the reserve asks for.
    let reserve = fs::metadata(rig.config.dir.join("reserve")).unwrap().len();
    let wanted = RESERVE - reserve + (10 << 20);
    let available = relay_journal::free_bytes(volume.0.path())
        .unwrap()
        .available;
    let other = fs::OpenOptions::new().write(true).open(other).unwrap();
    let len = other.metadata().unwrap().len();
    other.set_len(len - (wanted - available)).unwrap();
    rig.core
        .store
        .set_cursor("lake", cursor(rig.core.bus.last()));
    gate(&rig, Gate::Open).await;
    assert!(rig.core.bus.first() > Offset(1));
    rig.core.close().await.unwrap();
}

#[tokio::test]
async fn the_state_is_written_again_once_there_is_room() {
    let Some(volume) = Volume::mount(24 << 20) else {
        return;
    };
    let rig = rig(&volume);
    let store = &rig.core.store;
    let passed = |offset| Cursor {
        epoch: rig.core.bus.epoch(),
        offset: Offset(offset),
    };
    store.set_cursor("lake", passed(1));
    store.flush().await.unwrap();
    let other = volume.0.path().join("filler");
    hog(&other);
    store.set(Table::Facts, "large", vec![1; 6 << 20]);
    store.set_cursor("lake", passed(2));
    store.flush().await.expect_err("there is no room");
    fs::remove_file(&other).unwrap();
    let written = async { while store.flush().await.is_err() {} };
    tokio::time::timeout(Duration::from_mins(1), written)
        .await
        .expect("there is room again");
    let (two, rig) = (passed(2), rig.reopen(|_| {}).await.unwrap());
    assert_eq!(rig.core.store.cursor("lake"), Some(two));
    assert!(rig.core.store.get(Table::Facts, "large").is_some());
}

#[tokio::test]
async fn on_a_full_disk_dead_letters_are_kept_in_the_reserve() {
    let Some(volume) = Volume::mount(48 << 20) else {
        return;
    };
    let rig = rig_with(&volume, 4 << 20);
    hog(&volume.0.path().join("filler"));
    let letter = DeadLetter {
        id: 0,
        at: jiff::Timestamp::now(),
        origin: Origin::Sink,
        sink: Some("lake".to_owned()),
        subscription: None,
        event_id: None,
        cursor: None,
        reason: "refused".to_owned(),
        bytes: vec![0; 100 << 10].into(),
        size: 100 << 10,
        truncated: false,
    };
    let letters = &rig.core.dead_letters;
    letters
        .put(vec![letter.clone()])
        .await
        .expect_err("there is no room");
    // Heartbeats are not journaled: nothing asks the journal for room.
    let full = rig.core.intake.gate();
    let kept = async {
        while *full.borrow() != Gate::Full {
            rig.admit("a", &[Doc::heartbeat(1)]).await;
            rig.core.intake.flush().await;
        }
        while letters.put(vec![letter.clone()]).await.is_err() {}
    };
    tokio::time::timeout(Duration::from_mins(1), kept)
        .await
        .expect("the reserve is there for it");
    assert_eq!(letters.count("lake"), 1);
}

#[tokio::test]
async fn what_could_not_be_committed_at_the_end_is_not_called_recovered() {
    let Some(volume) = Volume::mount(24 << 20) else {
        return;
    };
    let rig = rig(&volume);
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(0)]).await;
    let rig = rig.reopen(|_| {}).await.unwrap();
    rig.core.store.register_sink("lake");
    rig.connect("a", now_ms()).await;
    let other = volume.0.path().join("filler");
    hog(&other);
    let filled = fill(&rig).await;
    let docs: Vec<_> = (filled + 1..filled + 40)
        .map(|n| Doc::event(n).body(&format!("{n} {}", "x".repeat(48 << 10))))
        .collect();
    rig.admit("a", &docs).await;
    // Room for the state, not for the journal.
    fs::OpenOptions::new()
        .write(true)
        .open(&other)
        .and_then(|file| file.set_len(fs::metadata(&other)?.len() - (512 << 10)))
        .unwrap();
    let Rig { dir, config, core } = rig;
    core.close().await.unwrap_err();
    fs::remove_file(&other).unwrap();
    let core = Core::open(config.clone()).unwrap();
    let rig = Rig { dir, config, core };
    rig.connect("a", now_ms()).await;
    rig.admit("a", &[Doc::event(filled + 40)]).await;
    let notice = rig.notice(NoticeKind::SequenceUnverified).await;
    assert!(notice.missing.is_some_and(|missing| missing > 0));
    assert!(rig.notices(&[NoticeKind::Recovered]).await.is_empty());
}

#[tokio::test]
async fn on_a_full_disk_the_relay_starts_in_its_reserve_with_the_upstream_kept_away() {
    let Some(volume) = Volume::mount(64 << 20) else {
        return;
    };
    let rig = rig_with(&volume, 6 << 20);
    rig.admit("a", &[Doc::event(0)]).await;
    rig.core.intake.flush().await;
    rig.core.store.register_sink("lake");
    let Rig { dir, config, core } = rig;
    core.close().await.unwrap();
    let other = volume.0.path().join("filler");
    hog(&other);
    let metrics = Arc::new(Metrics::new().unwrap());
    let config = CoreConfig { metrics, ..config };
    let core = Core::open(config.clone()).unwrap();
    let rig = Rig { dir, config, core };
    let first = *rig.core.intake.gate().borrow();
    assert_eq!(first, Gate::Full, "from the first moment");
    assert!(rig.core.intake.is_alive() && !rig.core.intake.writable());
    rig.notice(NoticeKind::DiskFull).await;
    // What was under way is still taken.
    rig.admit("a", &[Doc::event(0), Doc::event(1)]).await;
    assert_eq!(rig.ids().await.len(), 2);
    fs::remove_file(&other).unwrap();
    gate(&rig, Gate::Open).await;
    rig.notice(NoticeKind::DiskRecovered).await;
    rig.core.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_without_a_reserve_is_said_at_the_start_and_leaves_nothing_in_the_way() {
    let Some(volume) = Volume::mount(24 << 20) else {
        return;
    };
    let other = volume.0.path().join("filler");
    hog(&other);
    let config = config(&volume.0.path().join("relay"), &["a"]);
    let error = Core::open(config.clone()).unwrap_err();
    let mut causes =
        std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |e| {
            e.source()
        });
    let full = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
    };
    assert!(causes.any(full), "{error:?}");
    fs::remove_file(&other).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let core = Core::open(CoreConfig { metrics, ..config });
    core.unwrap().close().await.unwrap();
}

/// Takes all of a volume's room.
fn hog(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for chunk in [64 << 10, 4 << 10] {
        while file.write_all(&vec![0; chunk]).is_ok() {}
    }
}
