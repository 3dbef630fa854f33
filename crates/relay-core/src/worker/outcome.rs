//! What deliveries have brought: confirmations counted, rejections put away, troubles weighed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use relay_journal::Offset;
use tokio::time::Instant;

use super::OnReject;
use super::again::Return;
use super::handle::Shared;
use super::meters::now_ms;
use super::window::{Verdict, Window};
use crate::Event;
use crate::backoff::Backoff;
use crate::dead_letters::{DeadLetter, Origin, Original};
use crate::notice::timestamp;
use crate::sink::{Delivery, Failure, Next, Outcome, Outcomes};
use crate::status::SinkState;
use crate::storm::Storm;
use crate::traces::Step;

/// What a delivery was made of.
#[derive(Debug)]
pub(super) enum Flown {
    /// A stretch of the journal, by its name in the window.
    Stretch(u64),
    /// Dead letters.
    Again(Return),
}

/// A delivery whose outcomes are known.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) what: Flown,
    pub(super) delivery: Delivery,
    pub(super) started: Instant,
    pub(super) outcomes: Outcomes,
}

/// What keeps a worker from going on, the lightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Deliver again after the back-off, or after so long.
    Retry(Option<Duration>),
    /// Connect again after the back-off.
    Reconnect,
    /// Connect again after the longest wait.
    Blocked,
    /// Wait for an operator.
    Halted,
    /// Wait for an operator, or for another destination.
    Disabled,
}

/// A trouble, with its words.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) weight: Weight,
    pub(super) text: String,
    pub(super) remedy: String,
}

impl core::convert::From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let Failure { next, text, remedy } = failure;
        let weight = match next {
            Next::Retry => Weight::Retry(None),
            Next::RetryAfter(wait) => Weight::Retry(Some(wait)),
            Next::Reconnect => Weight::Reconnect,
            Next::Blocked => Weight::Blocked,
            Next::Disabled => Weight::Disabled,
        };
        Self {
            weight,
            text,
            remedy,
        }
    }
}

/// How a worker gets on: what is settled, and what went wrong.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) shared: Arc<Shared>,
    pub(super) window: Window,
    pub(super) backoff: Backoff,
    /// The weightiest trouble since the last recovery.
    pub(super) trouble: Option<Trouble>,
    pub(super) storm: Storm,
    /// Rejections without a confirmation between them.
    pub(super) rejections: u32,
    rejection_storm: Storm,
    /// Dead letters are under way.
    pub(super) again: bool,
}

impl Ledger {
    pub(super) fn new(shared: Arc<Shared>, cursor: Offset) -> Self {
        let config = &shared.config;
        Self {
            window: Window::new(cursor),
            backoff: Backoff::new(config.retry_min, config.retry_max),
            trouble: None,
            storm: Storm::default(),
            rejections: 0,
            rejection_storm: Storm::default(),
            again: false,
            shared,
        }
    }

    /// Takes a trouble in; the weightiest counts.
    pub(super) fn fail(&mut self, trouble: Trouble) {
        if self
            .trouble
            .as_ref()
            .is_none_or(|known| known.weight < trouble.weight)
        {
            self.trouble = Some(trouble);
        }
    }

    /// Takes in what became of a delivery.
    pub(super) async fn land(&mut self, landed: Landed) {
        let Landed {
            what,
            delivery,
            started,
            outcomes,
        } = landed;
        let elapsed = started.elapsed();
        self.shared.meters.delivery.observe(elapsed.as_secs_f64());
        let began = SystemTime::now() - elapsed;
        let id = match what {
            Flown::Stretch(id) => id,
            Flown::Again(letters) => return self.land_again(letters, outcomes).await,
        };
        let before = self.shared.meters.delivered.get();
        match outcomes {
            Outcomes::Confirmed => {
                self.confirmed(delivery.events());
                self.trace(delivery.events(), began, false);
                self.window.confirm(id);
            }
            Outcomes::Each(outcomes) => {
                let verdicts = self.judge(&delivery, outcomes).await;
                self.trace_each(&delivery, began, &verdicts);
                self.window.settle(id, verdicts);
            }
            Outcomes::Partly(outcomes, failure) => {
                // First: its words are better than a count of what was not confirmed.
                self.fail(failure.into());
                let verdicts = self.judge(&delivery, outcomes).await;
                self.trace_each(&delivery, began, &verdicts);
                self.window.settle(id, verdicts);
            }
            Outcomes::Failed(failure) => {
                self.window.fail(id);
                self.fail(failure.into());
            }
        }
        self.progress();
        if self.trouble.is_none() && self.shared.meters.delivered.get() > before {
            self.running();
        }
    }

    /// What outcomes mean for a delivery's events.
    async fn judge(&mut self, delivery: &Delivery, outcomes: Vec<Outcome>) -> Vec<Verdict> {
        let outcomes = outcomes
            .into_iter()
            .chain(std::iter::repeat(Outcome::Retry));
        let mut verdicts = vec![Verdict::Open; delivery.len()];
        let (mut letters, mut lettered) = (Vec::new(), Vec::new());
        let mut retried = 0_usize;
        for (((index, event), outcome), slot) in delivery
            .events()
            .enumerate()
            .zip(outcomes)
            .zip(&mut verdicts)
        {
            match outcome {
                Outcome::Confirmed => {
                    *slot = Verdict::Confirmed;
                    self.confirmed(std::iter::once(event));
                }
                Outcome::Retry => retried += 1,
                Outcome::Rejected(reason) if self.rejected(event, &reason) => {
                    if self.shared.config.on_reject == OnReject::DeadLetter {
                        letters.push((self.letter(event, reason), Original::of(event)));
                        lettered.push(index);
                    } else {
                        self.shared.meters.rejected.inc();
                        *slot = Verdict::Refused;
                    }
                }
                Outcome::Rejected(_) => {}
            }
        }
        if retried > 0 {
            let text = format!("{retried} of {} events were not confirmed", delivery.len());
            self.fail(Trouble {
                weight: Weight::Retry(None),
                text,
                remedy: String::new(),
            });
        }
        if !letters.is_empty() && self.put_away(letters).await {
            let count = u64::try_from(lettered.len()).unwrap_or(u64::MAX);
            self.shared.meters.rejected.inc_by(count);
            for index in lettered {
                verdicts
                    .get_mut(index)
                    .into_iter()
                    .for_each(|slot| *slot = Verdict::Refused);
            }
        }
        verdicts
    }

