//! Drives one subscription: does what its session decides, and tells intake, board, metrics and log.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relay_core::Admit;
use relay_core::admit::{Connected, DisconnectReason, Disconnected, Received, Stopped};
use relay_core::status::{SubscriptionBoard, SubscriptionState};
use relay_core::storm::Storm;
use sapi_protocol::PathStyle;
use tracing::{debug, error, info, warn};

use crate::UpstreamConfig;
use crate::dial::{Opened, dial};
use crate::failure::Failure;
use crate::link::{Batch, Link};
use crate::meters::Meters;
use crate::path::PathSearch;
use crate::rota::{Moment, Rota};
use crate::session::{Action, Input, Session};
use crate::signals::Signals;

/// The end of a connection that stood for so long is told in any case.
const LASTING: Duration = Duration::from_mins(5);

/// One subscription and all it holds.
pub(crate) struct Subscription<A> {
    pub(crate) id: Arc<str>,
    pub(crate) index: usize,
    pub(crate) config: Arc<UpstreamConfig>,
    pub(crate) admit: A,
    pub(crate) session: Session,
    pub(crate) path: PathSearch,
    pub(crate) meters: Meters,
    pub(crate) board: Arc<SubscriptionBoard>,
    pub(crate) rota: Arc<Mutex<Rota>>,
    pub(crate) signals: Signals,
    pub(crate) link: Option<Link>,
    /// When the present connection was made.
    pub(crate) opened_at: Moment,
    pub(crate) connects: Storm,
    /// The present connection was worth a line: so are its end, and that documents arrive.
    pub(crate) is_told: bool,
}

impl<A: Admit> Subscription<A> {
    /// Runs until the relay stops, or intake does.
    pub(crate) async fn run(mut self) -> Result<(), Stopped> {
        let outcome = self.live().await;
        self.due(None);
        if let (Err(_), Some(mut link)) = (&outcome, self.link.take()) {
            // Nobody takes what arrives: leave, so that the upstream keeps it.
            link.send_close().await;
            drop(link.finish().await);
            self.meters.disconnected(DisconnectReason::Shutdown);
        }
        outcome
    }

    async fn live(&mut self) -> Result<(), Stopped> {
        while !self.session.is_finished() {
            self.show();
            let input = if self.session.is_connecting() {
                self.connect().await?
            } else {
                self.listen().await?
            };
            if let Some(input) = input {
                let actions = self.session.handle(self.signals.now(), input);
                self.perform(actions.into()).await?;
            }
        }
        self.show();
        Ok(())
    }

    /// Makes one attempt, unless the session gives it up meanwhile.
    async fn connect(&mut self) -> Result<Option<Input>, Stopped> {
        let (style, asked) = (self.path.style(), AtomicBool::new(false));
        let mut attempt = pin!(attempt(
            Arc::clone(&self.config),
            Arc::clone(&self.id),
            style,
            &asked
        ));
        let (seen, result) = loop {
            let input = tokio::select! {
                biased;
                input = self.signals.next(&self.session, &self.config.token) => input,
                attempt = &mut attempt => break attempt,
            };
            if asked.load(Relaxed) {
                self.session.asked();
            }
            let actions = self.session.handle(self.signals.now(), input);
            if actions.contains(&Action::Abort) {
                return Ok(None);
            }
            self.show();
        };
        self.signals.token_seen = seen;
        match result {
            Ok(opened) => self.opened(opened, style).await.map(|()| None),
            Err(failure) => {
                let try_other = failure.is_not_found() && self.path.not_found();
                Ok(Some(Input::Failed(failure, try_other)))
            }
        }
    }

    async fn opened(&mut self, opened: Opened, style: PathStyle) -> Result<(), Stopped> {
        self.path.accepted();
        self.link = Some(Link::new(opened, &self.config));
        let (now, at_ms) = (self.signals.now(), unix_ms());
        self.opened_at = now;
        let again = self.meters.has_connected();
        self.meters.connected();
        let length_ms = u64::try_from(self.config.session_length.as_millis()).unwrap_or(u64::MAX);
        self.board.update(|row| {
            row.reconnects += u64::from(again);
            row.connected_at_ms = Some(at_ms);
            row.expected_cut_at_ms = Some(at_ms.saturating_add(length_ms));
        });
        let connects = self.connects.strike();
        self.is_told = connects.is_some();
        if let Some(connects) = connects {
            info!(subscription = %self.id, path = ?style, connects, "connected upstream");
        }
        let subscription = Arc::clone(&self.id);
        let connected = Connected {
            subscription,
            at_ms,
        };
        let window = self.rota().opened(self.index, now);
        let actions = self.session.handle(now, Input::Opened(window));
        self.perform(actions.into()).await?;
        let admit = self.admit.clone();
        self.attend(admit.connected(connected)).await?;
        // What was sent meanwhile is unread: that is no silence, and the peer's Close may be there.
        let now = self.signals.now();
        self.session.received(now, 0);
        self.session.reads_again(now);
        Ok(())
    }

