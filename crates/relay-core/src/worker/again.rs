//! Dead letters delivered again: what an operator asks for, and what the worker answers.

use std::time::Duration;

use relay_journal::Record;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{CommandError, Row, SinkHandle};
use super::outcome::Ledger;
use crate::dead_letters::Refused;
use crate::sink::{Failure, Outcome, Outcomes};
use crate::status::SinkState;

/// After so long one request is answered; the rest is for the next.
const ENOUGH: Duration = Duration::from_secs(10);

/// So long one batch is waited for. What the destination confirms later is removed all the same.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which dead letters of a sink are to be delivered again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Those behind this one; `None`: from the first on.
    pub after: Option<u64>,
    /// This one and those before it; `None`: those there are now.
    pub upto: Option<u64>,
}

/// What became of dead letters that were delivered again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Confirmed, and dead letters no more.
    pub delivered: u64,
    /// Refused again: they stay.
    pub refused: u64,
    /// Neither: they stay.
    pub unconfirmed: u64,
    /// Kept without their event by an earlier version: they stay.
    pub unfit: u64,
    /// What went wrong last.
    pub text: Option<String>,
    /// Where to go on, when time was up before all were offered: the next [`Letters::after`]...
    pub next: Option<u64>,
    /// ...and [`Letters::upto`].
    pub upto: Option<u64>,
}

impl Retried {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.unconfirmed += other.unconfirmed;
        self.unfit += other.unfit;
        self.text = other.text.or(self.text.take());
    }
}

/// Dead letters for the worker, and where it answers.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) ids: Vec<u64>,
    pub(super) records: Vec<Record>,
    pub(super) reply: oneshot::Sender<Retried>,
}

/// The same, handed over.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) ids: Vec<u64>,
    pub(super) reply: oneshot::Sender<Retried>,
}

impl SinkHandle {
    /// Delivers dead letters of this sink again, out of order, while the stream goes on. Those that
    /// are confirmed are dead letters no more, durably; the others stay. Answers after some seconds
    /// at the latest, with where to go on.
    ///
    /// # Errors
    /// [`CommandError::NotDelivering`] unless the sink is running, [`CommandError::Retrying`] while
    /// another such request is under way. What had been confirmed by then is counted nowhere but gone
    /// from the dead letters.
    pub async fn retry_dead_letters(&self, which: Letters) -> Result<Retried, CommandError> {
        let one = self.shared.retrying.try_lock();
        let _one = one.map_err(|_held| CommandError::Retrying)?;
        self.delivering()?;
        let (config, letters) = (&self.shared.config, &self.shared.context.dead_letters);
        let started = Instant::now();
        let (mut after, mut told) = (which.after, Retried::default());
        let Some(upto) = which.upto.or_else(|| letters.last()) else {
            return Ok(told);
        };
        loop {
            let bounds = (config.batch_events, config.batch_bytes);
            let page = letters.refused(&config.name, after, upto, bounds).await;
            let page = page.map_err(|error| CommandError::Unreadable(error.to_string()))?;
            told.add(self.offer(page.items).await?);
            after = page.next;
            if after.is_none() {
                return Ok(told);
            }
            if started.elapsed() >= ENOUGH {
                (told.next, told.upto) = (after, Some(upto));
                return Ok(told);
            }
        }
    }

    async fn offer(&self, letters: Vec<Refused>) -> Result<Retried, CommandError> {
        let all = letters.len();
        let fit = letters.into_iter().filter_map(|letter| {
            let record = letter.record?;
            Some((letter.id, record))
        });
        let (ids, records): (Vec<_>, Vec<_>) = fit.unzip();
        let unfit = Retried {
            unfit: u64::try_from(all - ids.len()).unwrap_or(u64::MAX),
            ..Retried::default()
        };
        if ids.is_empty() {
            return Ok(unfit);
        }
        let (reply, answer) = oneshot::channel();
        let again = Again {
            ids,
            records,
            reply,
        };
        let mut row = self.shared.watch();
        let asked = async {
            self.again.send(again).await.ok()?;
            answer.await.ok()
        };
        let told = tokio::select! {
            biased;
            told = asked => told,
            stopped = row.wait_for(|row| row.state != SinkState::Running) => {
                drop(stopped);
                None
            }
            () = self.task.ended() => return Err(CommandError::Gone),
            () = tokio::time::sleep(PATIENCE) => {
                let text = "the destination does not answer: those that it confirms later are \
                            removed all the same, retry what is left";
                return Err(CommandError::NotDelivering(text.to_owned()));
            }
        };
        let Some(mut told) = told else {
            self.delivering()?;
            let text = "the sink was interrupted: retry what is left".to_owned();
            return Err(CommandError::NotDelivering(text));
        };
        told.add(unfit);
        Ok(told)
    }

