//! The RabbitMQ sink: events as persistent messages to an exchange, each confirmed by the broker. It knows
//! lapin, and neither retries nor cursors.
//!
//! # What is guaranteed
//! An event is confirmed when the broker has confirmed it: it is then in every durable queue that its routing
//! key leads to, on disk. Publishes are pipelined, in the order of the events. `message_id` is the event's id, so
//! that a consumer can tell what comes again after a lost connection.
//!
//! # One connection, used once
//! lapin's automatic recovery stays off. A connection or channel that has failed is never used again; the worker
//! connects anew and hands over from the oldest unsettled event on. What the broker still reads from an
//! earlier connection can only repeat, in order, what comes again anyway.
//!
//! # One event too large
//! A broker answers it by closing the channel, and with it every event under way. Its words name the limit, so the
//! next round leaves out whatever is larger. Words that it does not understand make the sink careful:
//! the next round goes event by event, and the one that closes the channel again is the culprit.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use futures_util::future::BoxFuture;
use relay_core::cloudevents::Source;
use relay_core::sink::{Delivery, Failure, Outcome, Outcomes, Sink};
use relay_core::storm::Storm;
use relay_core::{Cursor, Event};

use crate::template::Template;
use crate::tls::ClientTls;
use crate::{Format, Secret};

mod address;
mod confirms;
mod failure;
mod link;
mod message;
mod rounds;

pub use address::{Address, AddressError};

use confirms::{Answer, Answered};
use failure::Trouble;
use link::Link;
use message::{Composer, Message};

/// A RabbitMQ sink, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The sink's name, which the broker shows for its connection.
    pub name: String,
    /// Whose events they are: what `{tenant}` stands for.
    pub tenant: String,
    /// `amqp://user:password@host:port/vhost` or `amqps://...`, read again at each connect.
    pub url: Secret,
    /// The exchange; the empty name is the broker's default exchange, which leads to the queue that the routing
    /// key names.
    pub exchange: String,
    /// Whether the exchange is made where it is missing: of type topic, durable.
    pub declare: bool,
    /// The routing key. Values of events are confined; at most 255 bytes.
    pub routing_key: Template,
    /// What becomes of an event that leads to no queue.
    pub unroutable: Unroutable,
    /// What TLS trusts and shows.
    pub tls: ClientTls,
    /// How an event is written.
    pub format: Format,
}

/// What becomes of an event that leads to no queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unroutable {
    /// It is a rejection: kept as a dead letter, unless the sink says otherwise.
    #[default]
    Reject,
    /// The broker drops it, and that is well.
    Ignore,
}

/// The sink.
#[derive(Debug)]
pub struct RabbitMq {
    shared: Arc<Shared>,
    composer: Arc<Composer>,
    link: Option<Link>,
    /// Whether it was said that the broker takes nothing: once an alarm.
    alarm_said: bool,
    connects: Storm,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    lessons: Lessons,
}

impl Shared {
    fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config,
            lessons: Lessons::default(),
        })
    }
}

/// What closed channels have taught.
#[derive(Debug, Default)]
struct Lessons {
    /// The broker's largest message in bytes; zero: not known.
    largest: AtomicU64,
    /// How many connects the lesson lasts: one that follows another cause asks the broker anew.
    lasts: AtomicU64,
    /// Whether the next round goes event by event.
    careful: AtomicBool,
}

impl Lessons {
    fn learn(&self, trouble: &Trouble) {
        match trouble {
            Trouble::TooLarge { largest, .. } => {
                self.largest.store(*largest, Relaxed);
                self.lasts.store(1, Relaxed);
            }
            Trouble::Refused(_) => self.careful.store(true, Relaxed),
            Trouble::Other(_) => {}
        }
    }

    /// A limit that was learnt on the connection before last may have been lifted.
    fn connecting(&self) {
        if self.lasts.swap(0, Relaxed) == 0 {
            self.largest.store(0, Relaxed);
        }
    }

    fn too_large(&self, bytes: usize) -> Option<String> {
        let largest = self.largest.load(Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        (largest > 0 && bytes > largest).then(|| failure::too_large(bytes, largest))
    }
}

impl RabbitMq {
    /// A sink that has connected nowhere yet.
    pub fn new(config: Config, source: Source) -> Self {
        Self {
            composer: Arc::new(Composer::new(&config, source)),
            shared: Shared::new(config),
            link: None,
            alarm_said: false,
            connects: Storm::default(),
        }
    }

    /// Waits until the broker takes more: all that was handed over is on its way, and no alarm stops it. An alarm
    /// is said once, as a failure, so that the status shows it; then it is waited for.
    async fn ready(&mut self) -> Result<&mut Link, Failure> {
        let Some(link) = &mut self.link else {
            return Err(failure::not_connected());
        };
        loop {
            match link.stopped()? {
                Some(reason) if !self.alarm_said => {
                    self.alarm_said = true;
                    return Err(failure::alarm(&reason));
                }
                Some(_) => link.changed().await?,
                None => {
                    self.alarm_said = false;
                    if link.written().await? {
                        return Ok(link);
                    }
                }
            }
        }
    }
}

impl Sink for RabbitMq {
    type Confirmation = Confirmation;

