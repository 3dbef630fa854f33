//! Owns the keys of a sink of type `rabbitmq`.

use relay_sinks::Format;

use super::delivery;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, Tls};

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "url",
    "url_file",
    "exchange",
    "declare",
    "routing_key",
    "unroutable",
    "tls",
];

const URL: &str = "\"amqp://host:5672/vhost\", or \"amqps://..\" for TLS; with user and password as \
                   \"amqp://user:password@host\" keep it in a file and set url_file";

/// AMQP's longest name and routing key.
const LONGEST: usize = 255;

/// A sink of type `rabbitmq`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rabbitmq {
    /// It may hold a password.
    pub(crate) url: Secret,
    pub(crate) exchange: String,
    pub(crate) declare: bool,
    pub(crate) routing_key: String,
    /// Whether an event that leads to no queue is a rejection.
    pub(crate) reject_unroutable: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) format: Format,
}

pub(super) fn read(section: &Section<'_>) -> Option<Rabbitmq> {
    let url = url(section);
    let exchange = exchange(section);
    let declare = section.flag("declare", false);
    if declare && (exchange.is_empty() || exchange.starts_with("amq.")) {
        section.wrong(
            "declare",
            "does not fit this exchange",
            "exchanges of the broker itself (the empty name, amq.*) are there already: set declare = false",
        );
    }
    let routing_key = section.text("routing_key");
    let routing_key = routing_key.unwrap_or_else(|| "{class}.{type}".to_owned());
    if let Some(fault) = refused(&routing_key) {
        let remedy = format!("{fault}; such as \"{{class}}.{{type}}\"");
        section.wrong("routing_key", "is not allowed", &remedy);
    }
    let unroutable = [("reject", true), ("ignore", false)];
    Some(Rabbitmq {
        exchange,
        declare,
        routing_key,
        reject_unroutable: section.choice("unroutable", &unroutable, true),
        format: delivery::format(section, Format::Binary),
        tls: tls::read(&section.child("tls")),
        url: url?,
    })
}

fn url(section: &Section<'_>) -> Option<Secret> {
    if !section.has("url") && !section.has("url_file") {
        section.knows(&["url", "url_file"]);
        section.missing("url", URL);
        return None;
    }
    let url = section.secret("url", "url_file")?;
    let key = if section.has("url") {
        "url"
    } else {
        "url_file"
    };
    // It is read again at each connect; what is wrong with it now is said now. It is never shown.
    match url.read() {
        Ok(text) => {
            if let Some(fault) = no_address(&text) {
                section.hidden(key, &format!("is not allowed: {fault}"), URL);
            }
        }
        Err(_unreadable) => {}
    }
    Some(url)
}

fn exchange(section: &Section<'_>) -> String {
    let exchange = section.text("exchange");
    let exchange = exchange.unwrap_or_else(|| "sapi".to_owned());
    if exchange.len() > LONGEST {
        section.wrong("exchange", "is too long", "at most 255 bytes");
    }
    exchange
}

/// Why a URL leads to no broker; without the URL.
#[cfg(feature = "rabbitmq")]
fn no_address(url: &str) -> Option<String> {
    let parsed = relay_sinks::rabbitmq::Address::parse(url);
    parsed.err().map(|error| error.to_string())
}

#[cfg(not(feature = "rabbitmq"))]
fn no_address(_url: &str) -> Option<String> {
    None
}

/// Why a template can't be a routing key.
#[cfg(feature = "rabbitmq")]
fn refused(routing_key: &str) -> Option<String> {
    match relay_sinks::template::Template::confined(routing_key) {
        Err(error) => Some(error.to_string()),
        Ok(template) if template.outline("", "").len() > LONGEST => {
            Some(format!("a routing key has at most {LONGEST} bytes"))
        }
        Ok(_) => None,
    }
}

#[cfg(not(feature = "rabbitmq"))]
fn refused(_routing_key: &str) -> Option<String> {
    None
}
