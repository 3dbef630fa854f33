//! The loop: connect, deliver, wait, hold.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use relay_journal::Offset;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::CLOSING;
use super::again::Again;
use super::commands::{Command, Signal, Signals};
use super::handle::Shared;
use super::outcome::{Flown, Landed, Ledger, Trouble, Weight};
use super::supply::Supply;
use super::window::{Bounds, Tracked};
use crate::reader::{Batch, Limit, ReadError};
use crate::sink::{Delivery, Failure, Sink};
use crate::status::SinkState;
use crate::{Cursor, Kind};

mod again;
mod control;
mod recover;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connect,
    Deliver,
    /// Wait, then go on with a connection made anew, or with the present one.
    Wait {
        until: Instant,
        reconnect: bool,
    },
    /// Until an operator says otherwise.
    Hold,
    End,
}

/// What a turn of the loop brought.
enum Turn {
    Signal(Signal),
    Read(Result<Batch, ReadError>),
    Again(Again),
    Landed,
}

/// What handles send, kept across restarts.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    pub(super) commands: Arc<Mutex<mpsc::Receiver<Command>>>,
    pub(super) again: Arc<Mutex<mpsc::Receiver<Again>>>,
}

/// What became of offering a delivery.
enum Offered<S: Sink> {
    Taken(S::Confirmation, Instant),
    Failed(Failure),
    /// The sink took too long while something else was asked for.
    Overdue,
}

struct Worker<S: Sink> {
    sink: S,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    supply: Supply,
    ledger: Ledger,
    /// Dead letters to be delivered again.
    again: OwnedMutexGuard<mpsc::Receiver<Again>>,
    /// The connection is not to be used any more.
    stale: bool,
}

/// Drives a sink until it is told to stop. An error, or a panic, starts it again from its cursor.
pub(super) async fn drive<S: Sink>(
    sink: S,
    shared: Arc<Shared>,
    inbox: Inbox,
    stop: CancellationToken,
) -> Result<(), ReadError> {
    let mut commands = inbox.commands.lock().await;
    let again = inbox.again.lock_owned().await;
    let mut signals = Signals::new(&mut commands, stop);
    let begin = shared.begin().await?;
    let first = match shared.held() {
        Some((state, error)) => {
            shared.update(|row| (row.state, row.last_error) = (state, error));
            Step::Hold
        }
        None => Step::Connect,
    };
    let mut worker = Worker {
        sink,
        flights: FuturesUnordered::new(),
        supply: Supply::new(shared.context.bus.reader_after(begin)),
        ledger: Ledger::new(shared, begin),
        again,
        stale: false,
    };
    let ending = worker.run(first, &mut signals).await;
    worker.close().await;
    ending
}

impl<S: Sink> Worker<S> {
    async fn run(&mut self, first: Step, signals: &mut Signals<'_>) -> Result<(), ReadError> {
        let mut step = first;
        loop {
            step = match step {
                Step::Connect => self.connect(signals).await?,
                Step::Deliver => self.deliver(signals).await?,
                Step::Wait { until, reconnect } => tokio::select! {
                    biased;
                    signal = signals.next() => self.obey(signal, step).await,
                    () = tokio::time::sleep_until(until) => {
                        if reconnect { Step::Connect } else { Step::Deliver }
                    }
                },
                Step::Hold => {
                    let signal = signals.next().await;
                    self.obey(signal, step).await
                }
                Step::End => return Ok(()),
            }
        }
    }

    async fn connect(&mut self, signals: &mut Signals<'_>) -> Result<Step, ReadError> {
        let connected = tokio::select! {
            biased;
            signal = signals.next() => return Ok(self.obey(signal, Step::Connect).await),
            connected = self.sink.connect() => connected,
        };
        let connected = connected.map_err(Trouble::from);
        let kept = connected.and_then(|kept| kept.map(|cursor| self.check(cursor)).transpose());
        self.stale = kept.is_err();
        if kept.is_ok() {
            let warnings = self.sink.warnings();
            self.ledger.shared.update(|row| row.warnings = warnings);
        }
        match kept {
            Err(trouble) => Ok(self.recover(trouble)),
            Ok(None) => Ok(Step::Deliver),
            Ok(Some(cursor)) => {
                if cursor.offset != self.ledger.window.cursor() {
                    let offset = self.ledger.shared.meet(cursor).await?;
                    self.start_over(offset);
                }
                Ok(Step::Deliver)
            }
        }
    }

