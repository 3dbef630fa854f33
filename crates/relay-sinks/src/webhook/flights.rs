//! Deliveries under way: cut into calls, sent by so many tasks as may send at once, put together again. It
//! owns the gate of the endpoint, and knows neither requests nor how long to wait.
//!
//! # The gate
//! One failure closes it for every call: what is not sent comes back as not delivered, at once, so that
//! the worker learns of it and waits. What is handed over before the worker has heard of all that was
//! under way comes back as well. After that the gate lets one call through at a time, until one is taken.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use relay_core::sink::{Delivery, Failure, Next, Outcome, Outcomes};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Mode;
use super::answer::Answer;
use super::endpoint::Endpoint;
use super::lanes::{CallId, Lanes};
use super::request::Form;

#[cfg(test)]
mod tests;

/// A batch is split no further when so many of its events in a row were refused: then it is the endpoint
/// that refuses everything, and the worker decides.
const HOPELESS: usize = 100;

/// Deliveries under way on one connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Flights {
    shared: Arc<Shared>,
    _lanes: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    form: Form,
    concurrency: usize,
    hasher: RandomState,
    state: Mutex<State>,
    /// Something may be sent.
    wake: Notify,
    /// Something was sent, or the gate has closed.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    lanes: Lanes<Call>,
    flights: HashMap<u64, Flight>,
    next: u64,
    /// Confirmations that the worker has not heard yet.
    unheard: usize,
    gate: Gate,
}

#[derive(Debug)]
enum Gate {
    Open,
    /// One call at a time.
    Probing,
    Closed(Failure),
}

#[derive(Debug)]
struct Flight {
    outcomes: Vec<Outcome>,
    /// Calls whose outcomes are not known.
    left: usize,
    failure: Option<Failure>,
    landed: oneshot::Sender<Outcomes>,
    given_up: CancellationToken,
}

/// Events of a flight that travel together.
#[derive(Debug)]
struct Call {
    flight: u64,
    delivery: Arc<Delivery>,
    events: Range<usize>,
}

impl Flights {
    pub(super) fn new(endpoint: Endpoint, form: Form, concurrency: usize) -> Self {
        let shared = Arc::new(Shared {
            endpoint,
            form,
            concurrency,
            hasher: RandomState::new(),
            state: Mutex::new(State {
                lanes: Lanes::new(),
                flights: HashMap::new(),
                next: 0,
                unheard: 0,
                gate: Gate::Probing,
            }),
            wake: Notify::new(),
            moved: Notify::new(),
        });
        let mut lanes = JoinSet::new();
        for _ in 0..concurrency {
            lanes.spawn(lane(Arc::clone(&shared)));
        }
        Self {
            shared,
            _lanes: lanes,
        }
    }

    /// Hands a delivery over. A batch is handed over once it is sent: what comes meanwhile makes the next
    /// one larger.
    pub(super) async fn start(&mut self, delivery: Delivery) -> Confirmation {
        let confirmation = self.shared.start(&Arc::new(delivery));
        if self.shared.form.mode == Mode::Batch {
            self.shared.all_sent().await;
        }
        confirmation
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once nothing waits to be sent.
    async fn all_sent(&self) {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.lock().waiting() == 0 {
                return;
            }
            moved.await;
        }
    }

    fn start(self: &Arc<Self>, delivery: &Arc<Delivery>) -> Confirmation {
        let (landed, outcomes) = oneshot::channel();
        let mut state = self.lock();
        let flight = state.next;
        state.next += 1;
        let stay = match &state.gate {
            Gate::Closed(failure) if state.unheard > 0 => Some(failure.clone()),
            Gate::Closed(_) => {
                state.gate = Gate::Probing;
                None
            }
            Gate::Open | Gate::Probing => None,
        };
        state.unheard += 1;
        if let Some(failure) = stay {
            // Whoever listens has just been made.
            landed.send(Outcomes::Failed(failure)).unwrap_or_default();
        } else {
            let calls = self.calls(flight, delivery);
            state.flights.insert(
                flight,
                Flight {
                    outcomes: vec![Outcome::Retry; delivery.len()],
                    left: calls.len(),
                    failure: None,
                    landed,
                    given_up: CancellationToken::new(),
                },
            );
            for (keys, call) in calls {
                state.lanes.push(keys, call);
            }
            self.wake_for(&state);
        }
        drop(state);
        Confirmation {
            outcomes,
            _heard: Heard {
                shared: Arc::clone(self),
                flight,
            },
        }
    }

