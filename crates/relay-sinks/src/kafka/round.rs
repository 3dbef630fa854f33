//! The records of a delivery on their way, and what became of each. It knows no retries.

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::BaseRecord;
use relay_core::sink::{Delivery, Failure, Outcome, Outcomes};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::failure;
use super::link::{Link, Producer};
use super::record::Composer;
use super::watch::Watch;

/// How often a full queue is looked at, if nobody says that it has room again.
const LOOK: Duration = Duration::from_millis(200);

/// What goes with a record and comes back with its report.
#[derive(Debug)]
pub(super) struct Ticket {
    round: Arc<Round>,
    index: usize,
}

impl Ticket {
    /// The record's report is there; `None`: it is delivered.
    pub(super) fn land(&self, code: Option<Code>, watch: &Watch) {
        match code {
            None if !watch.is_broken() => {}
            // Something before it was not delivered: it goes again behind that.
            None => self.fault(Code::PurgeInflight),
            Some(code) if !failure::is_rejection(code) || !self.round.certain => {
                if failure::is_rejection(code) {
                    watch.too_large();
                }
                watch.break_off();
                self.fault(code);
            }
            Some(code) => self.fault(code),
        }
        self.round.landed();
    }

    fn fault(&self, code: Code) {
        self.round.fault(self.index, Fault::Code(code));
    }
}

/// Why a record is not delivered.
#[derive(Debug)]
enum Fault {
    /// What librdkafka says.
    Code(Code),
    /// It never went anywhere.
    Refused(String),
}

#[derive(Debug)]
struct Round {
    /// Records whose report is not there, and one while they are handed over.
    left: AtomicUsize,
    faults: Mutex<Vec<(usize, Fault)>>,
    done: Notify,
    /// A request carries none but its record: a refusal is this record's, not that of another.
    certain: bool,
}

impl Round {
    fn landed(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    fn fault(&self, index: usize, fault: Fault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push((index, fault));
    }
}

/// A delivery that was handed over.
#[derive(Debug)]
pub(super) struct Flight {
    round: Arc<Round>,
    watch: Arc<Watch>,
    events: usize,
    /// Records go one by one, until the one that is too large has been found.
    searching: bool,
}

/// A record beside the events.
#[derive(Debug)]
pub(super) struct Extra<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// Hands the events over, in order; waits while the queue is full.
pub(super) async fn hand_over(
    link: &Link,
    composer: &Composer,
    delivery: &Delivery,
) -> Result<Flight, Failure> {
    let flight = Flight {
        searching: link.is_alone(),
        ..Flight::new(link, delivery.len(), link.is_alone())
    };
    let producer = link.producer().ok_or_else(failure::not_connected)?;
    for (index, event) in delivery.events().enumerate() {
        let made = composer.compose(event);
        if let Some(reason) = composer.refuses(&made.topic) {
            flight.round.fault(index, Fault::Refused(reason));
            continue;
        }
        let record = BaseRecord::with_opaque_to(&made.topic, Box::new(flight.ticket(index)))
            .key(&*made.key)
            .payload(&*made.value)
            .timestamp(made.time)
            .headers(made.headers);
        flight.send(producer, record).await;
    }
    flight.round.landed();
    Ok(flight)
}

/// Hands one record over that is no event, to the first partition.
pub(super) async fn hand_over_extra(link: &Link, extra: Extra<'_>) -> Result<Flight, Failure> {
    let flight = Flight::new(link, 1, true);
    let producer = link.producer().ok_or_else(failure::not_connected)?;
    let record = BaseRecord::with_opaque_to(extra.topic, Box::new(flight.ticket(0)))
        .partition(0)
        .key(extra.key.as_bytes())
        .payload(extra.value.as_bytes());
    flight.send(producer, record).await;
    flight.round.landed();
    Ok(flight)
}

impl Flight {
    fn new(link: &Link, events: usize, certain: bool) -> Self {
        let round = Round {
            left: AtomicUsize::new(1),
            faults: Mutex::default(),
            done: Notify::new(),
            certain,
        };
        Self {
            round: Arc::new(round),
            watch: Arc::clone(link.watch()),
            events,
            searching: false,
        }
    }

    fn ticket(&self, index: usize) -> Ticket {
        self.round.left.fetch_add(1, AcqRel);
        let round = Arc::clone(&self.round);
        Ticket { round, index }
    }

    async fn send<K, P>(&self, producer: &Producer, record: BaseRecord<'_, K, P, Box<Ticket>>)
    where
        K: rdkafka::message::ToBytes + ?Sized,
        P: rdkafka::message::ToBytes + ?Sized,
    {
        let mut record = record;
        loop {
            let (error, returned) = match producer.send(record) {
                Ok(()) => return,
                Err(refused) => refused,
            };
            if error != KafkaError::MessageProduction(Code::QueueFull) {
                let (code, ticket) = (failure::code(&error), returned.delivery_opaque);
                if failure::is_rejection(code) {
                    // Before it went anywhere: it is this record, and no other.
                    let refused = Fault::Refused(code.to_string());
                    ticket.round.fault(ticket.index, refused);
                } else {
                    self.watch.break_off();
                    ticket.fault(code);
                }
                ticket.round.landed();
                return;
            }
            record = returned;
            // Whoever is told may be another delivery: so it is looked at now and then.
            let waited = timeout(LOOK, self.watch.room().notified()).await;
            drop(waited);
        }
    }

    /// What became of its events, once that is known of each.
    pub(super) async fn outcomes(self) -> Outcomes {
        self.round.done.notified().await;
        let faults = {
            let faults = self.round.faults.lock();
            std::mem::take(&mut *faults.unwrap_or_else(PoisonError::into_inner))
        };
        if faults.is_empty() {
            return Outcomes::Confirmed;
        }
        let mut outcomes = vec![Outcome::Confirmed; self.events];
        let (mut failure, mut found) = (None, false);
        for (index, fault) in faults {
            let outcome = match fault {
                Fault::Refused(reason) => Outcome::Rejected(reason),
                Fault::Code(code) if self.round.certain && failure::is_rejection(code) => {
                    found = self.searching;
                    Outcome::Rejected(code.to_string())
                }
                Fault::Code(code) => {
                    if failure.is_none() && code != Code::PurgeInflight {
                        failure = Some(self.watch.explain(code, "delivering"));
                    }
                    Outcome::Retry
                }
            };
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        match failure {
            Some(failure) => Outcomes::Partly(outcomes, failure),
            None if found => Outcomes::Partly(outcomes, failure::found()),
            None if outcomes.contains(&Outcome::Retry) => {
                let failure = failure::of(Code::PurgeInflight, "a record before was not delivered");
                Outcomes::Partly(outcomes, failure)
            }
            None => Outcomes::Each(outcomes),
        }
    }
}