    /// A destination's own cursor wins, if it is of this journal.
    fn check(&self, cursor: Cursor) -> Result<Cursor, Trouble> {
        let bus = self.supply.bus();
        if cursor.epoch == bus.epoch() && cursor.offset <= bus.last() {
            return Ok(cursor);
        }
        let name = &self.ledger.shared.config.name;
        Err(Trouble {
            weight: Weight::Blocked,
            text: format!(
                "the destination's cursor {cursor} is not of this journal, which ends at {}",
                bus.cursor(bus.last())
            ),
            remedy: format!("seek sink {name}: that writes a cursor of this journal"),
        })
    }

    async fn deliver(&mut self, signals: &mut Signals<'_>) -> Result<Step, ReadError> {
        loop {
            if let Some(trouble) = self.ledger.trouble.take() {
                return Ok(self.give_way(trouble, signals).await);
            }
            if self.stale {
                self.rest();
                return Ok(Step::Connect);
            }
            if self.ledger.window.is_empty() && self.supply.at_tail() {
                self.ledger.running();
            }
            match self.turn(signals).await {
                Turn::Signal(signal) => return Ok(self.obey(signal, Step::Deliver).await),
                Turn::Read(Ok(batch)) => self.hand_over(batch, signals).await,
                Turn::Again(letters) => self.hand_over_again(letters, signals).await,
                Turn::Read(Err(error)) => self.unread(error)?,
                Turn::Landed => {}
            }
        }
    }

