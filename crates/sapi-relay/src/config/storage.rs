//! Owns the sections about what is kept: `[dedup]`, `[journal]`, `[bus]`, `[dead_letters]`.

use std::path::PathBuf;
use std::time::Duration;

use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::{Across, DedupConfig, JournalConfig};

use super::section::Section;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_hours(1);

/// `[journal]`: where, and how.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(crate) dir: PathBuf,
    pub(crate) keep: JournalConfig,
}

pub(super) fn dedup(section: &Section<'_>) -> DedupConfig {
    let words = [("msg_info", Across::MsgInfo), ("content", Across::Content)];
    let dedup = DedupConfig {
        horizon: section.duration("horizon", HOUR * 5 / 2),
        memory: bytes(section.size("memory", 256 * MIB, MIB)),
        across: section.choice("across_subscriptions", &words, Across::MsgInfo),
    };
    section.finish(|_| None);
    dedup
}

pub(super) fn journal(section: &Section<'_>) -> Journal {
    const LONGEST: Duration = Duration::from_secs(1);
    let dir = section.path("dir");
    let keep = JournalConfig {
        retention_age: section.duration("retention_age", HOUR * 72),
        retention_bytes: section.size("retention_bytes", 10 * GIB, 16 * MIB),
        commit_window: section.duration("commit_window", Duration::from_millis(2)),
        reserve: section.size("reserve", 64 * MIB, 0),
    };
    if keep.commit_window > LONGEST {
        let why = "an event that waits to be committed is lost if the power fails: at most \"1s\"";
        section.wrong("commit_window", "is too long", why);
    }
    if keep.reserve >= keep.retention_bytes {
        let remedy = "it has to be smaller than journal.retention_bytes";
        section.wrong("reserve", "is too large", remedy);
    }
    section.finish(|_| None);
    Journal {
        dir: dir.unwrap_or_else(|| PathBuf::from("/var/lib/sapi-relay")),
        keep,
    }
}

pub(super) fn bus(section: &Section<'_>) -> usize {
    let memory = bytes(section.size("memory", 64 * MIB, MIB));
    section.finish(|_| None);
    memory
}

pub(super) fn dead_letters(section: &Section<'_>) -> DeadLetterConfig {
    let dead_letters = DeadLetterConfig {
        retention_age: section.duration("retention_age", HOUR * 24 * 30),
        retention_bytes: section.size("retention_bytes", GIB, MIB),
    };
    section.finish(|_| None);
    dead_letters
}

/// A size that memory has to hold.
pub(super) fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