    /// Whether dead letters can be delivered now; else what to do first.
    fn delivering(&self) -> Result<(), CommandError> {
        let row = self.shared.row().clone();
        let name = &self.shared.config.name;
        let what = match row.state {
            SinkState::Running => return Ok(()),
            SinkState::Retrying => "wait until it delivers again",
            SinkState::Blocked => "mend what blocks it, and resume it",
            SinkState::Paused | SinkState::Halted | SinkState::Disabled => "resume it",
        };
        let text = format!(
            "sink {name} is {}{}: {what}, then retry its dead letters",
            row.state.as_str(),
            why(&row)
        );
        Err(CommandError::NotDelivering(text))
    }
}

fn why(row: &Row) -> String {
    let error = row.last_error.as_ref();
    let error = error.filter(|_| row.state != SinkState::Paused);
    error.map_or_else(String::new, |error| format!(" ({})", error.text))
}

impl Ledger {
    /// Takes in what became of dead letters: those that are confirmed are removed, durably.
    pub(super) async fn land_again(&mut self, letters: Return, outcomes: Outcomes) {
        self.again = false;
        let Return { ids, reply } = letters;
        let (outcomes, failure) = match outcomes {
            Outcomes::Confirmed => (vec![Outcome::Confirmed; ids.len()], None),
            Outcomes::Each(outcomes) => (outcomes, None),
            Outcomes::Partly(outcomes, failure) => (outcomes, Some(failure)),
            Outcomes::Failed(failure) => (Vec::new(), Some(failure)),
        };
        let mut told = Retried::default();
        let mut confirmed = Vec::new();
        let outcomes = outcomes
            .into_iter()
            .chain(std::iter::repeat(Outcome::Retry));
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Confirmed => confirmed.push(id),
                Outcome::Retry => told.unconfirmed += 1,
                Outcome::Rejected(reason) => {
                    told.refused += 1;
                    told.text = Some(reason);
                }
            }
        }
        told.delivered = u64::try_from(confirmed.len()).unwrap_or(u64::MAX);
        self.shared.meters.delivered.inc_by(told.delivered);
        self.shared.meters.rejected.inc_by(told.refused);
        let removed = self.shared.context.dead_letters.remove(confirmed).await;
        if let Err(error) = removed {
            let name = &self.shared.config.name;
            tracing::error!(sink = %name, %error, "delivered again, but still kept as dead letters");
            told.text = Some(format!(
                "delivered, but the dead letters could not be removed: {error}"
            ));
        }
        if let Some(failure) = failure {
            told.text = Some(failure.text.clone());
            self.fail(failure.into());
        }
        tracing::info!(
            sink = %self.shared.config.name,
            delivered = told.delivered,
            refused = told.refused,
            unconfirmed = told.unconfirmed,
            "dead letters were delivered again, out of order"
        );
        // Whoever asked may have gone.
        drop(reply.send(told));
    }

    /// The sink did not take them.
    pub(super) fn fail_again(&mut self, letters: Return, failure: Option<Failure>) {
        let told = Retried {
            unconfirmed: u64::try_from(letters.ids.len()).unwrap_or(u64::MAX),
            text: failure.as_ref().map(|failure| failure.text.clone()),
            ..Retried::default()
        };
        if let Some(failure) = failure {
            self.fail(failure.into());
        }
        drop(letters.reply.send(told));
    }
}
