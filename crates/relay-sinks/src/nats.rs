//! The NATS sink: events as messages of JetStream, each acknowledged by the server, or of core NATS. It knows
//! async-nats, and neither retries nor cursors.
//!
//! # What is guaranteed
//! * **JetStream**: an event is confirmed when the stream's acknowledgement is there. Publishes are pipelined.
//!   `Nats-Msg-Id` is the event's id, so that what comes again within the stream's duplicate window is
//!   stored once; an acknowledgement that calls it a duplicate confirms it.
//! * **Order** per key holds in the stream, whatever was stored in which attempt (`order`).
//! * **Core NATS** loses messages: an event is confirmed when it was handed to the server's socket,
//!   whether somebody listens or not, and whether the server has read it or not.
//!
//! # One connection, used once
//! async-nats connects again by itself and would then send what its queue still holds, while what was
//! under way before is lost: later events of a key would be stored before earlier ones. So a client
//! that was disconnected is not let in again (see `connection`); the worker connects anew and hands
//! over from the oldest unsettled event on. An earlier connection can only repeat, in order, what comes
//! again anyway.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::PublishErrorKind;
use relay_core::Cursor;
use relay_core::cloudevents::Source;
use relay_core::sink::{Delivery, Failure, Outcome, Outcomes, Sink, Warning};
use relay_core::storm::Storm;

use crate::Format;
use crate::tls::ClientTls;

mod auth;
mod connection;
mod failure;
mod message;
mod order;
mod round;
mod stream;
mod subject;

pub use auth::Auth;
pub use subject::{Subject, SubjectError};

use connection::Link;
use message::Composer;
use order::Order;
use subject::Untaken;

/// A NATS sink, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The sink's name, which the server shows for its connection.
    pub name: String,
    /// Whose events they are: what `{tenant}` stands for.
    pub tenant: String,
    /// Where servers listen, `nats://host:port` or `tls://host:port`. Others of their cluster are not learnt.
    pub servers: Vec<String>,
    /// What an event is published as.
    pub subject: Subject,
    /// The stream; `None`: core NATS, which loses messages.
    pub jetstream: Option<JetStream>,
    /// Who the relay is.
    pub auth: Auth,
    /// What TLS trusts and shows; `None`: TLS where the server or the URL asks for it.
    pub tls: Option<Tls>,
    /// How an event is written.
    pub format: Format,
}

/// The stream that keeps the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStream {
    /// Its name; `None`: the one that takes the subjects.
    pub stream: Option<String>,
    /// Whether it is made where it is missing. One that is there is never changed.
    pub create: bool,
}

/// TLS of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The files.
    pub files: ClientTls,
    /// TLS before the server's first line, for servers with `handshake_first`.
    pub handshake_first: bool,
}

/// The sink.
#[derive(Debug)]
pub struct Nats {
    shared: Arc<Shared>,
    link: Option<Link>,
    /// Streams that were warned of.
    warned: HashSet<String>,
    /// What there is to say of the stream.
    warning: Option<Warning>,
    connects: Storm,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    composer: Composer,
    order: Order,
    /// What no stream took when it was published: looked at whenever the stream is checked.
    untaken: Untaken,
}

impl Nats {
    /// A sink that has connected nowhere yet.
    pub fn new(config: Config, source: Source) -> Self {
        let composer = Composer::new(&config, source);
        Self {
            shared: Arc::new(Shared {
                config,
                composer,
                order: Order::default(),
                untaken: Untaken::default(),
            }),
            link: None,
            warned: HashSet::new(),
            warning: None,
            connects: Storm::default(),
        }
    }
}

impl Sink for Nats {
    type Confirmation = Confirmation;

    async fn connect(&mut self) -> Result<Option<Cursor>, Failure> {
        self.link = None;
        let config = &self.shared.config;
        let mut link = connection::connect(config).await?;
        if let Some((wanted, context)) = config.jetstream.as_ref().zip(link.context.clone()) {
            let pattern = config.subject.pattern(&config.tenant);
            let place = stream::Place {
                wanted,
                pattern: &pattern,
                untaken: self.shared.untaken.get(),
            };
            let found = link.alive(stream::ensure(&context, &place)).await??;
            self.shared.untaken.clear();
            self.warning = found.warning(&config.name, &mut self.warned);
            self.shared.order.of(&found.identity);
            link.stream = wanted.stream.clone().map(Into::into);
        }
        if let Some(connects) = self.connects.strike() {
            tracing::info!(sink = %config.name, server = %link.server(), connects, "connected to NATS");
        }
        self.link = Some(link);
        Ok(None)
    }

    fn warnings(&self) -> Vec<Warning> {
        self.warning.clone().into_iter().collect()
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<Self::Confirmation, Failure> {
        let Some(link) = &self.link else {
            return Err(failure::not_connected());
        };
        link.healthy()?;
        let shared = Arc::clone(&self.shared);
        let Some(context) = &link.context else {
            return core(link, &shared, &delivery).await;
        };
        let round = round::publish(link, context, &shared, delivery).await?;
        Ok(Box::pin(round.outcomes()))
    }

    async fn seek(&mut self, _to: Cursor) -> Result<(), Failure> {
        self.shared.order.forget();
        // It may never be published again.
        self.shared.untaken.clear();
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

/// Core NATS: handed to the socket is all there is to know.
async fn core(link: &Link, shared: &Shared, delivery: &Delivery) -> Result<Confirmation, Failure> {
    let mut outcomes = Vec::with_capacity(delivery.len());
    for event in delivery.events() {
        outcomes.push(match shared.composer.compose(event, None, None) {
            Err(reason) => Outcome::Rejected(reason),
            Ok(message) => {
                let publish = link.client().publish_with_headers(
                    message.subject,
                    message.headers,
                    message.payload,
                );
                match link.alive(publish).await? {
                    Ok(()) => Outcome::Confirmed,
                    Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                        Outcome::Rejected(failure::over_max_payload(&error))
                    }
                    Err(_closed) => return Err(failure::disconnected()),
                }
            }
        });
    }
    let link = link.clone();
    Ok(Box::pin(async move {
        match link.alive(link.client().flush()).await {
            Ok(Ok(())) => Outcomes::Each(outcomes),
            Ok(Err(_closed)) => Outcomes::Failed(failure::disconnected()),
            Err(failure) => Outcomes::Failed(failure),
        }
    }))
}

/// Connects, authenticates, and looks for the stream. Publishes nothing and makes nothing.
pub async fn probe(config: &Config) -> Result<(), Failure> {
    let link = connection::connect(config).await?;
    if let Some((wanted, context)) = config.jetstream.as_ref().zip(link.context.as_ref()) {
        let pattern = config.subject.pattern(&config.tenant);
        let place = stream::Place {
            wanted,
            pattern: &pattern,
            untaken: None,
        };
        link.alive(stream::check(context, &place)).await??;
    }
    link.close().await;
    Ok(())
}
