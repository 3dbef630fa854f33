//! What goes wrong with Kafka, and what an operator can do about it. It knows error codes, and no connection.

use std::path::Path;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use relay_core::sink::{Failure, Next};

use super::Config;

/// What may be wrong if a broker hangs up again and again.
pub(super) const MISMATCH: &str =
    "if it stays so, check that the port wants what tls.* and sasl.* say, and no more";

/// Whether a record is refused for good.
pub(super) fn is_rejection(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord
    )
}

/// Whether another producer has taken over.
pub(super) fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
    )
}

/// Nobody has connected.
pub(super) fn not_connected() -> Failure {
    Failure {
        next: Next::Reconnect,
        text: "not connected to Kafka".to_owned(),
        remedy: String::new(),
    }
}

/// Another producer has taken the transactional id.
pub(super) fn fenced(config: &Config) -> Failure {
    let id = config.exactly_once.as_ref();
    let id = id.map_or("", |exactly_once| exactly_once.transactional_id.as_str());
    Failure {
        next: Next::Blocked,
        text: format!("fenced: another producer has taken transactional_id {id:?}"),
        remedy: cure(Code::Fenced).1.to_owned(),
    }
}

/// The brokers have ended the producer, whose transaction was open for too long.
pub(super) fn overdue() -> Failure {
    Failure {
        next: Next::Reconnect,
        text: "a transaction was open for longer than transaction.timeout.ms, and the brokers have ended it"
            .to_owned(),
        remedy: String::new(),
    }
}

/// The record that is too large is known now: the others need not go alone any more.
pub(super) fn found() -> Failure {
    Failure {
        next: Next::Reconnect,
        text: "a record was refused as too large; the others go together again".to_owned(),
        remedy: String::new(),
    }
}

/// A client can't be set up.
pub(super) fn setup(error: &KafkaError) -> Failure {
    let reason = match error {
        // The value may be a secret.
        KafkaError::ClientConfig(_, reason, name, _) => format!("{name}: {reason}"),
        other => other.to_string(),
    };
    Failure {
        next: Next::Blocked,
        text: format!("setting up Kafka's client: {reason}"),
        remedy: "check tls.*, sasl.* and librdkafka.*".to_owned(),
    }
}

/// The password can't be read.
pub(super) fn secret(error: &std::io::Error) -> Failure {
    Failure {
        next: Next::Blocked,
        text: format!("reading the password: {error}"),
        remedy: "check sasl.password_file, and that the relay's user may read it".to_owned(),
    }
}

/// A file that TLS needs can't be read.
pub(super) fn file(path: &Path, error: &std::io::Error) -> Failure {
    Failure {
        next: Next::Blocked,
        text: format!("reading {}: {error}", path.display()),
        remedy: "check tls.*, and that the relay's user may read the file".to_owned(),
    }
}

/// Whether an error speaks of the connection, and so of everything that goes over it.
pub(super) fn is_of_connection(code: Code) -> bool {
    matches!(
        code,
        Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}

/// Whether the broker has refused our certificate, or that we have none. With TLS 1.3 it says so once the
/// handshake is over: to librdkafka that is but a connection that has ended.
pub(super) fn is_refused_certificate(reason: &str) -> bool {
    let alert = reason.split_once("SSL routines:").map(|(_, text)| text);
    let alert = alert.and_then(|text| text.split_once(" alert "));
    alert.is_some_and(|(_, name)| {
        let alerts = ["certificate", "unknown ca", "access denied"];
        alerts.iter().any(|alert| name.contains(alert))
    })
}

/// Whether a topic is missing, and brokers may still be making it.
pub(super) fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::LeaderNotAvailable
    )
}

/// A failure that an error code explains; `text` says what was tried.
pub(super) fn of(code: Code, text: &str) -> Failure {
    let (next, remedy) = cure(code);
    Failure {
        next,
        text: format!("{text}: {code}"),
        remedy: remedy.to_owned(),
    }
}

fn cure(code: Code) -> (Next, &'static str) {
    match code {
        Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => (
            Next::Blocked,
            "check sasl.mechanism, sasl.username and sasl.password (or password_file)",
        ),
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed => (
            Next::Blocked,
            "allow the relay's user to describe and write the topic",
        ),
        Code::ClusterAuthorizationFailed => (
            Next::Blocked,
            "allow the relay's user IdempotentWrite on the cluster",
        ),
        Code::TransactionalIdAuthorizationFailed => (
            Next::Blocked,
            "allow the relay's user to describe and write the transactional id",
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => (
            Next::Blocked,
            "make the topic, or let the brokers make topics (auto.create.topics.enable)",
        ),
        Code::InvalidTopic => (Next::Blocked, "change topic: the brokers refuse its name"),
        Code::SSL => (
            Next::Blocked,
            "check tls.ca_file, tls.cert_file and tls.key_file, and that the port speaks TLS",
        ),
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => (
            Next::Blocked,
            "another producer uses this transactional_id: stop it, or give each its own; then seek the sink to \
             where it is to go on, or restart the relay",
        ),
        Code::PolicyViolation | Code::InvalidConfig | Code::InvalidReplicationFactor => {
            (Next::Blocked, "make the topic by hand")
        }
        Code::UnsupportedCompressionType | Code::UnsupportedForMessageFormat => {
            (Next::Blocked, "change compression")
        }
        _ => (Next::Reconnect, ""),
    }
}

/// The code within an error.
pub(super) fn code(error: &KafkaError) -> Code {
    match error {
        KafkaError::Transaction(error) => error.code(),
        other => other.rdkafka_error_code().unwrap_or(Code::Fail),
    }
}