    /// Waits for what comes next, on the connection or otherwise.
    async fn listen(&mut self) -> Result<Option<Input>, Stopped> {
        let signal = self.signals.next(&self.session, &self.config.token);
        let Some(link) = &mut self.link else {
            return Ok(Some(signal.await));
        };
        let batch = tokio::select! {
            biased;
            input = signal => return Ok(Some(input)),
            batch = link.receive() => batch,
        };
        self.hand_over(batch).await
    }

    async fn hand_over(&mut self, batch: Batch) -> Result<Option<Input>, Stopped> {
        let at_ms = unix_ms();
        // The end of a connection is none.
        if batch.bytes > 0 {
            self.board.bytes_at(at_ms);
            self.meters.bytes(batch.bytes, Duration::from_millis(at_ms));
        }
        let counted = self.meters.documents(&batch.framed);
        if counted.events > 0 {
            self.board.event_at(at_ms);
        }
        self.admit(at_ms, batch.framed).await?;
        if let Some(link) = &mut self.link {
            link.reply().await;
        }
        let (now, failures) = (self.signals.now(), self.session.failures());
        self.session.received(now, counted.documents);
        self.meters.age(now.saturating_sub(self.opened_at));
        if failures > self.session.failures() {
            if self.is_told || failures > 1 {
                info!(subscription = %self.id, failures, "recovered: documents arrive");
            }
            self.board.update(|row| row.last_error = None);
        }
        Ok(batch.end.map(Input::Ended))
    }

    /// Hands documents to intake.
    async fn admit(
        &mut self,
        at_ms: u64,
        documents: Vec<sapi_protocol::Framed>,
    ) -> Result<(), Stopped> {
        if documents.is_empty() {
            return Ok(());
        }
        let subscription = Arc::clone(&self.id);
        let received = Received {
            subscription,
            at_ms,
            documents,
        };
        let admit = self.admit.clone();
        self.attend(admit.documents(received)).await
    }

    /// Waits for intake. While that waits for the disk nothing is read, but a Close that is wanted now
    /// is sent now: what the upstream has not written yet, it keeps.
    async fn attend(
        &mut self,
        admitting: impl Future<Output = Result<(), Stopped>>,
    ) -> Result<(), Stopped> {
        // The disk may take its time: whether it does is intake's to say.
        self.due(None);
        let mut admitting = pin!(admitting);
        let mut was_asked = false;
        let admitted = loop {
            let input = tokio::select! {
                biased;
                admitted = &mut admitting => break admitted,
                input = self.signals.outside() => input,
            };
            was_asked = true;
            let actions = self.session.handle(self.signals.now(), input);
            // Of what these two can ask for, the rest is seen in the session's state.
            if let Some(link) = &mut self.link
                && actions.contains(&Action::SendClose)
            {
                link.send_close().await;
            }
            self.show();
            self.due(None);
        };
        self.due(Some(self.signals.now()));
        if was_asked {
            self.session.reads_again(self.signals.now());
        }
        admitted
    }

    async fn perform(&mut self, mut actions: VecDeque<Action>) -> Result<(), Stopped> {
        while let Some(action) = actions.pop_front() {
            match action {
                // The loop in `run` sees what the session does now.
                Action::Connect | Action::Abort | Action::Finish => {}
                Action::SendClose => {
                    if let Some(link) = &mut self.link {
                        link.send_close().await;
                    }
                }
                Action::AskReopen => {
                    let granted = self.rota().may_reopen(self.index);
                    let input = Input::Reopen(granted);
                    actions.extend(self.session.handle(self.signals.now(), input));
                }
                Action::Drop(reason, text) => self.drop_link(reason, text).await?,
                Action::Report(reason, text) => {
                    self.meters.count_end(reason);
                    self.log_failure(reason, &text);
                    self.board.update(|row| row.last_error = Some(text));
                }
            }
        }
        Ok(())
    }

