//! What goes wrong with NATS, in words, and what an operator can do about it. Nothing here holds a secret.

use std::error::Error;

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, PublishError, PublishErrorKind,
};
use async_nats::{ConnectError, ConnectErrorKind};
use relay_core::sink::{Failure, Next};

use super::Config;
use super::connection::PATIENCE;
use crate::tls::TlsError;

/// What a refusal of a publish means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This event is refused for good.
    Rejected(String),
    /// No acknowledgement in time.
    Late,
    /// No stream takes its subject.
    Untaken,
    /// It concerns the sink.
    Failed(Failure),
}

/// The server answers a publish that a stream would have to store with this code: its limits with
/// `discard = new`, or its disk.
const STORE_FAILED: u64 = 10_077;
/// More publishes wait in the server than it holds.
const TOO_MANY: u64 = 10_167;

fn retry(next: Next, text: String) -> Failure {
    Failure {
        next,
        text,
        remedy: String::new(),
    }
}

fn blocked(text: String, remedy: String) -> Failure {
    Failure {
        next: Next::Blocked,
        text,
        remedy,
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Whether TLS itself failed: certificates do not become right by waiting.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        let io = error.downcast_ref::<std::io::Error>();
        cause = match io.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// Nothing was sent, since there is no connection.
pub(super) fn not_connected() -> Failure {
    retry(Next::Reconnect, "not connected to NATS".into())
}

/// The connection has ended.
pub(super) fn disconnected() -> Failure {
    retry(
        Next::Reconnect,
        "the connection to the NATS server was lost".into(),
    )
}

/// Nothing came for too long: it counts as not delivered, and the connection as dead.
pub(super) fn late() -> Failure {
    let text = format!("the NATS server has not acknowledged within {PATIENCE:?}");
    retry(Next::Reconnect, text)
}

/// No stream took a subject. The next connect says why.
pub(super) fn untaken(subject: &str) -> Failure {
    retry(
        Next::Reconnect,
        format!("no stream takes the subject {subject}"),
    )
}

/// An event could not be handed to the client.
pub(super) fn not_sent(error: &PublishError) -> Failure {
    retry(
        Next::Reconnect,
        format!("publishing to NATS: {}", chain(error)),
    )
}

/// An event that fits no message of this server.
pub(super) fn over_max_payload(error: &dyn std::fmt::Display) -> String {
    format!(
        "larger than the server's max_payload: {error}; raise it there, and max_msg_size of the stream"
    )
}

/// The server does not answer.
pub(super) fn no_answer(what: &str, config: &Config) -> Failure {
    let text = format!("{what}: no answer of {} in time", config.servers.join(", "));
    retry(Next::Reconnect, text)
}

/// An address that is none.
pub(super) fn bad_server(server: &str, error: &std::io::Error) -> Failure {
    let remedy = "write servers like \"nats://host:4222\" or \"tls://host:4222\"".to_owned();
    blocked(format!("the server {server:?}: {error}"), remedy)
}

/// Credentials that can't be read.
pub(super) fn no_credentials(error: &str, config: &Config) -> Failure {
    let remedy = format!("check {} of the sink", config.auth.keys());
    blocked(format!("the credentials can't be read: {error}"), remedy)
}

/// TLS that can't be set up.
pub(super) fn tls_files(error: &TlsError) -> Failure {
    let remedy = "check tls.ca_file, tls.cert_file and tls.key_file of the sink".to_owned();
    blocked(chain(error), remedy)
}

/// A connect that failed.
pub(super) fn connect(error: &ConnectError, config: &Config) -> Failure {
    let text = format!(
        "connecting to NATS ({}): {}",
        config.servers.join(", "),
        chain(error)
    );
    let credentials = || {
        let keys = config.auth.keys();
        blocked(
            text.clone(),
            format!("check {keys} of the sink, and the user on the server"),
        )
    };
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            credentials()
        }
        ConnectErrorKind::ServerParse => blocked(text, "check servers of the sink".into()),
        ConnectErrorKind::Tls | ConnectErrorKind::Io if is_tls(error) => {
            let remedy = "check tls.ca_file, and tls.cert_file with tls.key_file where the server asks for a \
                          certificate; the server's has to name the host in servers";
            blocked(text, remedy.into())
        }
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => {
            let known = chain(error);
            if refuses(&known) {
                return credentials();
            }
            retry(Next::Reconnect, text)
        }
    }
}

