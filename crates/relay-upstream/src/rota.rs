//! Keeps the expected cuts of several subscriptions apart: who reopens early, and when. Knows no socket.
//!
//! Subscriptions that start together are cut together, and then nobody listens for a moment. So whoever
//! connects within a minute of another's phase is given a window in which to reopen early, in the middle
//! of the widest room that the others leave. Since each cut is followed by a connect at once, the phases
//! then stay apart.

use std::time::Duration;

/// A time since the run began.
pub(crate) type Moment = Duration;

/// Two cuts nearer than this are too near.
const TOO_NEAR: Duration = Duration::from_mins(1);
/// How long a quiet moment is waited for.
const PATIENCE: Duration = Duration::from_mins(3);

/// When to reopen early: the first quiet moment from here, `until` at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    opened: Option<Moment>,
    planned: Option<Moment>,
    /// Its last connection ended to move its cut: it is not moved again at once.
    moved: bool,
}

impl Row {
    /// When its phase begins: where it will be reopened, else where it was opened.
    fn phase(&self) -> Option<Moment> {
        self.planned.or(self.opened)
    }
}

/// The sessions of one run.
#[derive(Debug)]
pub(crate) struct Rota {
    length: Duration,
    rows: Vec<Row>,
}

impl Rota {
    pub(crate) fn new(length: Duration, subscriptions: usize) -> Self {
        Self {
            length,
            rows: vec![Row::default(); subscriptions],
        }
    }

    /// A subscription has connected; when it shall reopen early, if it shall.
    pub(crate) fn opened(&mut self, index: usize, now: Moment) -> Option<Window> {
        let others = self.others(index);
        let row = self.rows.get_mut(index)?;
        row.opened = Some(now);
        row.planned = None;
        if std::mem::take(&mut row.moved) {
            return None;
        }
        let length = self.length;
        let is_near = |other: &Moment| distance(*other, now, length) <= TOO_NEAR;
        if !others.iter().any(is_near) {
            return None;
        }
        let from = widest_middle(&others, now, length)?;
        row.planned = Some(from);
        Some(Window {
            from,
            until: from + PATIENCE.min(length / 20),
        })
    }

    /// Its connection has ended; whether to move its cut.
    pub(crate) fn ended(&mut self, index: usize, moved: bool) {
        if let Some(row) = self.rows.get_mut(index) {
            *row = Row {
                moved,
                ..Row::default()
            };
        }
    }

    /// Whether it may reopen now: another one listens meanwhile.
    pub(crate) fn may_reopen(&mut self, index: usize) -> bool {
        let granted = !self.others(index).is_empty();
        if let Some(row) = self.rows.get_mut(index) {
            row.planned = None;
        }
        granted
    }

    fn others(&self, index: usize) -> Vec<Moment> {
        let others = self.rows.iter().enumerate();
        others
            .filter(|(other, _)| *other != index)
            .filter_map(|(_, row)| row.phase())
            .collect()
    }
}

/// How far apart two phases are on a circle of a length.
fn distance(a: Moment, b: Moment, length: Duration) -> Duration {
    let apart = remainder(a.abs_diff(b), length);
    apart.min(length.saturating_sub(apart))
}

/// The next moment after now in the middle of the widest room between the others' phases, if it is wide enough.
fn widest_middle(others: &[Moment], now: Moment, length: Duration) -> Option<Moment> {
    let mut phases: Vec<_> = others.iter().map(|at| remainder(*at, length)).collect();
    phases.sort_unstable();
    let first = *phases.first()?;
    let next = phases.iter().copied().skip(1).chain([first + length]);
    let rooms = phases.iter().copied().zip(next);
    let (width, begin) = rooms.map(|(a, b)| (b.saturating_sub(a), a)).max()?;
    if width / 2 <= TOO_NEAR {
        return None;
    }
    let middle = remainder(begin + width / 2, length);
    let ahead = remainder(
        (middle + length).saturating_sub(remainder(now, length)),
        length,
    );
    Some(now + ahead)
}

fn remainder(of: Duration, length: Duration) -> Duration {
    let nanos = of.as_nanos().checked_rem(length.as_nanos()).unwrap_or(0);
    // The remainder is less than a Duration's length.
    Duration::from_nanos_u128(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn three_that_start_together_are_spread() {
        let mut rota = Rota::new(HOUR, 3);
        assert_eq!(rota.opened(0, secs(0)), None);
        let second = rota.opened(1, secs(2)).unwrap();
        assert_eq!(second.from, HOUR / 2);
        let third = rota.opened(2, secs(4)).unwrap();
        assert!(third.from == HOUR / 4 || third.from == HOUR / 4 * 3);
        assert!(rota.may_reopen(1));
        rota.ended(1, true);
        assert_eq!(rota.opened(1, second.from), None);
        // Rotations keep the distance.
        rota.ended(0, false);
        assert_eq!(rota.opened(0, HOUR + secs(1)), None);
    }

    #[test]
    fn it_is_done_once_even_if_it_did_not_help() {
        let mut rota = Rota::new(HOUR, 2);
        rota.opened(0, secs(0));
        assert!(rota.opened(1, secs(2)).is_some());
        rota.ended(1, true);
        rota.ended(0, false);
        rota.opened(0, secs(1800));
        assert_eq!(rota.opened(1, secs(1801)), None);
        // A later conflict is another one.
        rota.ended(1, false);
        assert!(rota.opened(1, secs(1810)).is_some());
    }

    #[test]
    fn nobody_reopens_when_no_one_else_listens() {
        let mut rota = Rota::new(HOUR, 2);
        rota.opened(0, secs(0));
        rota.opened(1, secs(2));
        rota.ended(0, false);
        assert!(!rota.may_reopen(1));
    }

    #[test]
    fn short_sessions_are_left_alone() {
        let mut rota = Rota::new(secs(100), 2);
        rota.opened(0, secs(0));
        assert_eq!(rota.opened(1, secs(2)), None);
        assert_eq!(Rota::new(Duration::ZERO, 1).opened(0, secs(1)), None);
    }
}