    /// A delivery's calls, each with its keys.
    fn calls(&self, flight: u64, delivery: &Arc<Delivery>) -> Vec<(Vec<u64>, Call)> {
        let keys = delivery.events();
        let keys = keys.map(|event| self.hasher.hash_one(event.head().key));
        let call = |events| Call {
            flight,
            delivery: Arc::clone(delivery),
            events,
        };
        match self.form.mode {
            Mode::Batch => vec![(keys.collect(), call(0..delivery.len()))],
            Mode::Single => keys
                .enumerate()
                .map(|(index, key)| (vec![key], call(index..index + 1)))
                .collect(),
        }
    }

    /// Wakes as many tasks as there is to send. Those that are sending look by themselves.
    fn wake_for(&self, state: &State) {
        let idle = self.concurrency.saturating_sub(state.lanes.sent());
        for _ in 0..state.lanes.ready().min(idle) {
            self.wake.notify_one();
        }
    }

    /// The next call to send, if one may be sent.
    fn take(self: &Arc<Self>) -> Option<Sending> {
        let mut state = self.lock();
        loop {
            match state.gate {
                Gate::Closed(_) => return None,
                Gate::Probing if state.lanes.sent() > 0 => return None,
                Gate::Open | Gate::Probing => {}
            }
            let (id, call) = state.lanes.take()?;
            let Some(flight) = state.flights.get(&call.flight) else {
                state.lanes.done(id);
                continue;
            };
            let given_up = flight.given_up.clone();
            drop(state);
            self.moved.notify_waiters();
            return Some(Sending {
                shared: Arc::clone(self),
                id,
                call,
                given_up,
                result: Sent::lost(),
            });
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.lock().gate, Gate::Closed(_))
    }

    /// Sends a call. A refused batch is sent again in halves, until the refused events stand alone.
    async fn send(&self, call: &Call) -> Sent {
        let mut sent = Sent {
            outcomes: Vec::with_capacity(call.events.len()),
            failure: None,
            answered: false,
        };
        let mut parts = vec![call.events.clone()];
        let mut refused = 0;
        // In order, so that the outcomes are too.
        while let Some(part) = parts.pop() {
            let count = part.len();
            let content = self.form.content(&call.delivery, part.clone());
            match self.endpoint.post(content).await {
                Answer::Delivered => {
                    sent.outcomes.extend((0..count).map(|_| Outcome::Confirmed));
                    refused = 0;
                }
                Answer::Rejected(reason) if count <= 1 => {
                    sent.outcomes.push(Outcome::Rejected(reason));
                    refused += 1;
                }
                Answer::Rejected(_) => {
                    let middle = part.start + count / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
                Answer::Failed(failure) => {
                    sent.failure = Some(failure);
                    return sent;
                }
            }
            sent.answered = true;
            if parts.is_empty() || self.is_closed() {
                break;
            }
            if refused >= HOPELESS {
                // Or what follows of the same keys would overtake the events that are left.
                sent.failure = Some(hopeless());
                break;
            }
        }
        sent
    }
}

impl State {
    /// How many calls are not sent yet.
    fn waiting(&self) -> usize {
        self.lanes.len() - self.lanes.sent()
    }

    /// A call is over.
    fn finish(&mut self, id: CallId, call: &Call, sent: Sent) {
        self.lanes.done(id);
        if let Some(failure) = &sent.failure {
            self.close(failure);
        } else if sent.answered && matches!(self.gate, Gate::Probing) {
            self.gate = Gate::Open;
        }
        if let Some(flight) = self.flights.get_mut(&call.flight) {
            let slots = flight.outcomes.get_mut(call.events.clone());
            let slots = slots.unwrap_or_default().iter_mut();
            for (slot, outcome) in slots.zip(sent.outcomes) {
                *slot = outcome;
            }
            flight.failure = sent.failure.or(flight.failure.take());
        }
        self.less(call.flight);
    }

    /// Nothing is sent from here on; what was not sent comes back.
    fn close(&mut self, failure: &Failure) {
        if !matches!(self.gate, Gate::Closed(_)) {
            self.gate = Gate::Closed(failure.clone());
        }
        for call in self.lanes.give_up(|_| true) {
            if let Some(flight) = self.flights.get_mut(&call.flight) {
                flight.failure.get_or_insert_with(|| failure.clone());
            }
            self.less(call.flight);
        }
    }