    /// The connection is over: the last of it is handed over, then the news.
    async fn drop_link(&mut self, reason: DisconnectReason, detail: String) -> Result<(), Stopped> {
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        let rest = link.finish().await;
        let at_ms = unix_ms();
        self.admit(at_ms, rest.into_iter().collect()).await?;
        self.meters.disconnected(reason);
        self.rota()
            .ended(self.index, reason == DisconnectReason::Planned);
        self.log_end(reason, &detail);
        let is_error = !is_expected(reason);
        self.board.update(|row| {
            row.connected_at_ms = None;
            row.ended_silent = reason == DisconnectReason::Silence;
            row.expected_cut_at_ms = None;
            if is_error {
                row.last_error = Some(detail.clone());
            }
        });
        let subscription = Arc::clone(&self.id);
        let ended = Disconnected {
            subscription,
            at_ms,
            reason,
            detail,
        };
        self.due(None);
        self.admit.disconnected(ended).await
    }

    fn log_end(&self, reason: DisconnectReason, detail: &str) {
        let (id, now) = (&self.id, self.signals.now());
        let age_s = now.saturating_sub(self.opened_at).as_secs();
        let reason_text = reason.as_str();
        if !self.is_told && age_s < LASTING.as_secs() {
            debug!(subscription = %id, reason = reason_text, age_s, detail, "disconnected");
        } else if is_expected(reason) {
            info!(subscription = %id, reason = reason_text, age_s, detail, "disconnected");
        } else if self.session.failures().is_power_of_two() {
            let failures = self.session.failures();
            let wait_s = self
                .session
                .waits(now)
                .map_or(0.0, |(_, wait)| wait.as_secs_f64());
            warn!(
                subscription = %id, reason = reason_text, age_s, failures, wait_s, detail,
                "disconnected, coming back"
            );
        }
    }

    /// The first failure in a row is told, then every power of two.
    fn log_failure(&self, reason: DisconnectReason, detail: &str) {
        let (id, failures) = (&self.id, self.session.failures());
        if !failures.is_power_of_two() {
            return;
        }
        let wait = self.session.waits(self.signals.now());
        let wait_s = wait.map_or(0.0, |(_, wait)| wait.as_secs_f64());
        let reason_text = reason.as_str();
        let needs_operator = matches!(reason, DisconnectReason::Auth | DisconnectReason::Refused);
        if needs_operator {
            error!(subscription = %id, reason = reason_text, failures, wait_s, detail, "refused upstream");
        } else {
            warn!(subscription = %id, reason = reason_text, failures, wait_s, detail, "can't connect upstream");
        }
    }

    /// Shows the session's state on the board.
    fn show(&self) {
        let state = self.session.status();
        let due = self.signals.at(self.session.deadline());
        self.board.update(|row| {
            row.due = due;
            if row.state != state || row.since_ms == 0 {
                row.state = state;
                row.since_ms = unix_ms();
            }
            if state == SubscriptionState::Streaming {
                return;
            }
            row.expected_cut_at_ms = row.expected_cut_at_ms.filter(|_| self.link.is_some());
        });
    }

    /// Until when the loop comes round again.
    fn due(&self, moment: Option<Moment>) {
        let due = self.signals.at(moment);
        self.board.update(|row| row.due = due);
    }

    fn rota(&self) -> MutexGuard<'_, Rota> {
        self.rota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the token and connects with it; which token that was. `asked`: as [`dial`] says.
async fn attempt(
    config: Arc<UpstreamConfig>,
    subs_id: Arc<str>,
    style: PathStyle,
    asked: &AtomicBool,
) -> (Option<Arc<str>>, Result<Opened, Failure>) {
    match config.token.read().await {
        Err(error) => (None, Err(Failure::Token(error))),
        Ok(token) => {
            let opened = dial(&config, &subs_id, style, &token, asked).await;
            (Some(token), opened)
        }
    }
}

fn is_expected(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::Rotation
            | DisconnectReason::Planned
            | DisconnectReason::Shutdown
            | DisconnectReason::DiskFull
    )
}

/// Now, in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
