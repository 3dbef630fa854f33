//! The broker's confirmations, alarms and last words, taken in by one task a connection. It knows no sockets.
//!
//! # Which event was returned
//! The broker returns an event that leads nowhere before it confirms it. lapin hands a return to whichever
//! publish is confirmed next, which is another event's as soon as the broker confirms several at once. So a
//! return is known here by its `message_id`, and a round is answered only when every return that
//! belongs to it must have been seen: returns come in order, so the last of them is with a publish that was
//! confirmed no later than the round's last. lapin confirms those of one frame under a lock, in no order; taking
//! that lock once ([`level`]) waits for all of them. One of them may belong to the next round, so what is just
//! being handed over is waited for as well.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, Error, Event, PublisherConfirm};
use relay_core::sink::{Failure, Outcome};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::failure::{self, Trouble};
use super::{Shared, Unroutable, rounds};

/// Without any confirmation for so long, and without an alarm, the connection counts as dead.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How often that is looked at, while something is under way.
const LOOK: Duration = Duration::from_secs(1);

/// An event on its way: handed to the client, then to the socket, then confirmed.
pub(super) struct Flight {
    id: ShortString,
    stage: Stage,
    /// Told when it was handed to the socket.
    pub(super) written: Option<oneshot::Sender<()>>,
}

enum Stage {
    Publishing(BoxFuture<'static, lapin::Result<PublisherConfirm>>),
    Confirming(BoxFuture<'static, lapin::Result<Confirmation>>),
}

impl Flight {
    /// Begins to publish: its place among the others is fixed when this returns. `None`: the channel is closed.
    pub(super) fn begin(
        id: ShortString,
        mut publishing: BoxFuture<'static, lapin::Result<PublisherConfirm>>,
    ) -> Option<Self> {
        let stage = match (&mut publishing).now_or_never() {
            None => Stage::Publishing(publishing),
            Some(Ok(confirm)) => Stage::Confirming(Box::pin(confirm)),
            Some(Err(_closed)) => return None,
        };
        Some(Self::at(id, stage))
    }

    fn at(id: ShortString, stage: Stage) -> Self {
        Self {
            id,
            stage,
            written: None,
        }
    }
}

impl Future for Flight {
    type Output = lapin::Result<Confirmation>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.stage {
                Stage::Publishing(publishing) => {
                    let confirm = ready!(publishing.as_mut().poll(context))?;
                    self.stage = Stage::Confirming(Box::pin(confirm));
                }
                Stage::Confirming(confirm) => {
                    let confirmed = confirm.as_mut().poll(context);
                    if let Some(written) = self.written.take() {
                        // Nobody may be waiting for it any more.
                        written.send(()).unwrap_or_default();
                    }
                    return confirmed;
                }
            }
        }
    }
}

/// What became of a round.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// One for each of its flights.
    pub(super) outcomes: Vec<Outcome>,
    /// What kept the rest.
    pub(super) trouble: Option<Trouble>,
}

/// The future of an [`Answer`].
pub(super) type Answered = BoxFuture<'static, Answer>;

/// Flights that are answered together.
pub(super) struct Round {
    flights: Vec<Flight>,
    answer: oneshot::Sender<Answer>,
}

impl Round {
    /// A round, and its answer.
    pub(super) fn new(flights: Vec<Flight>) -> (Self, Answered) {
        let (answer, answered) = oneshot::channel();
        let count = flights.len();
        let answered = async move {
            answered.await.unwrap_or_else(|_gone| Answer {
                outcomes: vec![Outcome::Retry; count],
                trouble: Some(Trouble::Other(failure::disconnected())),
            })
        };
        (Self { flights, answer }, Box::pin(answered))
    }
}

/// How the connection is.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// Why the broker takes nothing at present.
    pub(super) alarm: Option<String>,
    /// Why it is of no use any more.
    pub(super) lost: Option<Failure>,
}

/// A round under way.
struct Open {
    ids: Vec<ShortString>,
    /// Confirmed, or not; which of the confirmed were returned is looked up at the end.
    confirmed: Vec<bool>,
    left: usize,
    nacked: usize,
    failed: bool,
    answer: oneshot::Sender<Answer>,
}

