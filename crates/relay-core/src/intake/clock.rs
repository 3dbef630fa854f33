//! The clocks that retention and the memory of ids go by, and what notices that the wall clock
//! jumped. Pure: it is told both clocks.
//!
//! The retention clock starts at what is on disk and advances with the monotonic clock: a wall clock
//! that leaps forward ages nothing. It never passes the time that a record would get now, which
//! is the wall clock's, or the newest record's where that lies in the future: journal time stands
//! still until the wall clock has caught up, and what is written meanwhile must not look old. Until
//! then only `retention_bytes` removes what is newer than the age before that record.
//!
//! What it did not believe it makes up for once nothing has been doubted for as long as records are
//! kept: what was there before is then that old in any case, and what came since bears the wall
//! clock's time.
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
    /// How long records are kept.
    age_ms: u64,
    /// For so long the clocks have gone together.
    steady_ms: u64,
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
    /// `saved`: what [`Clock::saved`] of an earlier run said. `newest_ms`: the time of the journal's
    /// last record. `age_ms`: how long records are kept.
    pub(super) fn new(
        saved: Option<[u64; 3]>,
        newest_ms: Option<u64>,
        age_ms: u64,
        wall_ms: u64,
        at: Instant,
    ) -> Self {
        let (retention_ms, steady_ms) = match (saved, newest_ms) {
            (Some([retention, wall, steady]), _) => {
                let away = wall_ms.checked_sub(wall);
                let is_believed = away.is_some_and(|away| away <= BELIEVED_MS);
                let passed = away.unwrap_or(0).min(BELIEVED_MS);
                (retention + passed, if is_believed { steady } else { 0 })
            }
            (None, Some(newest)) => (newest.min(wall_ms), 0),
            (None, None) => (wall_ms, 0),
        };
        Self {
            retention_ms,
            wall_ms,
            at,
            newest_ms: newest_ms.unwrap_or(0),
            age_ms,
            steady_ms,
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
        self.steady_ms = if by_ms > TOLERANCE_MS {
            0
        } else {
            self.steady_ms.saturating_add(passed)
        };
        if self.steady_ms > self.age_ms {
            self.retention_ms = self.retention_ms.max(wall_ms);
        }
        (by_ms > TOLERANCE_MS).then_some(Jump {
            forward: wall_ms > expected,
            by_ms,
        })
    }

    /// The time that retention goes by.
    pub(super) fn retention_ms(&self) -> u64 {
        self.retention_ms.min(self.newest_ms.max(self.wall_ms))
    }

    /// What a later run needs to go on: retention time and wall time, and for how long the clocks have
    /// gone together.
    pub(super) fn saved(&self) -> [u64; 3] {
        [self.retention_ms, self.wall_ms, self.steady_ms]
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
    const AGE: u64 = 3 * DAY;

    #[test]
    fn a_leap_of_the_wall_clock_is_noticed_once_and_ages_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new(None, Some(1_000), AGE, 5 * DAY, start);
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
        let mut clock = Clock::new(None, None, AGE, 5 * DAY, start);
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
            Some([10 * DAY, 20 * DAY, 0]),
            Some(9 * DAY),
            AGE,
            4000 * DAY,
            Instant::now(),
        );
        assert_eq!(clock.retention_ms(), 11 * DAY);
    }

    #[test]
    fn what_was_not_believed_is_made_up_for_once_the_clocks_have_gone_together_for_the_age() {
        let (start, hour) = (Instant::now(), 3_600_000);
        let mut clock = Clock::new(
            Some([10 * DAY, 10 * DAY, AGE]),
            Some(10 * DAY),
            AGE,
            20 * DAY,
            start,
        );
        assert_eq!(clock.retention_ms(), 11 * DAY, "nine days behind");
        let mut look = |hours, wall_ms| {
            let now = start + Duration::from_hours(hours);
            clock.look(wall_ms, Some(wall_ms), now);
            (clock.retention_ms(), clock.saved())
        };
        for hours in 1..=72 {
            let (retention, _) = look(hours, 20 * DAY + hours * hour);
            assert_eq!(retention, 11 * DAY + hours * hour);
        }
        let wall = 23 * DAY + hour;
        assert_eq!(look(73, wall).0, wall);
        // Another leap is doubted as the first one was.
        assert_eq!(look(74, wall + 100 * DAY).0, wall + hour);
        assert_eq!(look(75, wall + 100 * DAY + hour).0, wall + 2 * hour);
    }

    #[test]
    fn short_restarts_do_not_begin_the_doubt_anew() {
        let (mut start, hour) = (Instant::now(), 3_600_000);
        let mut saved = [DAY, DAY, 0];
        let mut wall = 11 * DAY;
        for _ in 0..4 {
            let mut clock = Clock::new(Some(saved), Some(DAY), AGE, wall, start);
            for _ in 0..20 {
                wall += hour;
                start += Duration::from_hours(1);
                clock.look(wall, Some(wall), start);
            }
            saved = clock.saved();
            wall += hour;
        }
        assert_eq!(saved[0] + hour, wall);
    }

    #[test]
    fn small_drifts_are_no_jumps() {
        let start = Instant::now();
        let mut clock = Clock::new(None, None, AGE, DAY, start);
        assert_eq!(
            clock.look(DAY + 31_000, None, start + Duration::from_secs(30)),
            None
        );
    }

    #[test]
    fn what_is_written_while_the_newest_record_lies_in_the_future_does_not_age() {
        // An earlier run had a clock that was a year ahead; what it saved is as wrong.
        let (start, year) = (Instant::now(), 365 * DAY);
        let saved = Some([year + DAY, year + DAY, 0]);
        let mut clock = Clock::new(saved, Some(year + DAY), AGE, 2 * DAY, start);
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