    /// One call less; after the last the flight lands.
    fn less(&mut self, name: u64) {
        let Some(flight) = self.flights.get_mut(&name) else {
            return;
        };
        flight.left -= 1;
        if flight.left > 0 {
            return;
        }
        let Some(flight) = self.flights.remove(&name) else {
            return;
        };
        let outcomes = flight.outcomes;
        let confirmed = |outcome: &Outcome| *outcome == Outcome::Confirmed;
        let outcomes = match flight.failure {
            Some(failure) => Outcomes::Partly(outcomes, failure),
            None if outcomes.iter().all(confirmed) => Outcomes::Confirmed,
            None => Outcomes::Each(outcomes),
        };
        // The worker may have stopped listening.
        flight.landed.send(outcomes).unwrap_or_default();
    }
}

/// What became of a call: one outcome an event, as far as they are known.
#[derive(Debug)]
struct Sent {
    outcomes: Vec<Outcome>,
    failure: Option<Failure>,
    answered: bool,
}

impl Sent {
    /// Nothing is known.
    fn lost() -> Self {
        Self {
            outcomes: Vec::new(),
            failure: Some(Failure {
                next: Next::Reconnect,
                text: "a request was interrupted".to_owned(),
                remedy: String::new(),
            }),
            answered: false,
        }
    }

    /// Nobody wants to know.
    fn unwanted() -> Self {
        Self {
            failure: None,
            ..Self::lost()
        }
    }
}

/// What a batch comes back with that is split no further.
fn hopeless() -> Failure {
    Failure {
        next: Next::Retry,
        text: format!("the endpoint refuses one event after the other: {HOPELESS} in a row"),
        remedy: String::new(),
    }
}

/// A call that is sent. However it ends, its outcome is told.
#[derive(Debug)]
struct Sending {
    shared: Arc<Shared>,
    id: CallId,
    call: Call,
    given_up: CancellationToken,
    result: Sent,
}

impl Sending {
    async fn run(mut self) {
        let Self {
            shared,
            call,
            given_up,
            result,
            ..
        } = &mut self;
        *result = tokio::select! {
            biased;
            () = given_up.cancelled() => Sent::unwanted(),
            sent = shared.send(call) => sent,
        };
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Sent::lost());
        let mut state = self.shared.lock();
        state.finish(self.id, &self.call, result);
        self.shared.wake_for(&state);
        drop(state);
        self.shared.moved.notify_waiters();
    }
}

/// One of those that send: a call after the other.
async fn lane(shared: Arc<Shared>) {
    loop {
        let sending = next(&shared).await;
        sending.run().await;
    }
}

/// Waits for a call to send.
async fn next(shared: &Arc<Shared>) -> Sending {
    loop {
        let mut wake = pin!(shared.wake.notified());
        // Before looking: two wake-ups that find nobody waiting would count as one.
        wake.as_mut().enable();
        if let Some(sending) = shared.take() {
            return sending;
        }
        wake.await;
    }
}

/// The outcomes of a delivery. Dropping it gives up what is not answered yet.
#[derive(Debug)]
pub struct Confirmation {
    outcomes: oneshot::Receiver<Outcomes>,
    _heard: Heard,
}

impl Future for Confirmation {
    type Output = Outcomes;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcomes> {
        let outcomes = Pin::new(&mut self.outcomes).poll(context);
        outcomes.map(|outcomes| {
            outcomes.unwrap_or_else(|_| {
                Outcomes::Failed(Failure {
                    next: Next::Reconnect,
                    text: "the delivery was interrupted".to_owned(),
                    remedy: String::new(),
                })
            })
        })
    }
}

/// Counts what the worker has heard.
#[derive(Debug)]
struct Heard {
    shared: Arc<Shared>,
    flight: u64,
}

impl Drop for Heard {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.unheard -= 1;
        let Some(flight) = state.flights.remove(&self.flight) else {
            return;
        };
        flight.given_up.cancel();
        let name = self.flight;
        state.lanes.give_up(|call| call.flight == name);
        self.shared.wake_for(&state);
        drop(state);
        self.shared.moved.notify_waiters();
    }
}
