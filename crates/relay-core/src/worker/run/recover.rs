//! After a trouble: what is under way is landed, the worker goes back to its cursor, says what
//! happened, and waits as the trouble asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Signals, Step, Worker};
use crate::notice::{NoticeDraft, NoticeKind};
use crate::sink::Sink;
use crate::status::{SinkError, SinkState};
use crate::worker::meters::now_ms;
use crate::worker::outcome::{Ledger, Trouble, Weight};

/// The longest a destination may ask to be left alone.
const PATIENCE: Duration = Duration::from_hours(1);

impl<S: Sink> Worker<S> {
    /// Lands what is under way, then recovers from the weightiest trouble.
    pub(super) async fn give_way(&mut self, trouble: Trouble, signals: &mut Signals<'_>) -> Step {
        self.ledger.fail(trouble);
        self.ledger.show();
        // On a lost connection nothing more is heard; otherwise what comes late spares a repetition.
        if self
            .ledger
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.weight == Weight::Reconnect)
        {
            self.land_ready().await;
        } else {
            let shared = Arc::clone(&self.ledger.shared);
            self.land_all(signals.overdue(&shared)).await;
        }
        match self.ledger.trouble.take() {
            Some(trouble) => self.recover(trouble),
            None => Step::Deliver,
        }
    }

    /// Goes back to the cursor, and says what is next. Nothing is held in memory meanwhile.
    pub(super) fn recover(&mut self, trouble: Trouble) -> Step {
        self.ground();
        self.ledger.window.roll_back();
        self.ledger.progress();
        self.supply.seek(self.ledger.window.cursor());
        let wait = match trouble.weight {
            Weight::Retry(asked) => {
                let wait = self.ledger.backoff.next();
                asked.map_or(wait, |asked| asked.min(PATIENCE).max(wait))
            }
            Weight::Reconnect => self.ledger.backoff.next(),
            Weight::Blocked => self.ledger.backoff.longest(),
            Weight::Halted | Weight::Disabled => Duration::ZERO,
        };
        let reconnect = self.stale || trouble.weight >= Weight::Reconnect;
        let holds = trouble.weight >= Weight::Halted;
        self.ledger.say(trouble, wait);
        if holds {
            Step::Hold
        } else {
            Step::Wait {
                until: Instant::now() + wait,
                reconnect,
            }
        }
    }
}

impl Ledger {
    /// Shows what holds the sink up, before what is under way has landed: that may take as long as it.
    fn show(&self) {
        let retry = |trouble: &&Trouble| matches!(trouble.weight, Weight::Retry(_));
        let Some(trouble) = self.trouble.as_ref().filter(retry) else {
            return;
        };
        let error = SinkError {
            at_ms: now_ms(),
            text: trouble.text.clone(),
            remedy: trouble.remedy.clone(),
        };
        self.shared
            .update(|row| (row.state, row.last_error) = (SinkState::Retrying, Some(error)));
    }

    /// Shows a trouble: state, last error, counters, log, and a notice when an operator has to act.
    fn say(&mut self, trouble: Trouble, wait: Duration) {
        let Trouble {
            weight,
            text,
            remedy,
        } = trouble;
        let state = match weight {
            Weight::Retry(_) | Weight::Reconnect => SinkState::Retrying,
            Weight::Blocked => SinkState::Blocked,
            Weight::Halted => SinkState::Halted,
            Weight::Disabled => SinkState::Disabled,
        };
        let error = SinkError {
            at_ms: now_ms(),
            text: text.clone(),
            remedy: remedy.clone(),
        };
        let before = self.shared.update(|row| {
            row.retries += 1;
            row.last_error = Some(error);
            std::mem::replace(&mut row.state, state)
        });
        let changed = before != Some(state);
        self.shared.meters.retries.inc();
        if changed && state != SinkState::Retrying {
            self.storm.clear();
        }
        let (name, storm) = (&self.shared.config.name, self.storm.strike());
        match (state, storm) {
            (SinkState::Retrying, Some(failures)) => {
                tracing::warn!(sink = %name, failures, ?wait, remedy, "delivery failed: {text}");
            }
            (_, Some(failures)) => {
                tracing::error!(sink = %name, failures, state = state.as_str(), remedy, "delivery stopped: {text}");
            }
            (_, None) => tracing::debug!(sink = %name, ?wait, "delivery failed again: {text}"),
        }
        if matches!(state, SinkState::Halted | SinkState::Disabled) {
            self.shared.hold(state);
        }
        if state != SinkState::Retrying && changed {
            let text = format!("sink {name} is {}: {text}", state.as_str());
            let draft = NoticeDraft::new(NoticeKind::SinkStopped, text).sink(name);
            self.shared.context.notices.raise(draft);
        }
    }
}
