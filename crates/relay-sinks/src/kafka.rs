//! The Kafka sink: events as records, each acknowledged by every replica in sync. It knows librdkafka, and
//! neither retries nor, unless it delivers exactly once, cursors.
//!
//! # What is guaranteed
//! * **At least once**: `acks=all` and the idempotent producer; an event is confirmed by its delivery
//!   report. Within a partition records stand in the journal's order; after a failure a suffix may
//!   stand there twice, with the same ids.
//! * **Exactly once** ([`ExactlyOnce`]): the events of a delivery and the cursor behind them are written
//!   in one transaction, and that cursor wins when the sink connects. Consumers that read committed
//!   records only see each event once, whatever is killed.
//!
//! # What is refused
//! Only a record that is too large, or that the broker calls invalid. A missing topic or permission
//! blocks the sink, a broker that is away is waited for.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "librdkafka has hundreds of codes: those that matter are named"
)]

use std::pin::Pin;
use std::sync::Arc;

use relay_core::Cursor;
use relay_core::cloudevents::Source;
use relay_core::sink::{Delivery, Failure, Outcomes, Sink};
use relay_core::storm::Storm;
use tokio::sync::Mutex;

use crate::template::Template;
use crate::tls::ClientTls;
use crate::{Format, Secret};

mod cursors;
mod failure;
mod link;
mod properties;
mod record;
mod round;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;

pub use properties::{Properties, PropertyError};

use link::Link;
use record::Composer;
use transaction::{Turn, Written};
use watch::Fence;

/// A Kafka sink, as it is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sink's name; the relay's cursor at the destination belongs to it.
    pub name: String,
    /// Whose events they are: what `{tenant}` stands for.
    pub tenant: String,
    /// Brokers to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// The topic; its values are confined.
    pub topic: Template,
    /// The record's key; its values are not.
    pub key: Template,
    /// How an event is written.
    pub format: Format,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: &'static str,
    /// Present: events and cursor are written together.
    pub exactly_once: Option<ExactlyOnce>,
    /// Present: connections use TLS.
    pub tls: Option<ClientTls>,
    /// Who the relay is; `None`: nobody asks.
    pub sasl: Option<Sasl>,
    /// What librdkafka is told beside that.
    pub properties: Properties,
    /// What may be under way, bytes.
    pub in_flight_bytes: usize,
}

/// Delivering exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactlyOnce {
    /// Whoever uses the same id ends this sink's transactions, and is ended by it.
    pub transactional_id: String,
    /// The topic of cursors; made, compacted, where it is missing.
    pub cursor_topic: String,
}

/// A name and a password for SASL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// The name.
    pub username: String,
    /// The password, read at each connect.
    pub password: Secret,
}

/// The sink.
#[derive(Debug)]
pub struct Kafka {
    shared: Arc<Shared>,
    link: Option<Link>,
    /// `None`: whatever cursor is found is taken as it is.
    turn: Option<Turn>,
    /// Another producer has taken the transactional id: until an operator seeks or starts it anew, this
    /// one stays away, since to connect would end the other.
    fenced: bool,
    /// Our producer was ended when its transaction had been open for too long. Whether another has taken
    /// the id meanwhile is found out once brokers can be asked.
    overdue: bool,
    /// A request was refused as too large: records go one by one until the one that is has been found.
    alone: bool,
    connects: Storm,
    alones: Storm,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    composer: Composer,
}

impl Kafka {
    /// A sink that has connected nowhere yet.
    pub fn new(config: Config, source: Source) -> Self {
        let composer = Composer::new(&config, source);
        Self {
            shared: Arc::new(Shared { config, composer }),
            link: None,
            turn: None,
            fenced: false,
            overdue: false,
            alone: false,
            connects: Storm::default(),
            alones: Storm::default(),
        }
    }

    async fn open(&mut self) -> Result<Link, Failure> {
        if let Some(old) = self.link.take() {
            self.alone = old.wants_records_alone();
            old.close().await;
        }
        let link = Link::open(&self.shared.config, self.alone).await?;
        if self.alone
            && let Some(times) = self.alones.strike()
        {
            let text = "records go to Kafka one by one: a request of several was refused; if that stays so, set \
                        librdkafka.\"message.max.bytes\" to the topic's max.message.bytes";
            tracing::warn!(sink = %self.shared.config.name, times, "{text}");
        }
        Ok(link)
    }
}

impl Sink for Kafka {
    type Confirmation = Confirmation;

    async fn connect(&mut self) -> Result<Option<Cursor>, Failure> {
        match self.link.as_ref().and_then(Link::fence) {
            Some(Fence::Taken) => self.fenced = true,
            Some(Fence::Overdue) => self.overdue = true,
            None => {}
        }
        let shared = Arc::clone(&self.shared);
        if self.fenced {
            return Err(failure::fenced(&shared.config));
        }
        let link = self.open().await?;
        let cursor = match &shared.config.exactly_once {
            None => None,
            Some(exactly_once) => {
                let own = match &self.turn {
                    Some(turn) => Some(*turn.lock().await),
                    None => None,
                };
                transaction::begin(&link, &shared, exactly_once, own, self.overdue).await?
            }
        };
        self.overdue = false;
        // One of another journal is the worker's to refuse.
        let ours = cursor.is_none_or(|cursor| shared.composer.is_ours(cursor));
        self.turn = ours.then(|| Arc::new(Mutex::new(Written::found(cursor))));
        if let Some(connects) = self.connects.strike() {
            tracing::info!(sink = %shared.config.name, connects, "connected to Kafka");
        }
        self.link = Some(link);
        Ok(cursor)
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<Self::Confirmation, Failure> {
        let Some(link) = self.link.clone() else {
            return Err(failure::not_connected());
        };
        let shared = Arc::clone(&self.shared);
        let Some(exactly_once) = shared.config.exactly_once.clone() else {
            let flight = round::hand_over(&link, &shared.composer, &delivery).await?;
            return Ok(Box::pin(flight.outcomes()));
        };
        let Some(turn) = self.turn.clone() else {
            return Err(failure::not_connected());
        };
        let turn = turn.lock_owned().await;
        Ok(Box::pin(async move {
            let delivered = transaction::deliver(&link, &shared, &exactly_once, &delivery, turn);
            let outcomes = delivered.await;
            match link.fence() {
                None => outcomes,
                Some(Fence::Taken) => Outcomes::Failed(failure::fenced(&shared.config)),
                Some(Fence::Overdue) => Outcomes::Failed(failure::overdue()),
            }
        }))
    }

    async fn seek(&mut self, to: Cursor) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let Some(exactly_once) = &shared.config.exactly_once else {
            return Ok(());
        };
        self.turn = None;
        let link = self.open().await?;
        transaction::seek(&link, &shared, exactly_once, to).await?;
        // An operator who seeks wants this relay to be the one that delivers.
        (self.fenced, self.overdue) = (false, false);
        self.link = Some(link);
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

/// A sink's way to deliver.
type Confirmation = Pin<Box<dyn Future<Output = Outcomes> + Send>>;

/// Connects, authenticates, and looks for the topic. Writes nothing, makes nothing, and ends nobody's
/// transactions.
pub async fn probe(config: &Config) -> Result<(), Failure> {
    let plain = Config {
        exactly_once: None,
        ..config.clone()
    };
    let topic = plain.topic.fixed(&plain.tenant);
    Link::probe(&plain, topic.as_deref()).await
}