    /// Tells of events that are settled, each in its way.
    fn trace_each(&self, delivery: &Delivery, began: SystemTime, verdicts: &[Verdict]) {
        if !self.shared.context.traces.is_on() {
            return;
        }
        for (verdict, rejected) in [(Verdict::Confirmed, false), (Verdict::Refused, true)] {
            let events = delivery.events().zip(verdicts);
            let events = events.filter(|(_, known)| **known == verdict);
            self.trace(events.map(|(event, _)| event), began, rejected);
        }
    }

    fn trace<'a>(
        &self,
        events: impl Iterator<Item = &'a Event>,
        began: SystemTime,
        rejected: bool,
    ) {
        let sink = &*self.shared.config.name;
        let step = Step::Delivered { sink, rejected };
        self.shared.context.traces.tell(events, step, |_| began);
    }

    fn confirmed<'a>(&mut self, events: impl Iterator<Item = &'a Event>) {
        let (now, latency) = (now_ms(), self.shared.meters.latency.local());
        let mut count = 0;
        for event in events {
            let age = now.saturating_sub(event.received_at_ms());
            latency.observe(Duration::from_millis(age).as_secs_f64());
            count += 1;
        }
        latency.flush();
        self.shared.meters.delivered.inc_by(count);
        if count > 0 {
            self.rejections = 0;
        }
    }

    /// Whether a refused event may be passed; otherwise the sink stops at it.
    fn rejected(&mut self, event: &Event, reason: &str) -> bool {
        let config = &self.shared.config;
        let (name, offset) = (Arc::clone(&config.name), event.offset());
        if config.on_reject == OnReject::Halt {
            let text = format!("event {offset} was refused: {reason}");
            let remedy = format!(
                "resume sink {name} to offer it again; to pass it, seek the sink to {} before that",
                self.shared.context.bus.cursor(offset)
            );
            self.shared.meters.rejected.inc();
            self.fail(Trouble {
                weight: Weight::Halted,
                text,
                remedy,
            });
            return false;
        }
        if self.rejections >= config.max_consecutive_rejections {
            let text = format!(
                "{} events in a row were refused, the last one: {reason}",
                self.rejections
            );
            let remedy = format!(
                "the destination refuses everything: look at the dead letters of sink {name}, mend the destination, then resume the sink"
            );
            self.fail(Trouble {
                weight: Weight::Blocked,
                text,
                remedy,
            });
            return false;
        }
        self.rejections += 1;
        if let Some(count) = self.rejection_storm.strike() {
            tracing::error!(sink = %name, %offset, count, reason, "the destination refuses an event for good");
        }
        true
    }

    fn letter(&self, event: &Event, reason: String) -> DeadLetter {
        let (head, bytes) = (event.head(), event.bytes().clone());
        DeadLetter {
            id: 0,
            at: timestamp(now_ms()),
            origin: Origin::Sink,
            sink: Some(self.shared.config.name.to_string()),
            subscription: (!head.subscription.is_empty()).then(|| head.subscription.to_owned()),
            event_id: Some(head.id.to_owned()),
            cursor: Some(self.shared.context.bus.cursor(event.offset()).to_string()),
            reason,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            bytes,
            truncated: false,
        }
    }

    /// Whether the letters are durable: only then may the cursor pass their events.
    async fn put_away(&mut self, letters: Vec<(DeadLetter, Original)>) -> bool {
        let count = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        let put = self.shared.context.dead_letters.put_refused(letters);
        let Err(error) = put.await else {
            return true;
        };
        // They are offered again: the destination has not refused more events than before.
        self.rejections = self.rejections.saturating_sub(count);
        let text = format!("refused events could not be kept as dead letters: {error}");
        let remedy = "make room on the disk, or repair it".to_owned();
        self.fail(Trouble {
            weight: Weight::Retry(None),
            text,
            remedy,
        });
        false
    }

    /// Shows how far the cursor has come. Real progress makes the next failure the first.
    pub(super) fn progress(&mut self) {
        let cursor = self.window.cursor();
        if self.shared.row().cursor == cursor {
            return;
        }
        self.shared.move_to(cursor);
        self.calm();
    }

    /// The next failure is the first again.
    pub(super) fn calm(&mut self) {
        self.backoff.reset();
        self.shared.update(|row| row.retries = 0);
    }

    /// The sink delivers, or has nothing to deliver.
    pub(super) fn running(&mut self) {
        if self.shared.row().state == SinkState::Running {
            return;
        }
        self.shared.update(|row| row.state = SinkState::Running);
        let name = &self.shared.config.name;
        if self.storm.was_said() {
            tracing::info!(sink = %name, "the sink delivers again");
        } else {
            tracing::debug!(sink = %name, "the sink delivers again");
        }
    }
}
