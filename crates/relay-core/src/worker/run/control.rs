//! What an operator asks for: pause, resume, seek, stop.

use std::sync::Arc;

use super::{Command, Signal, SinkState, Step, Worker};
use crate::bus::Unmet;
use crate::sink::Sink;
use crate::worker::commands::answer;
use crate::worker::handle::{CommandError, Shared};
use crate::{Cursor, From};

impl<S: Sink> Worker<S> {
    /// Carries out a signal that came during `step`; returns the step to go on with.
    pub(super) async fn obey(&mut self, signal: Signal, step: Step) -> Step {
        let shared = Arc::clone(&self.ledger.shared);
        self.land_all(shared.patience()).await;
        match signal {
            Signal::Stop => Step::End,
            Signal::Command(Command::Pause(reply)) => {
                self.rest();
                self.ledger.shared.hold(SinkState::Paused);
                tracing::info!(sink = %self.ledger.shared.config.name, "paused by an operator");
                answer(reply, self.ledger.shared.flush().await);
                Step::Hold
            }
            Signal::Command(Command::Resume(reply)) => {
                self.resume(step);
                answer(reply, self.ledger.shared.flush().await);
                match step {
                    Step::Deliver => Step::Deliver,
                    Step::Connect | Step::Wait { .. } | Step::Hold | Step::End => Step::Connect,
                }
            }
            Signal::Command(Command::Seek(to, reply)) => {
                self.rest();
                let sought = self.seek(to).await;
                answer(reply, sought);
                // A wait may be over sooner by it: what was refused may lie behind.
                if step == Step::Hold {
                    Step::Hold
                } else {
                    Step::Connect
                }
            }
        }
    }

    /// Nothing is under way any more; what is not settled is delivered again.
    pub(super) fn rest(&mut self) {
        self.ground();
        self.ledger.window.roll_back();
        self.ledger.progress();
        self.ledger.trouble = None;
        self.supply.seek(self.ledger.window.cursor());
    }

    fn resume(&mut self, step: Step) {
        self.ledger.shared.release();
        self.ledger.rejections = 0;
        self.ledger.calm();
        if step == Step::Hold {
            self.ledger
                .shared
                .update(|row| row.state = SinkState::Running);
        }
        tracing::info!(sink = %self.ledger.shared.config.name, "resumed by an operator");
    }

    async fn seek(&mut self, to: From) -> Result<Cursor, CommandError> {
        let bus = self.supply.bus().clone();
        let resolved = bus.resolve(to).await;
        let (offset, unmet) =
            resolved.map_err(|error| CommandError::Unreadable(error.to_string()))?;
        match unmet {
            Some(Unmet::ForeignEpoch) => return Err(CommandError::ForeignEpoch(bus.epoch())),
            Some(Unmet::Future) => return Err(CommandError::Future(bus.cursor(bus.last()))),
            Some(Unmet::TooOld { .. }) | None => {}
        }
        let cursor = bus.cursor(offset);
        let taken = self.sink.seek(cursor).await;
        taken.map_err(|failure| CommandError::Refused(failure.text))?;
        self.start_over(offset);
        self.ledger.shared.move_to(offset);
        self.ledger.rejections = 0;
        self.ledger.calm();
        self.ledger.shared.flush().await?;
        tracing::info!(sink = %self.ledger.shared.config.name, %cursor, "sought by an operator");
        Ok(cursor)
    }
}

impl Shared {
    async fn flush(&self) -> Result<(), CommandError> {
        let flushed = self.context.store.flush().await;
        flushed.map_err(|error| CommandError::NotDurable(error.to_string()))
    }
}
