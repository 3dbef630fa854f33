//! A journal that can't be written for another reason than a full disk: its folder is moved away, so
//! that the next segment can't be made.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::rig::now_ms;
use super::{Doc, Rig};
use crate::admit::Gate;
use crate::intake::{CloseError, Core};
use crate::notice::NoticeKind;
use crate::{Kind, Offset};

/// Beyond what a segment holds with `retention_bytes` of 8 MiB.
const SEGMENT: usize = 1 << 20;

/// A rig whose journal lies in a folder that can be moved.
struct Moved {
    rig: Rig,
    dir: PathBuf,
    away: PathBuf,
}

impl Moved {
    async fn new() -> Self {
        let rig = Rig::with(&["a"], |config| {
            config.dir = config.dir.join("journal");
            config.journal.retention_bytes = 8 * SEGMENT as u64;
        });
        rig.connect("a", now_ms()).await;
        rig.admit("a", &large(1..=2)).await;
        rig.core.intake.flush().await;
        let (dir, away) = (rig.config.dir.clone(), rig.dir.path().join("away"));
        fs::rename(&dir, &away).unwrap();
        Self { rig, dir, away }
    }

    fn back(&self) {
        fs::rename(&self.away, &self.dir).unwrap();
    }

    async fn gate(&self, wanted: Gate) {
        let mut gate = self.rig.core.intake.gate();
        let reached = gate.wait_for(|gate| *gate == wanted);
        let reached = tokio::time::timeout(Duration::from_mins(1), reached).await;
        reached.expect("the gate moves").unwrap();
    }
}

/// Events of which one segment holds no four.
fn large(numbers: std::ops::RangeInclusive<u64>) -> Vec<Doc> {
    let body = "x".repeat(SEGMENT * 2 / 7);
    numbers
        .map(|n| Doc::event(n).body(&format!("{n} {body}")))
        .collect()
}

#[tokio::test]
async fn what_could_not_be_written_is_written_once_it_can_and_nothing_twice() {
    let moved = Moved::new().await;
    let rig = &moved.rig;
    let (bus, intake) = (&rig.core.bus, &rig.core.intake);
    // A replay of what is not yet durable comes right behind it.
    rig.admit("a", &large(3..=5)).await;
    rig.admit("a", &large(3..=5)).await;
    moved.gate(Gate::Full).await;
    assert!(intake.is_alive() && !intake.writable());
    assert_eq!(rig.config.metrics.journal_writable.get(), 0);
    assert_eq!(
        intake.progress().busy_for,
        Duration::ZERO,
        "it waits by design"
    );
    let seen = bus.last();
    assert!(seen < Offset(5), "nothing is visible that is not durable");
    moved.back();
    moved.gate(Gate::Open).await;
    assert!(intake.writable());
    rig.notice(NoticeKind::JournalFailed).await;
    rig.notice(NoticeKind::DiskRecovered).await;
    assert_eq!(rig.ids().await.len(), 5);
    let rig = moved.rig.reopen(|_| {}).await.unwrap();
    rig.admit("a", &large(1..=6)).await;
    assert_eq!(rig.ids().await.len(), 6, "what was committed is known");
}

#[tokio::test]
async fn what_could_not_be_written_at_the_end_is_said_and_is_no_duplicate_later() {
    let moved = Moved::new().await;
    moved.rig.admit("a", &large(3..=6)).await;
    moved.gate(Gate::Full).await;
    let committed = moved.rig.core.bus.last().0;
    let Moved {
        rig: Rig { dir, config, core },
        ..
    } = moved;
    let error = core.close().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("documents could not be committed"),
        "{error}"
    );
    let CloseError::Uncommitted { documents, .. } = error else {
        panic!("{error}")
    };
    fs::rename(&moved.away, &moved.dir).unwrap();
    let core = Core::open(config.clone()).unwrap();
    let rig = Rig { dir, config, core };
    assert_eq!(rig.core.bus.last().0, committed);
    assert_eq!(
        rig.ids().await.len() + documents,
        6,
        "all that was lost is said"
    );
    // The upstream sends again what it was never told of.
    rig.admit("a", &large(1..=6)).await;
    let read = rig.read().await;
    let events = read.iter().filter(|(kind, ..)| *kind == Kind::Event);
    assert_eq!(events.count(), 6);
}
