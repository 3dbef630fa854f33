//! What the journal gives up: by age what every sink has passed, by bytes regardless. It goes by a
//! clock that no jump of the wall clock moves.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use relay_journal::{Table, TrimPolicy};

use super::JournalConfig;
use super::clock::{Clock, Jump, millis};
use super::keeper::Keeper;
use crate::notice::{NoticeDraft, NoticeKind};
use crate::storm::Storm;

/// How often retention looks.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// How often the retention clock is saved: an idle relay writes next to nothing.
const SAVED: Duration = Duration::from_mins(10);
/// How often what is beside the journal is aged: dead letters, the list of gaps.
const AGED: Duration = Duration::from_hours(1);
/// The fact under which the retention clock is saved.
const CLOCK: &str = "retention_clock";

#[derive(Debug)]
pub(super) struct Retention {
    age_ms: u64,
    bytes: u64,
    clock: Clock,
    due: Instant,
    saved: Option<Instant>,
    aged: Instant,
    unclosed: Storm,
    untrimmed: Storm,
}

impl Retention {
    pub(super) fn new(config: JournalConfig, newest_ms: Option<u64>, keeper: &Keeper) -> Self {
        let JournalConfig {
            retention_age: age,
            retention_bytes: bytes,
            ..
        } = config;
        let saved = keeper.store.get(Table::Facts, CLOCK).and_then(|bytes| {
            // Earlier versions wrote the first two.
            let (&[retention, wall], rest) = bytes.as_chunks().0.split_first_chunk()?;
            let steady = rest.first().copied().unwrap_or_default();
            Some([retention, wall, steady].map(u64::from_le_bytes))
        });
        let now = Instant::now();
        let clock = Clock::new(saved, newest_ms, millis(age), wall_ms(), now);
        Self {
            age_ms: millis(age),
            bytes,
            clock,
            due: now + EVERY,
            saved: None,
            aged: now,
            unclosed: Storm::default(),
            untrimmed: Storm::default(),
        }
    }

    /// The time that retention goes by.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.retention_ms()
    }

    /// When it looks again.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Looks at the clocks and trims.
    pub(super) fn look(&mut self, keeper: &mut Keeper, now: Instant) {
        self.due = now + EVERY;
        let wall_ms = wall_ms();
        if let Some(jump) = self.clock.look(wall_ms, keeper.log.last_time_ms(), now) {
            notice(jump, keeper);
        }
        if self
            .saved
            .is_none_or(|saved| now.saturating_duration_since(saved) >= SAVED)
        {
            self.saved = Some(now);
            let clock = self.clock.saved().map(u64::to_le_bytes).concat();
            keeper.store.set(Table::Facts, CLOCK, clock);
        }
        if now.saturating_duration_since(self.aged) >= AGED {
            self.aged = now;
            keeper.ages = Some(self.now_ms());
        }
        keeper.store.expect_no_more();
        if let Err(error) = keeper.writer.roll_if_old()
            && let Some(times) = self.unclosed.strike()
        {
            tracing::warn!(%error, times, "the journal's segment could not be closed");
        }
        self.trim(keeper);
    }

    /// Trims by age and bytes.
    pub(super) fn trim(&mut self, keeper: &Keeper) {
        let policy = TrimPolicy {
            passed: keeper.store.passed(keeper.log.epoch()),
            older_than_ms: Some(self.clock.retention_ms().saturating_sub(self.age_ms)),
            max_bytes: Some(self.bytes),
        };
        match keeper.log.trim(&policy) {
            Ok(trimmed) if trimmed.segments > 0 => {
                tracing::debug!(segments = trimmed.segments, bytes = trimmed.bytes, first = %trimmed.first, "trimmed");
                keeper
                    .store
                    .forget_passed(keeper.log.epoch(), trimmed.first);
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(times) = self.untrimmed.strike() {
                    tracing::warn!(%error, times, "the journal could not be trimmed");
                }
            }
        }
        show(keeper);
    }

    /// Whether the journal has outgrown its bytes.
    pub(super) fn outgrown(&self, keeper: &Keeper) -> bool {
        keeper.log.bytes() > self.bytes
    }
}

/// Sets the journal's gauges.
pub(super) fn show(keeper: &Keeper) {
    keeper
        .metrics
        .journal_bytes
        .set(i64::try_from(keeper.log.bytes()).unwrap_or(i64::MAX));
    let oldest = keeper
        .log
        .oldest_time_ms()
        .map_or(Duration::ZERO, Duration::from_millis);
    keeper
        .metrics
        .journal_oldest_timestamp_seconds
        .set(oldest.as_secs_f64());
}

fn notice(jump: Jump, keeper: &Keeper) {
    let (by, way) = (
        Duration::from_millis(jump.by_ms),
        if jump.forward { "forward" } else { "back" },
    );
    let text = format!("the wall clock jumped {way} by {by:.0?}; nothing is removed because of it");
    tracing::warn!("{text}");
    keeper
        .notices
        .raise(NoticeDraft::new(NoticeKind::Clock, text));
}

/// The wall clock, in Unix milliseconds.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}
