//! Why a connection could not be made, or ended: told apart by what to do about it.

use std::fmt;
use std::time::Duration;

use relay_core::admit::DisconnectReason;
use relay_core::status::BackOffCause;

use crate::SecretError;
use crate::frames::Closed;

/// An attempt to connect has failed. None of its texts holds a secret.
#[derive(Debug)]
pub(crate) enum Failure {
    /// DNS, TCP, TLS, the proxy, or a handshake that broke off.
    Network(String),
    /// The server answered, but not with 101.
    Answer(Answer),
    /// The token could not be read.
    Token(SecretError),
    /// The configuration can't work: a certificate file, a handshake that is none.
    Refused(String),
}

/// An HTTP answer other than 101.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// A page for people, where a subscription was asked for.
    pub(crate) is_html: bool,
    /// The host of a redirect, which is never followed: the credentials belong to one host.
    pub(crate) redirect: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// The beginning of a plain body, cleaned.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn cause(&self) -> BackOffCause {
        match self {
            Self::Network(_) => BackOffCause::Network,
            Self::Token(_) => BackOffCause::Auth,
            Self::Refused(_) => BackOffCause::Refused,
            Self::Answer(answer) => match answer.status {
                401 | 403 => BackOffCause::Auth,
                409 | 429 | 503 => BackOffCause::Quota,
                408 | 425 | 500..=599 => BackOffCause::Network,
                _ => BackOffCause::Refused,
            },
        }
    }

    pub(crate) fn reason(&self) -> DisconnectReason {
        match self {
            Self::Network(_) => DisconnectReason::Network,
            Self::Token(_) => DisconnectReason::Auth,
            Self::Refused(_) => DisconnectReason::Refused,
            Self::Answer(_) => match self.cause() {
                BackOffCause::Auth => DisconnectReason::Auth,
                BackOffCause::Quota => DisconnectReason::Quota,
                BackOffCause::Network | BackOffCause::Refused => DisconnectReason::Refused,
            },
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer(Answer { status: 404, .. }))
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer(answer) => answer.retry_after,
            Self::Network(_) | Self::Token(_) | Self::Refused(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(text) | Self::Refused(text) => f.write_str(text),
            Self::Token(error) => write!(f, "{error}: {}", source_of(error)),
            Self::Answer(answer) => answer.fmt(f),
        }
    }
}

fn source_of(error: &SecretError) -> String {
    std::error::Error::source(error).map_or_else(|| "no text".to_owned(), ToString::to_string)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the upstream answered {}", self.status)?;
        if let Some(host) = &self.redirect {
            write!(f, ", a redirect to {host}, which is not followed")?;
        } else if self.is_html {
            f.write_str(" with an HTML page")?;
        } else if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        f.write_str(match self.status {
            401 | 403 => ": check upstream.token, username and tenant_id",
            404 => ": check upstream.platform or url, version, path_style and tenant_id",
            200..=399 => ": this is no SAPI server, check upstream.platform or url",
            409 | 429 | 503 => ": 8x8 allows three clients a tenant, is another one connected?",
            _ => "",
        })
    }
}

/// How an open connection ended by itself.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The peer sent Close.
    Close(Option<Closed>),
    /// The stream ended without Close.
    Eof,
    /// Reading or writing failed.
    Io(String),
    /// The peer broke the protocol.
    Protocol(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(None) => f.write_str("closed by the upstream without a code"),
            Self::Close(Some(closed)) if closed.reason.is_empty() => {
                write!(f, "closed by the upstream with code {}", closed.code)
            }
            Self::Close(Some(Closed { code, reason })) => {
                write!(f, "closed by the upstream with code {code} ({reason:?})")
            }
            Self::Eof => f.write_str("the stream ended without Close"),
            Self::Io(text) => f.write_str(text),
            Self::Protocol(text) => write!(f, "the upstream sent {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Failure {
        Failure::Answer(Answer {
            status,
            ..Answer::default()
        })
    }

    #[test]
    fn a_status_tells_the_cause() {
        for (status, cause, reason) in [
            (401, BackOffCause::Auth, DisconnectReason::Auth),
            (403, BackOffCause::Auth, DisconnectReason::Auth),
            (409, BackOffCause::Quota, DisconnectReason::Quota),
            (429, BackOffCause::Quota, DisconnectReason::Quota),
            (503, BackOffCause::Quota, DisconnectReason::Quota),
            (500, BackOffCause::Network, DisconnectReason::Refused),
            (502, BackOffCause::Network, DisconnectReason::Refused),
            (200, BackOffCause::Refused, DisconnectReason::Refused),
            (302, BackOffCause::Refused, DisconnectReason::Refused),
            (404, BackOffCause::Refused, DisconnectReason::Refused),
            (400, BackOffCause::Refused, DisconnectReason::Refused),
        ] {
            let failure = answer(status);
            assert_eq!(
                (failure.cause(), failure.reason()),
                (cause, reason),
                "{status}"
            );
        }
    }

    #[test]
    fn what_to_do_is_said() {
        assert!(answer(404).to_string().contains("path_style"));
        assert!(answer(401).to_string().contains("upstream.token"));
        assert!(answer(200).to_string().contains("no SAPI server"));
    }
}
