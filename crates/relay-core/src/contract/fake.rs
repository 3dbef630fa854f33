//! A peer in memory that misbehaves on command, and its sink: what the suite itself is proven on.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{Fault, Peer, Seen};
use crate::sink::{Delivery, Failure, Next, Outcome, Outcomes, Sink, Warning};
use crate::{Cursor, Event};

/// A peer in memory. Cloning gives another handle to the same one.
#[derive(Clone, Debug, Default)]
pub struct FakePeer(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Counts changes of `fault`.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    fault: Option<Fault>,
    /// What is answered instead, once.
    failure: Option<Failure>,
    /// What becomes of the events of the next delivery that is answered.
    outcomes: Option<Vec<Outcome>>,
    warning: Option<Warning>,
    /// Deliveries that it was offered.
    offered: usize,
    /// Events that [`Fault::Partly`] has left out already.
    left_out: HashSet<u64>,
    /// Confirmations that wait for [`Peer::mend`].
    held: Vec<oneshot::Sender<()>>,
    connects: u32,
    closes: u32,
    /// When it refused last, and when it took something for the first time after that.
    refused_at: Option<Instant>,
    taken_at: Option<Instant>,
    /// The cursor that the peer keeps, if it keeps one.
    keeps: bool,
    kept: Option<Cursor>,
}

impl FakePeer {
    /// A peer that keeps the cursor itself, with the events.
    pub fn keeping() -> Self {
        let peer = Self::default();
        peer.state().keeps = true;
        peer
    }

    /// How often a sink has connected, or tried to.
    pub fn connects(&self) -> u32 {
        self.state().connects
    }

    /// How often a sink was closed.
    pub fn closes(&self) -> u32 {
        self.state().closes
    }

    /// Sets the cursor that the peer keeps.
    pub fn keep(&self, cursor: Cursor) {
        self.state().kept = Some(cursor);
    }

    /// The cursor that the peer keeps.
    pub fn kept(&self) -> Option<Cursor> {
        self.state().kept
    }

    /// Answers the next delivery with a failure.
    pub fn fail_once(&self, failure: Failure) {
        self.state().failure = Some(failure);
    }

    /// Answers one delivery, event by event.
    pub fn answer_once(&self, outcomes: Vec<Outcome>) {
        self.state().outcomes = Some(outcomes);
    }

    /// What a sink warns of once it is connected.
    pub fn warn(&self, warning: Option<Warning>) {
        self.state().warning = warning;
    }

    /// Returns once it was offered so many deliveries.
    pub async fn offered(&self, count: usize) {
        self.until(|state| state.offered >= count).await;
    }

    /// Returns once it has received so many events.
    pub async fn received(&self, count: usize) {
        self.until(|state| state.seen.len() >= count).await;
    }

