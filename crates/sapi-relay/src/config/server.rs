//! Owns the sections about running: `[admin]`, `[shutdown]`, `[log]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::secret::Secret;
use super::section::Section;

/// The server for operators and Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
    pub(crate) token: Option<Secret>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

pub(super) fn admin(section: &Section<'_>) -> Admin {
    let admin = Admin {
        listen: section
            .address("listen")
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
        token: section.secret("token", "token_file"),
    };
    if !admin.listen.ip().is_loopback() && !section.has("token") && !section.has("token_file") {
        let remedy = "set admin.token_file (or admin.token): beyond loopback, everything but \
                      /livez, /readyz and /metrics needs it";
        section.wrong(
            "listen",
            "is reachable from other machines, without a token",
            remedy,
        );
    }
    section.finish(|_| None);
    admin
}

pub(super) fn shutdown(section: &Section<'_>) -> Duration {
    let timeout = section.duration("timeout", Duration::from_secs(20));
    section.finish(|_| None);
    timeout
}

pub(super) fn log(section: &Section<'_>) -> Log {
    const LEVELS: &str = "off, error, warn, info, debug or trace, or a filter such as \
                          \"info,relay_upstream=debug\"";
    let words = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
    ];
    let filter = |text: &str| is_filter(text).then(|| text.to_owned());
    let log = Log {
        level: section
            .parsed("level", LEVELS, filter)
            .unwrap_or_else(|| "info".into()),
        format: section.choice("format", &words, LogFormat::Auto),
    };
    section.finish(|_| None);
    log
}

/// Whether a text is a tracing filter. A lone word has to be a level: a target's name that stands
/// alone would be allowed by tracing, and is always a slip of the pen here.
fn is_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let lone = !text.contains(['=', ',', '[']);
    if lone {
        return LEVELS.contains(&text.to_ascii_lowercase().as_str());
    }
    EnvFilter::try_new(text).is_ok()
}