type Landing = (u64, usize, lapin::Result<Confirmation>);

/// The task. `L` is [`level`].
pub(super) struct Collector<L> {
    level: L,
    shared: Arc<Shared>,
    health: watch::Sender<Health>,
    handed: rounds::Receiver,
    flying: FuturesUnordered<BoxFuture<'static, Landing>>,
    open: BTreeMap<u64, Open>,
    next: u64,
    /// By message id: what the broker said when it returned it.
    returned: HashMap<ShortString, String>,
    trouble: Option<Trouble>,
    /// Something is under way of which nothing more will be heard.
    stranded: bool,
    progress: Instant,
}

/// Told when what is polled wants to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Release);
    }
}

/// Waits, when called, until lapin has dealt with the whole frame that it is dealing with.
pub(super) fn level(channel: Channel) -> impl Fn() + Send {
    // Not for what it waits for, but for the lock that it takes first.
    move || drop(channel.wait_for_confirms().now_or_never())
}

impl<L: Fn() + Send> Collector<L> {
    pub(super) fn new(
        level: L,
        shared: Arc<Shared>,
        health: watch::Sender<Health>,
        handed: rounds::Receiver,
    ) -> Self {
        Self {
            level,
            shared,
            health,
            handed,
            flying: FuturesUnordered::new(),
            open: BTreeMap::new(),
            next: 0,
            returned: HashMap::new(),
            trouble: None,
            stranded: false,
            progress: Instant::now(),
        }
    }

