//! One subscription's connection over time: when it was away, and what is held of that time. Pure:
//! it is told times and what the numbering says, and answers with notices.
//!
//! The verdict on a time away is given a little after the first document that follows it, so that a
//! replay can fill what looks like a hole:
//! * away for longer than the upstream keeps events, measured from the last document (a heartbeat
//!   is one): certain loss, said when the connection is back, and once; but where other subscriptions
//!   share the numbering, only if it does not show that they have brought everything;
//! * so long by the wall clock, but not by the monotonic one: the clock leapt, or the machine slept,
//!   and the numbering has to tell;
//! * each numbering that was heard before went on, and no hole across the cut is open: recovered. One
//!   that shows nothing yet is waited for;
//! * else a possible loss; across a restart of the relay: unverified, and no loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admit::DisconnectReason;
use crate::notice::{NoticeDraft, NoticeKind, Verdict};
use crate::sequence::{AcrossCut, GRACE, Observed};

#[cfg(test)]
mod tests;

/// While nothing but repetitions arrives, or nothing of some numbering, the verdict waits for so long: as long as a connection may
/// be silent, so that a heartbeat comes in between.
const PATIENCE: Duration = Duration::from_secs(150);

/// A time without a connection.
#[derive(Clone, Debug)]
struct Away {
    /// The last document before it, and the last event.
    heard_ms: Option<u64>,
    event_ms: Option<u64>,
    cause: &'static str,
    /// The relay itself was away.
    restart: bool,
}

/// How long a time without a connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// The upstream has kept everything.
    Short,
    /// Longer than the upstream keeps events.
    Expired,
    /// So the wall clock says, and the monotonic clock does not.
    Doubtful,
}

/// What follows a time without a connection.
#[derive(Clone, Debug)]
struct Return {
    away: Away,
    first_heard: Option<Instant>,
    first_event_ms: Option<u64>,
    /// A numbering went on where it had stopped, or over a hole.
    went_on: bool,
    absence: Absence,
    /// Another subscription may still bring what is missing.
    hold: Option<Instant>,
    /// A numbering that was heard before has not gone on yet.
    awaits: bool,
    /// A numbering that was known before has shown anything but repetitions, or a new one began.
    told: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    Away(Away),
    Returned(Return),
    Connected,
}

/// What a new connection means.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) notices: Vec<NoticeDraft>,
    /// The subscription is new, or was away for longer than the upstream keeps events.
    pub(crate) afresh: bool,
}

/// The continuity of one subscription.
#[derive(Debug)]
pub(crate) struct Continuity {
    subscription: Arc<str>,
    /// How long the upstream keeps events.
    horizon: Duration,
    heard_ms: Option<u64>,
    event_ms: Option<u64>,
    /// When that was by the monotonic clock; `None`: in an earlier run.
    heard: Option<Instant>,
    /// Up to here the loss of everything has been said.
    told_ms: u64,
    phase: Phase,
}

impl Continuity {
    /// A subscription at the start of the relay, with what an earlier run last heard of it.
    pub(crate) fn new(
        subscription: Arc<str>,
        cache_horizon: Duration,
        heard_ms: Option<u64>,
        event_ms: Option<u64>,
    ) -> Self {
        let away = Away {
            heard_ms,
            event_ms,
            cause: "restart",
            restart: true,
        };
        Self {
            subscription,
            horizon: cache_horizon,
            heard_ms,
            event_ms,
            heard: None,
            told_ms: 0,
            phase: Phase::Away(away),
        }
    }

    /// When the last document arrived, and the last event.
    pub(crate) fn heard(&self) -> (Option<u64>, Option<u64>) {
        (self.heard_ms, self.event_ms)
    }

    /// The connection is back. `vouched`: all that the subscription shows is numbered in common with
    /// others, so that the numbers will tell what is missing.
    pub(crate) fn connected(&mut self, at_ms: u64, vouched: bool, now: Instant) -> Opened {
        let Phase::Away(away) = &self.phase else {
            return Opened {
                notices: Vec::new(),
                afresh: false,
            };
        };
        let away = away.clone();
        let Some(heard_ms) = away.heard_ms else {
            self.phase = Phase::Connected;
            let text = "connected, with nothing heard before";
            return Opened {
                notices: vec![self.draft(NoticeKind::Connected, text)],
                afresh: true,
            };
        };
        let gone = Duration::from_millis(at_ms.saturating_sub(heard_ms));
        let text = format!(
            "connected, {gone:.0?} after the last document ({})",
            away.cause
        );
        let connected = self
            .draft(NoticeKind::Connected, text)
            .between(Some(heard_ms), Some(at_ms));
        let since_ms = heard_ms.max(self.told_ms);
        let is_long = Duration::from_millis(at_ms.saturating_sub(since_ms)) > self.horizon;
        let passed = self.heard.map(|heard| now.saturating_duration_since(heard));
        let absence = match passed {
            _ if !is_long => Absence::Short,
            Some(passed) if passed <= self.horizon => Absence::Doubtful,
            Some(_) | None => Absence::Expired,
        };
        if absence != Absence::Expired || vouched {
            let back = Return {
                away,
                first_heard: None,
                first_event_ms: None,
                went_on: false,
                absence,
                hold: None,
                awaits: false,
                told: false,
            };
            self.phase = Phase::Returned(back);
            return Opened {
                notices: vec![connected],
                afresh: is_long,
            };
        }
        (self.phase, self.told_ms) = (Phase::Connected, at_ms);
        let text = format!(
            "away for {gone:.0?}, longer than the upstream keeps events: what happened meanwhile is lost"
        );
        let lost = self
            .draft(NoticeKind::CertainLoss, text)
            .between(Some(since_ms), Some(at_ms));
        Opened {
            notices: vec![connected, lost.verdict(Verdict::CertainLoss)],
            afresh: true,
        }
    }

