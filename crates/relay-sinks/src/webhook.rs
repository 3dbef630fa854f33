//! The webhook sink: events as signed HTTP requests, to one endpoint. It knows HTTP, and neither cursors nor
//! how long to wait.
//!
//! # What is sent
//! * `mode = "single"`: one `POST` an event, in the binary form (the body is the event's bytes, its
//!   attributes stand in `ce-*` headers) or the structured one. `mode = "batch"`: one `POST` for what was
//!   read together, as `application/cloudevents-batch+json`.
//! * By Standard Webhooks: `webhook-id`, `webhook-timestamp` (of this attempt), and one signature for each
//!   secret in `webhook-signature`. The id is `evt_`, or `bat_`, and 32 hex digits of the SHA-256 of the
//!   event's CloudEvents id, or of the batch's ids with a line feed between them. It is the same in every
//!   retry of the same events: a batch is retried with the events it had, as long as the relay runs. A batch whose
//!   events are others (after a restart, or when a refused one is split) has another id; the ids of the events
//!   inside never change.
//! * Nothing else goes anywhere else: redirects are not followed, and no proxy is taken from the environment.
//!
//! # Order
//! Per key one request at a time; different keys side by side, `concurrency` of them. After a failure no
//! request begins until the worker has waited, and then one alone until the endpoint has taken it.

use std::time::Duration;

use relay_core::Cursor;
use relay_core::cloudevents::Source;
use relay_core::sink::{Delivery, Failure, Next, Sink};

mod answer;
mod body;
mod endpoint;
mod flights;
mod hidden;
mod lanes;
mod request;
mod signature;

pub use endpoint::probe;
pub use flights::Confirmation;
pub use request::{OWNED_HEADERS, is_owned_header};
pub use signature::{SecretError, check_secrets};

use crate::tls::ClientTls;
use crate::{Format, Secret};
use endpoint::Endpoint;
use flights::Flights;
use request::Form;

/// How many events a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One.
    #[default]
    Single,
    /// What was read together; always structured.
    Batch,
}

/// A webhook sink, as it is configured.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to: `http` or `https`, without user and password.
    pub url: String,
    /// What signs: one secret, or several with blanks, commas or line breaks between them while they are
    /// rotated; `None`: requests are not signed. Read at each connect.
    pub secret: Option<Secret>,
    /// Headers that every request carries besides the relay's own. Their values are treated as secrets,
    /// and read at each connect.
    pub headers: Vec<(String, Secret)>,
    /// How long a request may take, from the connection to the head of the answer.
    pub timeout: Duration,
    /// One event a request, or many.
    pub mode: Mode,
    /// The form of events in single mode.
    pub format: Format,
    /// Requests at once, never two of one key.
    pub concurrency: usize,
    /// Certificates.
    pub tls: ClientTls,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The url's path and query may hold a secret.
        f.debug_struct("Config")
            .field("timeout", &self.timeout)
            .field("mode", &self.mode)
            .field("format", &self.format)
            .field("concurrency", &self.concurrency)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// The sink.
#[derive(Debug)]
pub struct Webhook {
    config: Config,
    source: Source,
    flights: Option<Flights>,
}

impl Webhook {
    /// A webhook sink that has connected to nothing yet.
    pub fn new(config: Config, source: Source) -> Self {
        Self {
            config,
            source,
            flights: None,
        }
    }
}

impl Sink for Webhook {
    type Confirmation = Confirmation;

    async fn connect(&mut self) -> Result<Option<Cursor>, Failure> {
        // First: what an earlier connection still has under way ends.
        self.flights = None;
        let config = self.config.clone();
        let opened = tokio::task::spawn_blocking(move || Endpoint::open(&config)).await;
        let endpoint = opened.unwrap_or_else(|error| {
            Err(Failure {
                next: Next::Reconnect,
                text: format!("setting up the endpoint was interrupted: {error}"),
                remedy: String::new(),
            })
        })?;
        let form = Form {
            mode: self.config.mode,
            format: self.config.format,
            source: self.source.clone(),
        };
        self.flights = Some(Flights::new(endpoint, form, self.config.concurrency));
        Ok(None)
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<Confirmation, Failure> {
        let Some(flights) = self.flights.as_mut() else {
            return Err(Failure {
                next: Next::Reconnect,
                text: "the endpoint is not set up".to_owned(),
                remedy: String::new(),
            });
        };
        Ok(flights.start(delivery).await)
    }

    async fn close(&mut self) {
        self.flights = None;
        // Lets the tasks of what was under way end.
        tokio::task::yield_now().await;
    }
}
