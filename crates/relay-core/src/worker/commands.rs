//! What an operator asks of a worker, and how the worker hears of it without losing anything.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::handle::{CommandError, Shared};
use crate::{Cursor, From};

/// Where the answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// A request, answered when it is done.
#[derive(Debug)]
pub(super) enum Command {
    /// Stop delivering, durably.
    Pause(Reply<()>),
    /// Deliver again, whatever had stopped it; retry now.
    Resume(Reply<()>),
    /// Go on from elsewhere.
    Seek(From, Reply<Cursor>),
}

/// Answers; whoever asked may have gone.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, CommandError>) {
    drop(reply.send(result));
}

/// What interrupts a worker.
#[derive(Debug)]
pub(super) enum Signal {
    Stop,
    Command(Command),
}

/// The worker's ear.
#[derive(Debug)]
pub(super) struct Signals<'a> {
    commands: &'a mut mpsc::Receiver<Command>,
    stop: CancellationToken,
    heard: Option<Command>,
}

impl<'a> Signals<'a> {
    pub(super) fn new(commands: &'a mut mpsc::Receiver<Command>, stop: CancellationToken) -> Self {
        Self {
            commands,
            stop,
            heard: None,
        }
    }

    /// The next signal. Cancel safe.
    pub(super) async fn next(&mut self) -> Signal {
        self.raised().await;
        self.heard.take().map_or(Signal::Stop, Signal::Command)
    }

    /// Returns once a signal is there for [`Signals::next`]. Cancel safe.
    async fn raised(&mut self) {
        if self.heard.is_some() || self.stop.is_cancelled() {
            return;
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            command = self.commands.recv() => match command {
                Some(command) => self.heard = Some(command),
                None => self.stop.cancelled().await,
            },
        }
    }

    /// Returns when a signal has been there for as long as the sink is patient.
    pub(super) async fn overdue(&mut self, shared: &Shared) {
        self.raised().await;
        shared.patience().await;
    }
}
