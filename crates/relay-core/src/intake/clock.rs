//! The clock that retention goes by, and what notices that the wall clock jumped. Pure: it is told
//! both clocks.
//!
//! The retention clock starts at what is on disk and advances with the monotonic clock. A wall
//! clock that leaps forward therefore ages nothing, and one that falls back keeps nothing forever.

use std::time::{Duration, Instant};

/// The wall clock and the monotonic clock may part by so much between two looks.
const TOLERANCE_MS: u64 = 120_000;
/// While the relay did not run, at most so much time is believed to have passed.
const BELIEVED_MS: u64 = 24 * 3600 * 1000;

#[derive(Debug)]
pub(super) struct Clock {
    /// Retention time and wall time, at an instant.
    retention_ms: u64,
    wall_ms: u64,
    at: Instant,
}

/// The wall clock jumped, by so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    pub(super) forward: bool,
    pub(super) by_ms: u64,
}

impl Clock {
    /// `saved`: retention time and wall time as an earlier run saved them. `newest_ms`: the time of
    /// the journal's last record.
    pub(super) fn new(
        saved: Option<(u64, u64)>,
        newest_ms: Option<u64>,
        wall_ms: u64,
        at: Instant,
    ) -> Self {
        let retention_ms = match (saved, newest_ms) {
            (Some((retention, wall)), _) => {
                retention + wall_ms.saturating_sub(wall).min(BELIEVED_MS)
            }
            (None, Some(newest)) => newest.min(wall_ms),
            (None, None) => wall_ms,
        };
        Self {
            retention_ms,
            wall_ms,
            at,
        }
    }

    /// Looks at both clocks; says whether the wall clock jumped since the last look.
    pub(super) fn look(&mut self, wall_ms: u64, now: Instant) -> Option<Jump> {
        let passed = millis(now.saturating_duration_since(self.at));
        let expected = self.wall_ms.saturating_add(passed);
        self.retention_ms = self.retention_ms.saturating_add(passed);
        (self.wall_ms, self.at) = (wall_ms, now);
        let by_ms = wall_ms.abs_diff(expected);
        (by_ms > TOLERANCE_MS).then_some(Jump {
            forward: wall_ms > expected,
            by_ms,
        })
    }

    /// The time that retention goes by.
    pub(super) fn retention_ms(&self) -> u64 {
        self.retention_ms
    }
}

/// A duration in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_leap_of_the_wall_clock_is_noticed_once_and_ages_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new(None, Some(1_000), 5 * DAY, start);
        assert_eq!(clock.retention_ms(), 1_000);
        let later = start + Duration::from_secs(30);
        let jump = clock.look(3650 * DAY, later);
        assert_eq!(
            jump,
            Some(Jump {
                forward: true,
                by_ms: 3645 * DAY - 30_000
            })
        );
        assert_eq!(clock.retention_ms(), 31_000);
        assert_eq!(
            clock.look(3650 * DAY + 30_000, later + Duration::from_secs(30)),
            None
        );
        assert_eq!(clock.retention_ms(), 61_000);
    }

    #[test]
    fn a_clock_that_falls_back_is_noticed_and_time_goes_on() {
        let start = Instant::now();
        let mut clock = Clock::new(None, None, 5 * DAY, start);
        let jump = clock.look(4 * DAY, start + Duration::from_secs(1));
        assert_eq!(
            jump,
            Some(Jump {
                forward: false,
                by_ms: DAY + 1_000
            })
        );
        assert_eq!(clock.retention_ms(), 5 * DAY + 1_000);
    }

    #[test]
    fn a_leap_while_the_relay_was_away_ages_by_a_day_at_most() {
        let clock = Clock::new(
            Some((10 * DAY, 20 * DAY)),
            Some(9 * DAY),
            4000 * DAY,
            Instant::now(),
        );
        assert_eq!(clock.retention_ms(), 11 * DAY);
    }

    #[test]
    fn small_drifts_are_no_jumps() {
        let start = Instant::now();
        let mut clock = Clock::new(None, None, DAY, start);
        assert_eq!(
            clock.look(DAY + 31_000, start + Duration::from_secs(30)),
            None
        );
    }
}
