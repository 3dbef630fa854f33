//! One subscription's life as a state machine: when to connect, wait, close and give up.
//!
//! Times and happenings in, actions out. It knows no socket, no clock and no intake, so that hours of
//! rotations run in milliseconds under test. `subscription` drives it.

use std::time::Duration;

use relay_core::admit::{DisconnectReason, Gate};
use relay_core::status::{BackOffCause, SubscriptionState};

use crate::Backoffs;
use crate::failure::{End, Failure};
use crate::patience::Patience;
use crate::rota::{Moment, Window};

/// How long the peer's Close is waited for; and before that, its answer to a request.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// No byte for so long is a quiet moment.
const QUIET: Duration = Duration::from_secs(2);
/// How far from `session_length` a cut may be to be the expected one, at most.
const NEAR: Duration = Duration::from_mins(3);

/// What happens to it.
#[derive(Debug)]
pub(crate) enum Input {
    /// Its deadline has come.
    Tick,
    /// The connection that was asked for stands; when it may be reopened early.
    Opened(Option<Window>),
    /// It could not be made; whether another path is worth an attempt at once.
    Failed(Failure, bool),
    /// The open connection has ended by itself.
    Ended(End),
    /// Intake opens or closes the gate.
    Gate(Gate),
    /// The token is another.
    TokenChanged,
    /// A reopening that it asked for is granted, or not.
    Reopen(bool),
    /// The relay stops.
    Stop,
}

/// What it wants done, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Try to connect.
    Connect,
    /// Give the attempt up.
    Abort,
    /// Send Close, and read on.
    SendClose,
    /// Ask whether the others allow an early reopening.
    AskReopen,
    /// The connection is over: drop it, say why.
    Drop(DisconnectReason, String),
    /// An attempt has failed: say why.
    Report(DisconnectReason, String),
    /// Nothing more comes.
    Finish,
}

/// What it goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) silence: Duration,
    pub(crate) session_length: Duration,
    pub(crate) backoffs: Backoffs,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Moment,
    last_byte: Moment,
    reopen: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Until its turn (no cause), or after a failure.
    Waiting(Moment, Option<BackOffCause>),
    /// Whether the request is written: from then on the upstream may deliver.
    Connecting {
        is_asked: bool,
    },
    /// The request is written, and the connection is not wanted any more. Until when its answer is
    /// waited for: what comes behind it counts as delivered upstream.
    Leaving(DisconnectReason, Moment),
    Open(Open),
    /// Close is sent; until when the peer's is waited for.
    Closing(Open, DisconnectReason, Moment),
    /// The gate is closed.
    Parked,
    Finished,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Session {
    timing: Timing,
    state: State,
    gate: Gate,
    /// The connection being made follows an expected cut.
    is_rotating: bool,
    patience: Patience,
}

impl Session {
    /// A session that connects at a moment.
    pub(crate) fn new(timing: Timing, turn: Moment, gate: Gate, seed: u64) -> Self {
        Self {
            timing,
            state: State::Waiting(turn, None),
            gate,
            is_rotating: false,
            patience: Patience::new(timing.backoffs, timing.session_length, seed),
        }
    }

