//! What an operator asks of a worker.

use tokio::sync::oneshot;

use super::handle::CommandError;
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