    async fn connect(&mut self) -> Result<Option<Cursor>, Failure> {
        self.link = None;
        self.shared.lessons.connecting();
        let link = link::connect(&self.shared).await?;
        link.prepare(&self.shared.config).await?;
        if let Some(connects) = self.connects.strike() {
            tracing::info!(sink = %self.shared.config.name, broker = %link.broker(), connects, "connected to RabbitMQ");
        }
        self.link = Some(link);
        Ok(None)
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<Self::Confirmation, Failure> {
        let (shared, composer) = (Arc::clone(&self.shared), Arc::clone(&self.composer));
        let compose = |event: &Event, link: &Link| {
            let message = composer.compose(event, link.frame_max())?;
            let too_large = shared.lessons.too_large(message.payload.len());
            too_large.map_or(Ok(message), Err)
        };
        let link = self.ready().await?;
        if shared.lessons.careful.load(Relaxed) {
            let outcomes = carefully(link, &shared, &delivery, compose).await?;
            return Ok(Box::pin(std::future::ready(outcomes)));
        }
        let hand_over = link.begin().await?;
        let (mut flights, mut refused) = (Vec::with_capacity(delivery.len()), Vec::new());
        let mut closed = None;
        for (index, event) in delivery.events().enumerate() {
            match compose(event, link).map(|message| link.publish(message, &shared.config)) {
                Ok(Some(flight)) => flights.push(flight),
                // What is on its way may be told why, and is handed over all the same.
                Ok(None) => {
                    closed = Some(link.lost());
                    break;
                }
                Err(reason) => refused.push((index, reason)),
            }
        }
        let nothing = flights.is_empty();
        let answer = link.watch(hand_over, flights);
        match closed {
            Some(lost) if nothing => Err(lost.await),
            closed => Ok(Box::pin(outcomes(answer, refused, closed))),
        }
    }

    async fn close(&mut self) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

/// A sink's way to deliver.
type Confirmation = Pin<Box<dyn Future<Output = Outcomes> + Send>>;

/// What became of a round, with what was refused before it left put in its places. `closed`: why the events
/// after it were not even published, if so.
async fn outcomes(
    answer: Answered,
    refused: Vec<(usize, String)>,
    closed: Option<BoxFuture<'static, Failure>>,
) -> Outcomes {
    let Answer {
        mut outcomes,
        trouble,
    } = answer.await;
    for (index, reason) in refused {
        outcomes.insert(index.min(outcomes.len()), Outcome::Rejected(reason));
    }
    match (trouble, closed) {
        (None, None) => Outcomes::Each(outcomes),
        (None, Some(closed)) => Outcomes::Partly(outcomes, closed.await),
        (Some(trouble), _) => Outcomes::Partly(outcomes, trouble.into_failure()),
    }
}

/// Event by event, to find the one for which the broker closes the channel.
async fn carefully(
    link: &mut Link,
    shared: &Shared,
    delivery: &Delivery,
    compose: impl Fn(&Event, &Link) -> Result<Message, String>,
) -> Result<Outcomes, Failure> {
    let mut outcomes = Vec::with_capacity(delivery.len());
    for event in delivery.events() {
        let hand_over = link.begin().await?;
        let flight = match compose(event, link) {
            Ok(message) => link.publish(message, &shared.config),
            Err(reason) => {
                outcomes.push(Outcome::Rejected(reason));
                continue;
            }
        };
        let Some(flight) = flight else {
            drop(hand_over);
            return Ok(Outcomes::Partly(outcomes, link.lost().await));
        };
        let answer = link.watch(hand_over, vec![flight]).await;
        match answer.trouble {
            None => outcomes.extend(answer.outcomes),
            Some(Trouble::Refused(failure)) => {
                outcomes.push(Outcome::Rejected(failure.text.clone()));
                return Ok(Outcomes::Partly(outcomes, failure::reopen()));
            }
            Some(trouble) => return Ok(Outcomes::Partly(outcomes, trouble.into_failure())),
        }
    }
    shared.lessons.careful.store(false, Relaxed);
    Ok(Outcomes::Each(outcomes))
}

/// Connects, authenticates, and looks for the exchange. Publishes nothing and makes nothing.
pub async fn probe(config: &Config) -> Result<(), Failure> {
    let link = link::connect(&Shared::new(config.clone())).await?;
    let found = link.look(config).await;
    match found {
        Err(failure) if !(config.declare && failure::is_missing(&failure)) => return Err(failure),
        Ok(()) | Err(_) => {}
    }
    link.close().await;
    Ok(())
}