    /// A document arrived; `observed` is what its number says, if it has one.
    pub(crate) fn document(
        &mut self,
        at_ms: u64,
        event: bool,
        observed: Option<Observed>,
        now: Instant,
    ) {
        self.heard_ms = Some(self.heard_ms.map_or(at_ms, |heard| heard.max(at_ms)));
        self.heard = Some(now);
        if event {
            self.event_ms = Some(self.event_ms.map_or(at_ms, |known| known.max(at_ms)));
        }
        let Phase::Returned(back) = &mut self.phase else {
            return;
        };
        back.first_heard.get_or_insert(now);
        if event {
            back.first_event_ms.get_or_insert(at_ms);
        }
        match observed {
            // A hole that the numbering went on over tells by itself whether it stays open.
            Some(Observed::Next | Observed::Filled | Observed::Hole) => {
                (back.went_on, back.told, back.awaits) = (true, true, false);
            }
            Some(Observed::Old) => {}
            None | Some(Observed::First | Observed::Restarted) => back.told = true,
        }
    }

    /// The connection ended. `cut`: what the numbering says of the cut before this one.
    pub(crate) fn disconnected(
        &mut self,
        at_ms: u64,
        reason: DisconnectReason,
        detail: &str,
        cut: AcrossCut,
    ) -> Vec<NoticeDraft> {
        let mut notices = Vec::new();
        let away = match &self.phase {
            // Nothing new: it never was connected.
            Phase::Away(_) => return notices,
            // Nothing was heard in between: the time away goes on.
            Phase::Returned(back) if back.first_heard.is_none() => Away {
                cause: reason.as_str(),
                ..back.away.clone()
            },
            Phase::Returned(back) => {
                notices.push(self.verdict(back, cut));
                self.away(reason)
            }
            Phase::Connected => self.away(reason),
        };
        let from = away.event_ms.or(away.heard_ms);
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        let text = format!("disconnected ({}){detail}", reason.as_str());
        notices.push(
            self.draft(NoticeKind::Disconnected, text)
                .between(from, Some(at_ms)),
        );
        self.phase = Phase::Away(away);
        notices
    }

    /// When the verdict is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let Phase::Returned(back) = &self.phase else {
            return None;
        };
        let waits = if back.told && !back.awaits {
            GRACE
        } else {
            PATIENCE
        };
        let due = back.first_heard.map(|heard| heard + waits);
        due.max(due.and(back.hold))
    }

    /// Gives the verdict if it is due. `cut`: what the numbering says of the last cut; `hold`: until
    /// then another subscription may bring what is missing.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        cut: AcrossCut,
        hold: Option<Instant>,
    ) -> Option<NoticeDraft> {
        self.due().filter(|due| *due <= now)?;
        let Phase::Returned(back) = &mut self.phase else {
            return None;
        };
        if cut.missing > 0 && hold.is_some_and(|hold| hold > now) {
            back.hold = hold;
            return None;
        }
        let patient = back.first_heard.map(|heard| heard + PATIENCE);
        if back.went_on && cut.is_silent && patient.is_some_and(|until| until > now) {
            back.awaits = true;
            return None;
        }
        let Phase::Returned(back) = std::mem::replace(&mut self.phase, Phase::Connected) else {
            return None;
        };
        Some(self.verdict(&back, cut))
    }

    fn verdict(&self, back: &Return, cut: AcrossCut) -> NoticeDraft {
        let from = back.away.event_ms.or(back.away.heard_ms);
        let from = from.map(|from| from.max(self.told_ms));
        let until = back.first_event_ms;
        let mut cause = back.away.cause.to_owned();
        if back.absence == Absence::Doubtful {
            cause.push_str(", during which the wall clock leapt or the machine slept");
        }
        let (missing, went_on) = (cut.missing, back.went_on && !cut.is_silent);
        let (kind, verdict, text) = match (missing, went_on, back.away.restart) {
            (0, true, _) => (
                NoticeKind::Recovered,
                Verdict::Recovered,
                "the numbering went on without a hole: nothing is missing".to_owned(),
            ),
            _ if back.absence == Absence::Expired => (
                NoticeKind::CertainLoss,
                Verdict::CertainLoss,
                "away for longer than the upstream keeps events, and no other subscription has brought all of them"
                    .to_owned(),
            ),
            (_, _, true) => (
                NoticeKind::SequenceUnverified,
                Verdict::Unverified,
                "the relay was restarted, and the numbering can't tell whether an event is missing"
                    .to_owned(),
            ),
            (0, false, false) => (
                NoticeKind::PossibleLoss,
                Verdict::PossibleLoss,
                format!(
                    "after a disconnect ({cause}) the numbering can't tell whether an event is missing"
                ),
            ),
            (1, _, false) => (
                NoticeKind::PossibleLoss,
                Verdict::PossibleLoss,
                format!("after a disconnect ({cause}) one number is missing"),
            ),
            (missing, _, false) => (
                NoticeKind::PossibleLoss,
                Verdict::PossibleLoss,
                format!("after a disconnect ({cause}) {missing} numbers are missing"),
            ),
        };
        let draft = self.draft(kind, text).between(from, until).verdict(verdict);
        if missing > 0 {
            draft.missing(missing)
        } else {
            draft
        }
    }

    fn away(&self, reason: DisconnectReason) -> Away {
        Away {
            heard_ms: self.heard_ms,
            event_ms: self.event_ms,
            cause: reason.as_str(),
            restart: false,
        }
    }

    fn draft(&self, kind: NoticeKind, text: impl Into<String>) -> NoticeDraft {
        NoticeDraft::new(kind, text).subscription(&self.subscription)
    }
}