    /// When it wants a [`Input::Tick`].
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Waiting(until, _) | State::Leaving(_, until) | State::Closing(_, _, until) => {
                Some(until)
            }
            State::Open(open) => {
                let silence = open.last_byte + self.timing.silence;
                Some(open.reopen_at().map_or(silence, |at| at.min(silence)))
            }
            State::Connecting { .. } | State::Parked | State::Finished => None,
        }
    }

    /// What `/v1/status` says.
    pub(crate) fn status(&self) -> SubscriptionState {
        match self.state {
            State::Waiting(_, Some(cause)) => SubscriptionState::BackingOff(cause),
            State::Connecting { .. } if self.is_rotating => SubscriptionState::Rotating,
            State::Waiting(_, None) | State::Connecting { .. } => SubscriptionState::Connecting,
            State::Open(_) => SubscriptionState::Streaming,
            State::Closing(_, DisconnectReason::Planned, _) => SubscriptionState::Rotating,
            State::Leaving(..) | State::Closing(..) | State::Parked | State::Finished => {
                SubscriptionState::Stopped
            }
        }
    }

    /// Whether a changed token is worth an attempt at once.
    pub(crate) fn watches_token(&self) -> bool {
        matches!(
            self.state,
            State::Waiting(_, Some(BackOffCause::Auth | BackOffCause::Refused))
        )
    }

    /// Whether a connection is being made.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. } | State::Leaving(..))
    }

    /// The request of the connection that is being made is written.
    pub(crate) fn asked(&mut self) {
        if let State::Connecting { is_asked } = &mut self.state {
            *is_asked = true;
        }
    }

    /// Whether it is over.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Failures and short sessions since the last progress.
    pub(crate) fn failures(&self) -> u32 {
        self.patience.failures()
    }

    /// How long it waits from now on.
    pub(crate) fn waits(&self, now: Moment) -> Option<(BackOffCause, Duration)> {
        match self.state {
            State::Waiting(until, Some(cause)) => Some((cause, until.saturating_sub(now))),
            State::Waiting(_, None)
            | State::Connecting { .. }
            | State::Leaving(..)
            | State::Open(_)
            | State::Closing(..)
            | State::Parked
            | State::Finished => None,
        }
    }

    /// Bytes arrived, and with them documents (heartbeats included): only these are progress.
    pub(crate) fn received(&mut self, now: Moment, documents: usize) {
        let (State::Open(open) | State::Closing(open, ..)) = &mut self.state else {
            return;
        };
        open.last_byte = now;
        if documents > 0 {
            let age = now.saturating_sub(open.since);
            self.patience.progress(age);
        }
    }

    /// Reading goes on after it was held up: the peer's Close may lie unread.
    pub(crate) fn reads_again(&mut self, now: Moment) {
        if let State::Closing(_, _, until) = &mut self.state {
            *until = (*until).max(now + CLOSE_TIMEOUT);
        }
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, now: Moment, input: Input) -> Vec<Action> {
        match input {
            Input::Tick => self.tick(now),
            Input::Opened(reopen) => self.opened(now, reopen),
            Input::Failed(failure, try_other) => self.failed(now, &failure, try_other),
            Input::Ended(end) => self.ended(now, &end),
            Input::Gate(gate) => self.gate(now, gate),
            Input::TokenChanged if self.watches_token() => self.connect(),
            Input::TokenChanged => vec![],
            Input::Reopen(granted) => self.reopen(now, granted),
            Input::Stop => self.stop(now),
        }
    }

    fn tick(&mut self, now: Moment) -> Vec<Action> {
        match self.state {
            State::Waiting(until, _) if now >= until => self.connect(),
            State::Leaving(why, until) if now >= until => self.give_up(why),
            State::Closing(_, why, until) if now >= until => {
                let text = "no Close came back within 5 s".to_owned();
                let mut actions = vec![Action::Drop(why, text)];
                actions.extend(self.closed(now, why, false));
                actions
            }
            State::Open(open) if now >= open.last_byte + self.timing.silence => {
                self.wait(now, BackOffCause::Network, None);
                let text = format!("no byte for {} s", self.timing.silence.as_secs());
                vec![
                    Action::SendClose,
                    Action::Drop(DisconnectReason::Silence, text),
                ]
            }
            State::Open(open) if open.reopen_at().is_some_and(|at| now >= at) => {
                vec![Action::AskReopen]
            }
            State::Waiting(..)
            | State::Connecting { .. }
            | State::Leaving(..)
            | State::Open(_)
            | State::Closing(..)
            | State::Parked
            | State::Finished => vec![],
        }
    }

    fn connect(&mut self) -> Vec<Action> {
        match self.gate {
            Gate::Open => {
                self.state = State::Connecting { is_asked: false };
                vec![Action::Connect]
            }
            Gate::Full => {
                self.state = State::Parked;
                vec![]
            }
        }
    }

    fn opened(&mut self, now: Moment, reopen: Option<Window>) -> Vec<Action> {
        self.is_rotating = false;
        let open = Open {
            since: now,
            last_byte: now,
            reopen,
        };
        if let State::Leaving(why, _) = self.state {
            return self.close(now, open, why);
        }
        self.state = State::Open(open);
        vec![]
    }

    fn failed(&mut self, now: Moment, failure: &Failure, try_other: bool) -> Vec<Action> {
        if let State::Leaving(why, _) = self.state
            && (try_other || why == DisconnectReason::Shutdown)
        {
            return self.give_up(why);
        }
        if try_other {
            return self.connect();
        }
        self.wait(now, failure.cause(), failure.retry_after());
        vec![Action::Report(failure.reason(), failure.to_string())]
    }

    fn ended(&mut self, now: Moment, end: &End) -> Vec<Action> {
        let open = match self.state {
            State::Open(open) => open,
            State::Closing(_, why, _) => {
                let mut actions = vec![Action::Drop(why, end.to_string())];
                actions.extend(self.closed(now, why, true));
                return actions;
            }
            State::Waiting(..)
            | State::Connecting { .. }
            | State::Leaving(..)
            | State::Parked
            | State::Finished => return vec![],
        };
        let age = now.saturating_sub(open.since);
        let is_protocol = matches!(end, End::Protocol(_));
        if !is_protocol && self.is_expected(age) {
            self.patience.rotated();
            self.is_rotating = true;
            let mut actions = vec![Action::Drop(DisconnectReason::Rotation, end.to_string())];
            actions.extend(self.connect());
            return actions;
        }
        let is_loop = self.patience.is_loop(age);
        let reason = match end {
            End::Protocol(_) => DisconnectReason::Protocol,
            End::Close(_) | End::Eof if is_loop => DisconnectReason::Quota,
            End::Close(_) => DisconnectReason::ClosedByPeer,
            End::Eof | End::Io(_) => DisconnectReason::Network,
        };
        let cause = if is_loop {
            BackOffCause::Quota
        } else {
            BackOffCause::Network
        };
        self.wait(now, cause, None);
        let hint = if reason == DisconnectReason::Quota {
            ", again and again: does another client use this id, or are three connected?"
        } else {
            ""
        };
        vec![Action::Drop(reason, format!("{end}{hint}"))]
    }

    fn gate(&mut self, now: Moment, gate: Gate) -> Vec<Action> {
        self.gate = gate;
        match (gate, self.state) {
            (Gate::Full, State::Connecting { is_asked: true }) => {
                self.leave(now, DisconnectReason::DiskFull)
            }
            (Gate::Full, State::Connecting { is_asked: false }) => {
                self.give_up(DisconnectReason::DiskFull)
            }
            (Gate::Open, State::Leaving(DisconnectReason::DiskFull, _)) => {
                self.state = State::Connecting { is_asked: true };
                vec![]
            }
            (Gate::Full, State::Open(open)) => self.close(now, open, DisconnectReason::DiskFull),
            (Gate::Open, State::Parked) => self.connect(),
            (Gate::Open | Gate::Full, _) => vec![],
        }
    }

    fn reopen(&mut self, now: Moment, granted: bool) -> Vec<Action> {
        let State::Open(open) = &mut self.state else {
            return vec![];
        };
        open.reopen = None;
        let open = *open;
        if !granted {
            return vec![];
        }
        self.close(now, open, DisconnectReason::Planned)
    }

    fn stop(&mut self, now: Moment) -> Vec<Action> {
        match self.state {
            State::Open(open) => self.close(now, open, DisconnectReason::Shutdown),
            State::Closing(open, _, until) => {
                self.state = State::Closing(open, DisconnectReason::Shutdown, until);
                vec![]
            }
            State::Finished => vec![],
            State::Connecting { is_asked: true } => self.leave(now, DisconnectReason::Shutdown),
            State::Connecting { is_asked: false } => self.give_up(DisconnectReason::Shutdown),
            State::Leaving(_, until) => {
                self.state = State::Leaving(DisconnectReason::Shutdown, until);
                vec![]
            }
            State::Waiting(..) | State::Parked => {
                self.state = State::Finished;
                vec![Action::Finish]
            }
        }
    }

    fn leave(&mut self, now: Moment, why: DisconnectReason) -> Vec<Action> {
        self.state = State::Leaving(why, now + CLOSE_TIMEOUT);
        vec![]
    }

    /// The attempt is not worth waiting for.
    fn give_up(&mut self, why: DisconnectReason) -> Vec<Action> {
        if why == DisconnectReason::Shutdown {
            self.state = State::Finished;
            return vec![Action::Abort, Action::Finish];
        }
        self.state = State::Parked;
        vec![Action::Abort]
    }

    fn close(&mut self, now: Moment, open: Open, why: DisconnectReason) -> Vec<Action> {
        self.state = State::Closing(open, why, now + CLOSE_TIMEOUT);
        vec![Action::SendClose]
    }

    /// A connection that we closed is gone; whether the peer agreed.
    fn closed(&mut self, now: Moment, why: DisconnectReason, agreed: bool) -> Vec<Action> {
        if why == DisconnectReason::Shutdown {
            self.state = State::Finished;
            return vec![Action::Finish];
        }
        if why == DisconnectReason::Planned && !agreed {
            // The upstream may hold the old session for open: not at once.
            self.wait(now, BackOffCause::Network, None);
            return vec![];
        }
        self.is_rotating = why == DisconnectReason::Planned;
        self.connect()
    }

    fn wait(&mut self, now: Moment, cause: BackOffCause, asked: Option<Duration>) {
        let wait = self.patience.after(cause, asked);
        self.is_rotating = false;
        self.state = State::Waiting(now + wait, Some(cause));
    }

    /// Whether a session of this age was due to be cut.
    fn is_expected(&self, age: Duration) -> bool {
        let length = self.timing.session_length;
        let least = Duration::from_secs(1).min(length / 4);
        let near = (length / 20).max(least).min(NEAR);
        // Late is told by a busy machine or a lazy timer: the room is never less than seconds.
        age + near >= length && age <= length + near.max(CLOSE_TIMEOUT)
    }
}

impl Open {
    /// The quiet moment in its window, or the window's end.
    fn reopen_at(&self) -> Option<Moment> {
        let window = self.reopen?;
        Some((self.last_byte + QUIET).max(window.from).min(window.until))
    }
}

#[cfg(test)]
mod tests;
