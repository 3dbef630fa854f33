//! A full disk: a small tmpfs, where one can be mounted; else these tests say that they did not run.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::rig::config;
use super::{Doc, Rig};
use crate::admit::Gate;
use crate::intake::Core;
use crate::notice::NoticeKind;
use crate::{Cursor, Kind, Offset};

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
    let mut config = config(&volume.0.path().join("relay"), &["a"]);
    config.journal.retention_bytes = 64 << 20;
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

/// Takes all of a volume's room.
fn hog(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for chunk in [64 << 10, 4 << 10] {
        while file.write_all(&vec![0; chunk]).is_ok() {}
    }
}