/// Whether a server's words are about who the relay is, or what it may.
fn refuses(text: &str) -> bool {
    let text = text.to_lowercase();
    [
        "authoriz",
        "authentic",
        "permissions",
        "account",
        "revoked",
        "expired",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// What the server says outside of any answer; it mostly hangs up then.
pub(super) fn server(text: &str, auth: &str, subject: &str) -> Failure {
    let said = text.strip_prefix("nats: ").unwrap_or(text);
    let text = format!("the NATS server says: {said}");
    let lower = said.to_lowercase();
    if lower.contains("permissions violation") {
        let remedy = format!(
            "let the relay's user publish to {subject} and $JS.API.>, and subscribe to _INBOX.>"
        );
        return blocked(text, remedy);
    }
    if refuses(&lower) {
        return blocked(
            text,
            format!("check {auth} of the sink, and the user on the server"),
        );
    }
    retry(Next::Reconnect, text)
}

/// What a publish was answered.
pub(super) fn publish(error: &PublishError, config: &Config) -> Verdict {
    match error.kind() {
        PublishErrorKind::StreamNotFound => return Verdict::Untaken,
        PublishErrorKind::TimedOut => return Verdict::Late,
        PublishErrorKind::MaxPayloadExceeded => return Verdict::Rejected(over_max_payload(error)),
        PublishErrorKind::BrokenPipe => return Verdict::Failed(disconnected()),
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => {}
    }
    match error
        .source()
        .and_then(|error| error.downcast_ref::<jetstream::Error>())
    {
        Some(error) => refusal(error, config),
        None => Verdict::Failed(retry(
            Next::Retry,
            format!("publishing to NATS: {}", chain(error)),
        )),
    }
}

/// What a stream's refusal means.
fn refusal(error: &jetstream::Error, config: &Config) -> Verdict {
    let name = config
        .jetstream
        .as_ref()
        .and_then(|wanted| wanted.stream.as_deref());
    let stream = name.map_or_else(|| "the stream".to_owned(), |name| format!("stream {name}"));
    let text = format!("{stream} refuses: {error}");
    let failed = |next, remedy: String| {
        let text = text.clone();
        Verdict::Failed(Failure { next, text, remedy })
    };
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            Verdict::Rejected(format!("larger than the max_msg_size of {stream}: {error}"))
        }
        ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => Verdict::Rejected(text),
        ErrorCode::STREAM_NOT_FOUND => failed(Next::Reconnect, String::new()),
        ErrorCode::STREAM_NOT_MATCH => failed(
            Next::Blocked,
            format!(
                "another stream takes the subject: give {stream} its subjects, or name the other one"
            ),
        ),
        ErrorCode(STORE_FAILED) => failed(
            Next::Retry,
            format!(
                "{stream} is full, or its server's disk: raise its limits, let consumers take from it, or discard old \
                 messages"
            ),
        ),
        // The servers of a cluster still agree on what came before a lost connection.
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT | ErrorCode(TOO_MANY) => {
            failed(Next::Retry, String::new())
        }
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED => failed(
            Next::Blocked,
            "raise the account's or the server's limits of JetStream".into(),
        ),
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => failed(
            Next::Blocked,
            "turn JetStream on, or set jetstream = false".into(),
        ),
        _ if error.code() >= 500 || error.code() == 429 => failed(Next::Retry, String::new()),
        _ => failed(Next::Blocked, format!("look at {stream} on the server")),
    }
}

/// What the stream's own settings, or a request for them, mean.
pub(super) fn stream(text: String, remedy: String) -> Failure {
    blocked(text, remedy)
}

/// What JetStream refuses when it is asked for a stream. What servers say while they start goes by.
pub(super) fn refused(what: &str, error: &jetstream::Error, remedy: String) -> Failure {
    let lasting = matches!(
        error.error_code(),
        ErrorCode::JETSTREAM_NOT_ENABLED
            | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
    );
    let text = format!("{what}: {error}");
    if error.code() >= 500 && !lasting {
        retry(Next::Reconnect, text)
    } else {
        blocked(text, remedy)
    }
}

/// A request to JetStream that brought no answer of it.
pub(super) fn request(what: &str, error: &(dyn Error + 'static)) -> Failure {
    let text = format!("{what}: {}", chain(error));
    let nobody = |error: &(dyn Error + 'static)| {
        let request = error.downcast_ref::<jetstream::context::RequestError>();
        request
            .is_some_and(|error| error.kind() == jetstream::context::RequestErrorKind::NoResponders)
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if nobody(error) {
            let remedy = "turn JetStream on (nats-server -js, or jetstream {} in its configuration), for the \
                          relay's account too; or set jetstream = false, which loses messages";
            return blocked(
                format!("{text}: nobody answers for JetStream"),
                remedy.into(),
            );
        }
        cause = error.source();
    }
    retry(Next::Reconnect, text)
}

/// The stream could not be made.
pub(super) fn not_made(name: &str, error: &CreateStreamError) -> Failure {
    let what = format!("making stream {name}");
    let remedy = format!(
        "make stream {name} by hand (nats stream add), let the relay's user make it, or name another one"
    );
    match error.kind() {
        CreateStreamErrorKind::TimedOut => request(&what, error),
        CreateStreamErrorKind::JetStream(error) => refused(&what, &error, remedy),
        CreateStreamErrorKind::EmptyStreamName
        | CreateStreamErrorKind::InvalidStreamName
        | CreateStreamErrorKind::DomainAndExternalSet
        | CreateStreamErrorKind::JetStreamUnavailable
        | CreateStreamErrorKind::Response
        | CreateStreamErrorKind::NotFound
        | CreateStreamErrorKind::ResponseParse => {
            blocked(format!("{what}: {}", chain(error)), remedy)
        }
    }
}

#[cfg(test)]
mod tests;
