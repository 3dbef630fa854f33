//! What happens outside a connection: stop, intake's gate, deadlines, another token. It knows no
//! socket.

use std::sync::Arc;
use std::time::Duration;

use relay_core::admit::Gate;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::Secret;
use crate::rota::Moment;
use crate::session::{Input, Session};

/// How often the token is looked at while waiting for another one.
const TOKEN_LOOK: Duration = Duration::from_secs(1);

/// What happens outside the connection.
pub(crate) struct Signals {
    pub(crate) start: Instant,
    pub(crate) gate: watch::Receiver<Gate>,
    pub(crate) stop: CancellationToken,
    /// The token of the last attempt, `None` if it could not be read.
    pub(crate) token_seen: Option<Arc<str>>,
    pub(crate) is_stopping: bool,
    pub(crate) is_gate_gone: bool,
}

impl Signals {
    pub(crate) fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// A moment as the rest of the relay knows it.
    pub(crate) fn at(&self, moment: Option<Moment>) -> Option<std::time::Instant> {
        moment.map(|moment| (self.start + moment).into_std())
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self, session: &Session, token: &Secret) -> Input {
        let deadline = session.deadline();
        let watches_token = session.watches_token();
        let start = self.start;
        let token_seen = self.token_seen.clone();
        tokio::select! {
            biased;
            input = self.outside() => input,
            () = sleep_until(start + deadline.unwrap_or_default()), if deadline.is_some() => {
                Input::Tick
            }
            () = another(token, token_seen.as_deref()), if watches_token => {
                Input::TokenChanged
            }
        }
    }

    /// Stop, or what intake says of its gate: the next one. Without either, it waits. Cancel safe.
    pub(crate) async fn outside(&mut self) -> Input {
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !self.is_stopping => {
                self.is_stopping = true;
                Input::Stop
            }
            changed = self.gate.changed(), if !self.is_gate_gone => {
                if changed.is_ok() {
                    return Input::Gate(*self.gate.borrow_and_update());
                }
                // Intake has ended: whatever a socket brought now would be lost, and the upstream
                // would take it for delivered.
                self.is_gate_gone = true;
                Input::Stop
            }
            () = std::future::pending() => Input::Stop,
        }
    }
}

/// Waits until the token, or what its file holds, is another.
async fn another(token: &Secret, seen: Option<&str>) {
    loop {
        sleep(TOKEN_LOOK).await;
        if let Ok(now) = token.read().await
            && Some(&*now) != seen
        {
            return;
        }
    }
}