    /// Returns once a sink has connected.
    pub async fn connected(&self) {
        self.until(|state| state.connects > 0).await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !condition(&self.state()) {
            // The sender lives as long as this handle.
            changed.changed().await.unwrap_or_default();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, fault: Option<Fault>) {
        let held = {
            let mut state = self.state();
            state.fault = fault;
            std::mem::take(&mut state.held)
        };
        for confirmation in held.into_iter().rev() {
            // A dropped confirmation is not waited for.
            confirmation.send(()).unwrap_or_default();
        }
        self.changed();
    }

    fn changed(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Waits while the fault lasts.
    async fn lasts(&self, fault: Fault) {
        self.until(|state| state.fault != Some(fault)).await;
    }

    /// How long it was left alone after it had refused last.
    pub fn left_alone(&self) -> Option<Duration> {
        let state = self.state();
        Some(state.taken_at?.duration_since(state.refused_at?))
    }

    fn refusal(&self) -> Option<Failure> {
        let mut state = self.state();
        let failure = Self::refuse(&mut state)?;
        (state.refused_at, state.taken_at) = (Some(Instant::now()), None);
        Some(failure)
    }

    fn refuse(state: &mut State) -> Option<Failure> {
        if let Some(failure) = state.failure.take() {
            return Some(failure);
        }
        let next = match state.fault? {
            Fault::Away => Next::Reconnect,
            Fault::Blocked => Next::Blocked,
            Fault::Gone => Next::Disabled,
            Fault::Stalled
            | Fault::Reversed
            | Fault::Partly
            | Fault::Hang
            | Fault::Poison
            | Fault::Panic => return None,
        };
        Some(Failure {
            next,
            text: "the fake peer refuses".into(),
            remedy: "mend it".into(),
        })
    }

    /// Takes events in.
    fn take(&self, delivery: &Delivery) -> Outcomes {
        let mut state = self.state();
        state.taken_at.get_or_insert_with(Instant::now);
        let mut answers = state.outcomes.take().into_iter().flatten();
        let outcomes = delivery.events().map(|event| match answers.next() {
            None | Some(Outcome::Confirmed) => state.take(event),
            Some(other) => other,
        });
        let outcomes: Vec<_> = outcomes.collect();
        if state.keeps
            && !delivery.again
            && outcomes
                .iter()
                .all(|outcome| *outcome == Outcome::Confirmed)
        {
            state.kept = state.kept.map(|kept| Cursor {
                offset: delivery.upto,
                ..kept
            });
        }
        drop(state);
        self.changed();
        if outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Confirmed)
        {
            Outcomes::Confirmed
        } else {
            Outcomes::Each(outcomes)
        }
    }
}

impl State {
    fn take(&mut self, event: &Event) -> Outcome {
        let head = event.head();
        let number = head.sequence.unwrap_or(0);
        if self.fault == Some(Fault::Partly) && number % 2 == 1 && self.left_out.insert(number) {
            return Outcome::Retry;
        }
        if self.fault == Some(Fault::Poison)
            && memchr::memmem::find(event.bytes(), b"poison").is_some()
        {
            return Outcome::Rejected("poison".into());
        }
        self.seen.push(Seen {
            number,
            key: head.key.to_owned(),
        });
        Outcome::Confirmed
    }
}

impl Peer for FakePeer {
    type Sink = FakeSink;

    fn sink(&self) -> impl FnMut() -> FakeSink + Send + 'static {
        let peer = self.clone();
        move || FakeSink { peer: peer.clone() }
    }

    async fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    async fn inject(&self, fault: Fault) -> bool {
        self.set(Some(fault));
        true
    }

    async fn mend(&self) {
        self.set(None);
    }
}

/// The sink of a [`FakePeer`].
#[derive(Debug)]
pub struct FakeSink {
    peer: FakePeer,
}

impl Sink for FakeSink {
    type Confirmation = Pin<Box<dyn Future<Output = Outcomes> + Send>>;

    async fn connect(&mut self) -> Result<Option<Cursor>, Failure> {
        self.peer.state().connects += 1;
        self.peer.changed();
        match self.peer.refusal() {
            Some(failure) => Err(failure),
            None => Ok(self.peer.state().kept),
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        self.peer.state().warning.clone().into_iter().collect()
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<Self::Confirmation, Failure> {
        self.peer.state().offered += 1;
        self.peer.changed();
        self.peer.lasts(Fault::Hang).await;
        if let Some(failure) = self.peer.refusal() {
            return Err(failure);
        }
        let fault = self.peer.state().fault;
        if fault == Some(Fault::Panic) {
            self.peer.set(None);
            std::panic::panic_any("the fake sink panics");
        }
        let peer = self.peer.clone();
        Ok(match fault {
            Some(Fault::Stalled) => Box::pin(async move {
                peer.lasts(Fault::Stalled).await;
                peer.refusal()
                    .map_or_else(|| peer.take(&delivery), Outcomes::Failed)
            }),
            Some(Fault::Reversed) => {
                let (release, released) = oneshot::channel();
                peer.state().held.push(release);
                let outcomes = peer.take(&delivery);
                Box::pin(async move {
                    released
                        .await
                        .map_or(Outcomes::Each(Vec::new()), |()| outcomes)
                })
            }
            Some(_) | None => Box::pin(std::future::ready(peer.take(&delivery))),
        })
    }

    async fn seek(&mut self, to: Cursor) -> Result<(), Failure> {
        let mut state = self.peer.state();
        if state.keeps {
            state.kept = Some(to);
        }
        Ok(())
    }

    async fn close(&mut self) {
        self.peer.state().closes += 1;
        self.peer.changed();
    }
}
