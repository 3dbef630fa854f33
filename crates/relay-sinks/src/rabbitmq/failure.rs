//! What goes wrong with RabbitMQ, in words, and what an operator can do about it. Nothing here holds a secret.

use std::error::Error as _;
use std::io;

use lapin::protocol::AMQPError;
use lapin::{Error, ErrorKind};
use relay_core::sink::{Failure, Next};

use super::Config;
use super::address::{Address, AddressError};
use super::confirms::PATIENCE;
use crate::tls::TlsError;

/// AMQP's reply codes that mean something to an operator.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// What ended a channel or a connection that events were under way on.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// One of the events is larger than the broker takes.
    TooLarge {
        /// The broker's limit in bytes.
        largest: u64,
        failure: Failure,
    },
    /// One of the events is refused for a reason that is not understood.
    Refused(Failure),
    /// It concerns the sink.
    Other(Failure),
}

impl Trouble {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::TooLarge { failure, .. } | Self::Refused(failure) | Self::Other(failure) => {
                failure
            }
        }
    }
}

fn reconnect(text: String) -> Failure {
    Failure {
        next: Next::Reconnect,
        text,
        remedy: String::new(),
    }
}

fn blocked(text: String, remedy: impl Into<String>) -> Failure {
    Failure {
        next: Next::Blocked,
        text,
        remedy: remedy.into(),
    }
}

/// The broker's own words, with their code in them, where it said something.
fn said(error: &Error) -> Option<&AMQPError> {
    if let ErrorKind::ProtocolError(error) = error.kind() {
        Some(error)
    } else {
        None
    }
}

/// Nothing was sent, since there is no connection.
pub(super) fn not_connected() -> Failure {
    reconnect("not connected to RabbitMQ".into())
}

/// The connection has ended.
pub(super) fn disconnected() -> Failure {
    reconnect("the connection to RabbitMQ was lost".into())
}

/// The channel was closed for one event, which is known now.
pub(super) fn reopen() -> Failure {
    reconnect("RabbitMQ closed the channel for an event that it refuses; the rest follows".into())
}

/// Nothing came for too long.
pub(super) fn late() -> Failure {
    reconnect(format!("RabbitMQ has confirmed nothing for {PATIENCE:?}"))
}

/// The broker takes nothing for lack of memory or disk.
pub(super) fn alarm(reason: &str) -> Failure {
    Failure {
        next: Next::Retry,
        text: format!("RabbitMQ takes no messages at present (connection.blocked): {reason}"),
        remedy: "free memory or disk of the broker (rabbitmq-diagnostics alarms, rabbitmqctl list_queues); \
                 delivery goes on by itself"
            .into(),
    }
}

/// Some events were refused for now.
pub(super) fn nacked(count: usize) -> Failure {
    Failure {
        next: Next::Retry,
        text: format!("RabbitMQ did not take {count} events (basic.nack)"),
        remedy: "a queue may be full (overflow = reject-publish) or without its leader: look at the queues that the \
                 exchange leads to"
            .into(),
    }
}

/// Why an event is left out.
pub(super) fn too_large(bytes: u64, largest: u64) -> String {
    format!(
        "it has {bytes} bytes, more than the broker's max_message_size of {largest}: raise that in rabbitmq.conf, or \
         leave such events out with types"
    )
}

/// Why an event that led nowhere is rejected.
pub(super) fn unroutable(exchange: &str, key: &str, reply: &str) -> String {
    format!(
        "no queue is bound to exchange {exchange:?} for routing key {key:?} ({reply}): bind one, give the exchange an \
         alternate-exchange, or set unroutable = \"ignore\""
    )
}

/// A URL that can't be had.
pub(super) fn unread(error: &io::Error) -> Failure {
    let remedy = "check url_file of the sink, and that the relay's user may read it";
    blocked(format!("the broker's URL can't be read: {error}"), remedy)
}

/// A URL that is none.
pub(super) fn bad_address(error: AddressError) -> Failure {
    let remedy = "write it like amqp://user:password@host:5672/vhost, or amqps:// for TLS, with special characters of \
                  user, password and vhost percent-encoded";
    blocked(format!("the broker's URL is not right: {error}"), remedy)
}

/// TLS that can't be set up.
pub(super) fn tls_files(error: &TlsError) -> Failure {
    let cause = error.source().map(|cause| format!(": {cause}"));
    let remedy = "check tls.ca_file, tls.cert_file and tls.key_file of the sink";
    blocked(format!("{error}{}", cause.unwrap_or_default()), remedy)
}

