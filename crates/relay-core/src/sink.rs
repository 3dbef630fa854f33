//! The contracts of a plugin: [`Sink`], which the worker drives, and [`Listener`], which serves
//! clients that come by themselves.

use std::time::Duration;

use relay_journal::Offset;
use tokio_util::sync::CancellationToken;

use crate::{Batch, Bus, Cursor};

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it, durably where it offers that.
    Confirmed,
    /// Not delivered, or not known: deliver it again.
    Retry,
    /// The destination refuses this event for good, with its reason.
    Rejected(String),
}

/// What became of a batch as a whole.
#[derive(Debug)]
pub enum Outcomes {
    /// One outcome an event, in the batch's order.
    Each(Vec<Outcome>),
    /// The whole batch is confirmed.
    Confirmed,
    /// One outcome an event, and why the rest was not taken: what is [`Outcome::Retry`] failed in a
    /// way that concerns the sink.
    Partly(Vec<Outcome>, Failure),
    /// Nothing is known of this batch: it failed in a way that concerns the sink.
    Failed(Failure),
}

/// A failure that concerns the sink as a whole rather than one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do next.
    pub next: Next,
    /// What happened; never holds a secret.
    pub text: String,
    /// What an operator can do about it; empty where waiting cures it.
    pub remedy: String,
}

/// What works, but not as well as an operator may expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is; never holds a secret.
    pub text: String,
    /// What an operator can do about it.
    pub remedy: String,
}

/// What the worker does after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Deliver again after the back-off, on the same connection.
    Retry,
    /// The connection is lost: connect again, then deliver again what is unsettled.
    Reconnect,
    /// The destination asks to be left alone for so long.
    RetryAfter(Duration),
    /// Waiting does not cure it (credentials, a missing topic): retried slowly, alarm.
    Blocked,
    /// The destination is gone for good (410): never tried again until an operator says so.
    Disabled,
}

/// A sink plugin: it owns its protocol and nothing else. Order, retries, back-off, cursor, dead
/// letters, metrics and drain are the worker's.
///
/// # Contract
/// * [`connect`](Self::connect) is called first, again after [`Next::Reconnect`] and
///   [`Next::Blocked`], and drops what an earlier connection left.
/// * [`deliver`](Self::deliver) hands a batch over in the order of its events and returns as soon
///   as the next batch may be handed over (back-pressure is to return late); it resolves to a
///   future for the outcomes. Several of these are awaited at once, bounded in bytes by the worker.
///   Batches are handed over in journal order; a retry hands the unsettled ones over again.
/// * Dead letters that an operator has delivered again come as a delivery of their own between those
///   of the journal: out of order, with offsets of long ago, and with [`Delivery::again`]. No cursor
///   is written with them: deliveries before them may still be under way, or come again.
/// * Dropping either future is allowed at any time (at reconnect, seek, shutdown) and means
///   "not known": those events are delivered again.
/// * An event is [`Outcome::Confirmed`] only when the destination has said so.
pub trait Sink: Send + 'static {
    /// The future for a batch's outcomes.
    type Confirmation: Future<Output = Outcomes> + Send + 'static;

    /// Connects. A cursor that the destination itself keeps (exactly once) wins over the local one.
    fn connect(&mut self) -> impl Future<Output = Result<Option<Cursor>, Failure>> + Send;

    /// What the last [`connect`](Self::connect) found that an operator should change. Shown until the
    /// next one finds something else; logging it is the sink's.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }

    /// Hands a batch over. It is never empty.
    fn deliver(
        &mut self,
        batch: Delivery,
    ) -> impl Future<Output = Result<Self::Confirmation, Failure>> + Send;

    /// An operator moves the cursor; nothing is under way. A sink whose destination keeps the cursor
    /// writes it there, durably, before it answers. The sink may not be connected, and is connected
    /// again afterwards.
    fn seek(&mut self, to: Cursor) -> impl Future<Output = Result<(), Failure>> + Send {
        let _: Cursor = to;
        std::future::ready(Ok(()))
    }

    /// Closes cleanly. Called once, after the last confirmation or when the drain's time is up.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// What a sink is handed: the events that passed its filter, out of one stretch of the journal.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The stretch; its events include those that the filter holds back.
    pub batch: Batch,
    /// Which of the batch's events are to be delivered, as indices into [`Batch::events`], rising.
    pub selected: Vec<u32>,
    /// The last offset that is settled once this delivery and all before it are.
    pub upto: Offset,
    /// Whether these are dead letters that are delivered again, which leave the cursor where it is.
    pub again: bool,
}

impl Delivery {
    /// The events to deliver, in journal order.
    pub fn events(&self) -> impl Iterator<Item = &crate::Event> {
        let mut selected = self.selected.iter().copied().peekable();
        (0u32..)
            .zip(self.batch.events())
            .filter_map(move |(index, event)| selected.next_if_eq(&index).map(|_| event))
    }

    /// How many events are to be delivered.
    pub fn len(&self) -> usize {
        self.selected.len()
    }

    /// Whether nothing is to be delivered.
    pub fn is_empty(&self) -> bool {
        self.selected.is_empty()
    }
}

/// A plugin that serves clients: given the bus, it hands each client a reader of its own.
pub trait Listener: Send + 'static {
    /// Serves until `stop` is cancelled, then drains: clients are told to go, and what is under way
    /// is ended in order. Returns when the last client has gone.
    fn serve(
        self,
        bus: Bus,
        stop: CancellationToken,
    ) -> impl Future<Output = std::io::Result<()>> + Send;
}
