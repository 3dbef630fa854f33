//! The clocks that retention and the memory of ids go by, and what notices that the wall clock
//! jumped. Pure: it is told both clocks.
//!
//! The retention clock starts at what is on disk and advances with the monotonic clock: a wall clock
//! that leaps forward ages nothing. It never passes the time that a record would get now, which
//! is the wall clock's, or the newest record's where that lies in the future: journal time stands
//! still until the wall clock has caught up, and what is written meanwhile must not look old. Until
//! then only `retention_bytes` removes what is newer than the age before that record.
//!
//! The memory of ids goes by journal time, less the leaps of the wall clock: within a run it is
//! never faster than the monotonic clock, so what was committed minutes ago is remembered whatever the
//! wall clock does. A leap between two runs can't be told from a time without the relay; it forgets
//! nothing at once either, since a run begins at the newest record.

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
    /// The time of the journal's last record.
    newest_ms: u64,
}

/// The time that the memory of ids goes by.
#[derive(Debug)]
pub(super) struct MemoryClock {
    /// Journal time at the start, and when that was.
    began_ms: u64,
    began: Instant,
    /// What the wall clock has leapt forward since.
    leapt_ms: u64,
    now_ms: u64,
}

impl MemoryClock {
    pub(super) fn new(journal_ms: u64, now: Instant) -> Self {
        Self {
            began_ms: journal_ms,
            began: now,
            leapt_ms: 0,
            now_ms: journal_ms,
        }
    }

    /// The time of a record with this journal time.
    pub(super) fn at(&mut self, journal_ms: u64, now: Instant) -> u64 {
        let passed = millis(now.saturating_duration_since(self.began));
        let latest = self.began_ms.saturating_add(passed + TOLERANCE_MS);
        let steady = journal_ms.saturating_sub(self.leapt_ms);
        self.leapt_ms += steady.saturating_sub(latest);
        self.now_ms = self.now_ms.max(steady.min(latest));
        self.now_ms
    }
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
            newest_ms: newest_ms.unwrap_or(0),
        }
    }

    /// Looks at both clocks, and at the time of the journal's last record; says whether the wall clock
    /// jumped since the last look.
    pub(super) fn look(
        &mut self,
        wall_ms: u64,
        newest_ms: Option<u64>,
        now: Instant,
    ) -> Option<Jump> {
        let passed = millis(now.saturating_duration_since(self.at));
        let expected = self.wall_ms.saturating_add(passed);
        self.retention_ms = self.retention_ms.saturating_add(passed);
        (self.wall_ms, self.at) = (wall_ms, now);
        self.newest_ms = newest_ms.unwrap_or(0);
        let by_ms = wall_ms.abs_diff(expected);
        (by_ms > TOLERANCE_MS).then_some(Jump {
            forward: wall_ms > expected,
            by_ms,
        })
    }

    /// The time that retention goes by.
    pub(super) fn retention_ms(&self) -> u64 {
        self.retention_ms.min(self.newest_ms.max(self.wall_ms))
    }

    /// What an earlier run would need to go on: retention time and wall time.
    pub(super) fn saved(&self) -> [u64; 2] {
        [self.retention_ms, self.wall_ms]
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
        let jump = clock.look(3650 * DAY, Some(1_000), later);
        assert_eq!(
            jump,
            Some(Jump {
                forward: true,
                by_ms: 3645 * DAY - 30_000
            })
        );
        assert_eq!(clock.retention_ms(), 31_000);
        assert_eq!(
            clock.look(3650 * DAY + 30_000, None, later + Duration::from_secs(30)),
            None
        );
        assert_eq!(clock.retention_ms(), 61_000);
    }

    #[test]
    fn a_clock_that_falls_back_is_noticed_and_time_goes_on() {
        let start = Instant::now();
        let mut clock = Clock::new(None, None, 5 * DAY, start);
        let jump = clock.look(4 * DAY, Some(5 * DAY), start + Duration::from_secs(1));
        assert_eq!(
            jump,
            Some(Jump {
                forward: false,
                by_ms: DAY + 1_000
            })
        );
        assert_eq!(
            clock.retention_ms(),
            5 * DAY,
            "as journal time, it stands still"
        );
        assert_eq!(clock.saved()[0], 5 * DAY + 1_000);
        let later = start + Duration::from_secs(2);
        clock.look(5 * DAY + 2_000, Some(5 * DAY), later);
        assert_eq!(clock.retention_ms(), 5 * DAY + 2_000, "it has caught up");
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
            clock.look(DAY + 31_000, None, start + Duration::from_secs(30)),
            None
        );
    }

    #[test]
    fn what_is_written_while_the_newest_record_lies_in_the_future_does_not_age() {
        // An earlier run had a clock that was a year ahead; what it saved is as wrong.
        let (start, year) = (Instant::now(), 365 * DAY);
        let saved = Some((year + DAY, year + DAY));
        let mut clock = Clock::new(saved, Some(year + DAY), 2 * DAY, start);
        for days in 1..300 {
            // Journal time stands still: records get the newest one's time.
            let now = start + Duration::from_hours(days * 24);
            clock.look((2 + days) * DAY, Some(year + DAY), now);
            assert_eq!(clock.retention_ms(), year + DAY);
        }
        // Once the wall clock has caught up, time goes on.
        let now = start + Duration::from_hours(400 * 24);
        clock.look(402 * DAY, Some(402 * DAY), now);
        assert_eq!(clock.retention_ms(), 402 * DAY);
    }

    #[test]
    fn a_leap_of_the_wall_clock_forgets_no_id() {
        let (start, hour) = (Instant::now(), 3_600_000);
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = MemoryClock::new(10 * hour, start);
        assert_eq!(clock.at(10 * hour + 1_000, at(1)), 10 * hour + 1_000);
        // Three hours forward; and it stays.
        let leapt = clock.at(13 * hour + 2_000, at(2));
        assert!(leapt <= 10 * hour + 2_000 + TOLERANCE_MS);
        assert_eq!(clock.at(13 * hour + 62_000, at(62)), leapt + 60_000);
        // It returns: journal time stands still.
        assert_eq!(clock.at(13 * hour + 62_000, at(100)), leapt + 60_000);
        // A day later, as the wall clock says.
        let day = clock.at(37 * hour + 62_000, at(24 * 3600 + 62));
        assert_eq!(day, leapt + 60_000 + 24 * hour);
        // And another leap.
        assert!(clock.at(u64::MAX, at(24 * 3600 + 63)) <= day + 1_000);
    }
}