/// A step that took too long.
pub(super) fn no_answer(address: &Address, what: &str) -> Failure {
    reconnect(format!("{address} did not answer in time: {what}"))
}

/// No TCP.
pub(super) fn unreachable(address: &Address, error: &io::Error) -> Failure {
    reconnect(format!("connecting to {address}: {error}"))
}

/// No TLS. What certificates say does not change by waiting.
pub(super) fn no_tls(address: &Address, error: &io::Error) -> Failure {
    let text = format!("TLS with {address}: {error}");
    let rustls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    if rustls.is_none() {
        return reconnect(text);
    }
    let remedy = "check tls.ca_file of the sink against the broker's certificate and its name, and that the port speaks TLS";
    blocked(text, remedy)
}

/// The broker was reached, but there is no connection.
pub(super) fn handshake(address: &Address, error: &Error) -> Failure {
    let (user, vhost) = (address.user(), address.vhost());
    let Some(said) = said(error) else {
        return reconnect(format!("the handshake with {address} failed: {error}"));
    };
    let words = said.get_message();
    match said.get_id() {
        ACCESS_REFUSED => blocked(
            format!("{address} refuses user {user:?}: {words}"),
            "check user and password in url or url_file (rabbitmqctl authenticate_user); guest may come from the broker's own machine only",
        ),
        NOT_ALLOWED | NOT_FOUND => blocked(
            format!("{address} refuses the virtual host {vhost:?}: {words}"),
            format!(
                "make the virtual host (rabbitmqctl add_vhost {vhost:?}) and allow it to the user (rabbitmqctl set_permissions -p \
                 {vhost:?} {user:?} ...), or correct the end of the url"
            ),
        ),
        _ => reconnect(format!("{address} refuses the connection: {words}")),
    }
}

/// The exchange is not there, or not as it is wanted.
pub(super) fn exchange(config: &Config, error: &Error) -> Failure {
    let name = &config.exchange;
    let Some(said) = said(error) else {
        return reconnect(format!("looking for exchange {name:?}: {error}"));
    };
    let words = said.get_message();
    match said.get_id() {
        NOT_FOUND => blocked(
            format!("{MISSING}{name:?}: {words}"),
            "make it (of type topic, durable), set declare = true, or name another one with exchange",
        ),
        PRECONDITION_FAILED => blocked(
            format!("exchange {name:?} is there, but is no durable topic exchange: {words}"),
            "set declare = false to publish to it as it is, delete it, or name another one with exchange",
        ),
        ACCESS_REFUSED => blocked(
            format!("the relay's user may not make exchange {name:?}: {words}"),
            "let the user configure it (rabbitmqctl set_permissions), or make it yourself and set declare = false",
        ),
        _ => reconnect(format!("looking for exchange {name:?}: {words}")),
    }
}

const MISSING: &str = "there is no exchange ";

/// Whether it says that the exchange is not there.
pub(super) fn is_missing(failure: &Failure) -> bool {
    failure.text.starts_with(MISSING)
}

/// The connection, or the channel, ended under events.
pub(super) fn publishing(exchange: &str, error: &Error) -> Trouble {
    let Some(said) = said(error) else {
        return Trouble::Other(reconnect(format!(
            "the connection to RabbitMQ was lost: {error}"
        )));
    };
    let words = said.get_message().as_str();
    match (said.get_id(), largest(words)) {
        (PRECONDITION_FAILED, Some(largest)) => Trouble::TooLarge {
            largest,
            failure: reconnect(format!("RabbitMQ closed the channel: {words}")),
        },
        (PRECONDITION_FAILED, None) => {
            Trouble::Refused(reconnect(format!("RabbitMQ closed the channel: {words}")))
        }
        (ACCESS_REFUSED, _) => Trouble::Other(blocked(
            format!("the relay's user may not publish to exchange {exchange:?}: {words}"),
            "let the user write to it (rabbitmqctl set_permissions, and set_topic_permissions if there are any), or name an exchange \
             that is not internal",
        )),
        // The next connect says what is missing, or makes it.
        _ => Trouble::Other(reconnect(format!(
            "RabbitMQ closed the channel or the connection: {words}"
        ))),
    }
}

/// The limit that the broker names when a message exceeds it: `message size 9 is larger than configured max size 8`.
fn largest(words: &str) -> Option<u64> {
    let (_, limit) = words.split_once("larger than configured max size ")?;
    let end = limit
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(limit.len());
    limit.get(..end)?.parse().ok()
}