    /// Runs until nobody hands over any more.
    pub(super) async fn run(mut self, mut events: impl Stream<Item = Event> + Unpin) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => self.hear(event),
                Some(landing) = self.flying.next(), if !self.flying.is_empty() => {
                    self.land(landing);
                    self.drain();
                    self.settle().await;
                }
                round = self.handed.next() => match round {
                    Some(round) => self.take(round),
                    None => return,
                },
                _ = looks.tick(), if !self.flying.is_empty() => self.look(),
            }
            if self.stranded {
                self.give_up().await;
            }
        }
    }

    fn take(&mut self, round: Round) {
        let Round { flights, answer } = round;
        if self.flying.is_empty() {
            self.progress = Instant::now();
        }
        let number = self.next;
        self.next += 1;
        let ids = flights.iter().map(|flight| flight.id.clone()).collect();
        let open = Open {
            ids,
            confirmed: vec![false; flights.len()],
            left: flights.len(),
            nacked: 0,
            failed: false,
            answer,
        };
        for (index, flight) in flights.into_iter().enumerate() {
            let landing = flight.map(move |result| (number, index, result));
            self.flying.push(Box::pin(landing));
        }
        self.open.insert(number, open);
        self.stranded |= self.trouble.is_some();
    }

    fn land(&mut self, (number, index, result): Landing) {
        self.progress = Instant::now();
        let confirmation = match result {
            Ok(confirmation) => Some(confirmation),
            Err(error) => {
                self.lose(&error);
                None
            }
        };
        let Some(open) = self.open.get_mut(&number) else {
            return;
        };
        open.left = open.left.saturating_sub(1);
        let returned = match confirmation {
            Some(Confirmation::Ack(returned)) => {
                open.confirmed
                    .get_mut(index)
                    .into_iter()
                    .for_each(|slot| *slot = true);
                returned
            }
            Some(Confirmation::Nack(returned)) => {
                open.nacked += 1;
                returned
            }
            Some(Confirmation::NotRequested) | None => {
                open.failed = true;
                None
            }
        };
        self.remember(returned);
    }

    fn remember(&mut self, returned: Option<BasicReturnMessage>) {
        let Some(message) = returned else {
            return;
        };
        if let Some(id) = message.delivery.properties.message_id() {
            let reply = format!("{} {}", message.reply_code, message.reply_text);
            let exchange = message.delivery.exchange.as_str();
            let key = message.delivery.routing_key.as_str();
            let reason = failure::unroutable(exchange, key, &reply);
            self.returned.insert(id.clone(), reason);
        }
    }

    /// Takes in everything that is known already. Flights that were woken while they were polled are left for
    /// the next time, with a wake: so it goes on until there is none.
    fn drain(&mut self) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        loop {
            match self.flying.poll_next_unpin(&mut context) {
                Poll::Ready(Some(landing)) => self.land(landing),
                Poll::Pending if woken.0.swap(false, AcqRel) => {}
                Poll::Pending | Poll::Ready(None) => return,
            }
        }
    }

    /// Takes in every return that belongs to what is confirmed, whichever event lapin has given it to.
    async fn gather(&mut self) {
        if self.shared.config.unroutable == Unroutable::Reject {
            (self.level)();
            for round in self.handed.begun().await {
                self.take(round);
            }
        }
        self.drain();
    }

    /// Answers the rounds that are complete, and those that become so meanwhile: nothing may land after them.
    async fn settle(&mut self) {
        loop {
            let complete = self.open.iter().filter(|(_, open)| open.left == 0);
            let complete: Vec<u64> = complete.map(|(number, _)| *number).collect();
            if complete.is_empty() {
                return;
            }
            self.gather().await;
            for number in complete {
                if let Some(open) = self.open.remove(&number) {
                    self.answer(open);
                }
            }
            if self.open.is_empty() {
                self.returned.clear();
            }
        }
    }

    fn answer(&mut self, open: Open) {
        let outcomes = open.ids.iter().zip(open.confirmed);
        let outcomes = outcomes.map(|(id, confirmed)| match self.returned.remove(id) {
            Some(reason) if confirmed => Outcome::Rejected(reason),
            Some(_) | None if confirmed => Outcome::Confirmed,
            Some(_) | None => Outcome::Retry,
        });
        let outcomes = outcomes.collect();
        let lost = || Trouble::Other(failure::disconnected());
        let trouble = if open.failed || open.left > 0 {
            Some(self.trouble.clone().unwrap_or_else(lost))
        } else if open.nacked > 0 {
            Some(Trouble::Other(failure::nacked(open.nacked)))
        } else {
            None
        };
        // The worker may have given it up.
        drop(open.answer.send(Answer { outcomes, trouble }));
    }

    fn hear(&mut self, event: Event) {
        let sink = &self.shared.config.name;
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(
                    sink,
                    reason,
                    "RabbitMQ takes no messages at present (connection.blocked); waiting"
                );
                self.health
                    .send_modify(|health| health.alarm = Some(reason));
            }
            Event::ConnectionUnblocked => {
                tracing::info!(sink, "RabbitMQ takes messages again (connection.unblocked)");
                self.progress = Instant::now();
                self.health.send_modify(|health| health.alarm = None);
            }
            Event::Error(error) => self.lose(&error),
            Event::Connected | Event::SendFlow(_) | _ => {}
        }
    }

    /// The channel or the connection has ended. The broker's own words count more than what follows from them.
    fn lose(&mut self, error: &Error) {
        let known = self.trouble.is_some();
        if known && !matches!(error.kind(), lapin::ErrorKind::ProtocolError(_)) {
            return;
        }
        let trouble = failure::publishing(&self.shared.config.exchange, error);
        self.fail(trouble);
    }

    fn fail(&mut self, trouble: Trouble) {
        self.shared.lessons.learn(&trouble);
        let failure = trouble.clone().into_failure();
        self.trouble = Some(trouble);
        self.health
            .send_modify(|health| health.lost = Some(failure));
    }

    /// Nothing more will come: what is known is answered.
    async fn give_up(&mut self) {
        self.gather().await;
        self.stranded = false;
        self.flying.clear();
        for open in std::mem::take(&mut self.open).into_values() {
            self.answer(open);
        }
    }

    fn look(&mut self) {
        let alarm = self.health.borrow().alarm.is_some();
        if !alarm && self.progress.elapsed() >= PATIENCE {
            self.fail(Trouble::Other(failure::late()));
            self.stranded = true;
        }
    }
}

#[cfg(test)]
mod tests;