    /// Reads the next batch, if there is room for it, while confirmations come in.
    async fn turn(&mut self, signals: &mut Signals<'_>) -> Turn {
        let limit = self.limit();
        let Self {
            flights,
            supply,
            ledger,
            again,
            ..
        } = self;
        let mut reading = pin!(async {
            match limit {
                Some((limit, end)) => supply.next(limit, end).await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => return Turn::Signal(signal),
                Some(landed) = flights.next(), if !flights.is_empty() => {
                    ledger.land(landed).await;
                    if limit.is_none() || ledger.trouble.is_some() {
                        return Turn::Landed;
                    }
                }
                Some(letters) = again.recv(), if !ledger.again => return Turn::Again(letters),
                read = &mut reading => return Turn::Read(read),
            }
        }
    }

    /// How much may be read now, and up to where; `None`: enough is under way.
    fn limit(&self) -> Option<(Limit, Offset)> {
        let config = &self.ledger.shared.config;
        let bounds = Bounds {
            batch_events: config.batch_events,
            in_flight_bytes: config
                .in_flight_bytes
                .saturating_sub(config.batch_bytes)
                .max(1),
            ahead_events: config.ahead_events,
        };
        let room = self.ledger.window.room(self.supply.position(), &bounds)?;
        let limit = Limit {
            events: room.events,
            bytes: config.batch_bytes,
        };
        Some((limit, room.upto))
    }

    /// No batch: what is gone is said and passed, what can't be read is tried again.
    fn unread(&mut self, error: ReadError) -> Result<(), ReadError> {
        match error {
            ReadError::Skipped(skipped) => {
                self.ledger.shared.skipped(skipped);
                self.ledger.window.pass(skipped.to);
                self.ledger.progress();
            }
            ReadError::Journal(error) => self.ledger.fail(Trouble {
                weight: Weight::Retry(None),
                text: format!("the journal could not be read: {error}"),
                remedy: "look at the disk: `sapi-relay journal verify` names what is damaged"
                    .into(),
            }),
            ReadError::Cancelled => return Err(error),
        }
        Ok(())
    }

    /// Hands a batch to the sink while confirmations of earlier ones come in.
    async fn hand_over(&mut self, batch: Batch, signals: &mut Signals<'_>) {
        tokio::task::consume_budget().await;
        let (selected, events) = self.select(&batch);
        let upto = batch.upto();
        if events.is_empty() {
            self.ledger.window.pass(upto);
            self.ledger.progress();
            return;
        }
        let bytes = batch.events().map(crate::Event::size).sum();
        let id = self.ledger.window.hand_over(upto, bytes, events);
        let delivery = Delivery {
            batch,
            selected,
            upto,
            again: false,
        };
        match self.offer(delivery.clone(), signals).await {
            Offered::Taken(confirmation, started) => {
                self.fly(Flown::Stretch(id), delivery, confirmation, started);
            }
            Offered::Failed(failure) => {
                self.ledger.window.fail(id);
                self.ledger.fail(failure.into());
            }
            Offered::Overdue => {
                self.ledger.window.fail(id);
                self.stale = true;
            }
        }
    }

    /// Offers a delivery to the sink, while confirmations of earlier ones come in.
    async fn offer(&mut self, delivery: Delivery, signals: &mut Signals<'_>) -> Offered<S> {
        let started = Instant::now();
        let shared = Arc::clone(&self.ledger.shared);
        let (mut handing, mut overdue) = (
            pin!(self.sink.deliver(delivery)),
            pin!(signals.overdue(&shared)),
        );
        loop {
            tokio::select! {
                biased;
                handed = &mut handing => break match handed {
                    Ok(confirmation) => Offered::Taken(confirmation, started),
                    Err(failure) => Offered::Failed(failure),
                },
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => {
                    self.ledger.land(landed).await;
                }
                () = &mut overdue => break Offered::Overdue,
            }
        }
    }

    /// From now on a delivery's outcomes are awaited.
    fn fly(
        &mut self,
        what: Flown,
        delivery: Delivery,
        confirmation: S::Confirmation,
        started: Instant,
    ) {
        self.flights.push(Box::pin(async move {
            let outcomes = confirmation.await;
            Landed {
                what,
                delivery,
                started,
                outcomes,
            }
        }));
    }

    /// What is under way is not waited for any more.
    fn ground(&mut self) {
        self.flights.clear();
        self.ledger.again = false;
    }

    /// Which of a batch's events are to be delivered: those that pass and are not settled already.
    fn select(&self, batch: &Batch) -> (Vec<u32>, Vec<Tracked>) {
        let (config, window) = (&self.ledger.shared.config, &self.ledger.window);
        let wanted = (0u32..).zip(batch.events()).filter_map(|(index, event)| {
            let head = event.head();
            let passes = match event.kind() {
                Kind::Notice => config.notices,
                Kind::Event | Kind::Sighting => config.filter.matches(head.class, head.event_type),
            };
            let key = xxhash_rust::xxh3::xxh3_64(head.key.as_bytes());
            let offset = event.offset();
            (passes && !window.has_settled(offset)).then_some((index, Tracked { offset, key }))
        });
        wanted.unzip()
    }

    /// Waits for what is under way, until patience ends.
    async fn land_all(&mut self, patience: impl Future<Output = ()>) {
        let mut patience = pin!(patience);
        while !self.flights.is_empty() {
            tokio::select! {
                biased;
                Some(landed) = self.flights.next() => self.ledger.land(landed).await,
                () = &mut patience => {
                    self.stale = true;
                    break;
                }
            }
        }
    }

    /// Takes in what is known already; the rest is not waited for.
    async fn land_ready(&mut self) {
        while let Some(Some(landed)) = self.flights.next().now_or_never() {
            self.ledger.land(landed).await;
        }
    }

    /// Begins anew behind an offset.
    fn start_over(&mut self, offset: Offset) {
        self.ground();
        self.ledger.window.reset(offset);
        self.supply.seek(offset);
    }

    async fn close(&mut self) {
        self.land_ready().await;
        self.ground();
        let name = &self.ledger.shared.config.name;
        if timeout(CLOSING, self.sink.close()).await.is_err() {
            tracing::warn!(sink = %name, "the sink did not close in time");
        }
        if let Err(error) = self.ledger.shared.context.store.flush().await {
            tracing::warn!(sink = %name, %error, "the cursor is not durable: some events will be delivered again");
        }
    }
}
