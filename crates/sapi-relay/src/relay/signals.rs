//! Owns the process's signals: SIGTERM and SIGINT stop, a second one stops at once, SIGHUP reloads.

use std::time::Duration;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long an echo of a signal may take.
const ECHO: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Stop,
    Reload,
}

/// The signals, from when this was made on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    also: CancellationToken,
}

impl Signals {
    /// Listens to signals, and to a token that stops as a signal does.
    pub(crate) fn new(also: CancellationToken) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            also,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            () = self.also.cancelled() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Waits for one more that stops. What comes within half a second of the first is its echo: a
    /// terminal and `timeout` signal both the group and the process.
    pub(super) async fn stop_at_once(&mut self) {
        let echo = tokio::time::sleep(ECHO);
        let mut echo = std::pin::pin!(echo);
        loop {
            tokio::select! {
                () = &mut echo => break,
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
