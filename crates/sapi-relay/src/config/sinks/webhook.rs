//! Owns the keys of a sink of type `webhook`.

use std::time::Duration;

use relay_sinks::Format;
#[cfg(feature = "webhook")]
use relay_sinks::webhook::{Mode, check_secrets, is_owned_header};
use url::Url;

#[cfg(not(feature = "webhook"))]
use self::absent::{Mode, check_secrets, is_owned_header};
use super::delivery;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, Tls};

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "url",
    "secret",
    "secret_file",
    "headers",
    "timeout",
    "mode",
    "concurrency",
    "tls",
];

const URL: &str = "scheme, host and path, such as \"https://hooks.example.com/8x8\"";

/// An HTTP endpoint that takes events.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Webhook {
    /// Its path and query may hold a secret.
    pub(crate) url: String,
    pub(crate) secret: Option<Secret>,
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) timeout: Duration,
    pub(crate) mode: Mode,
    pub(crate) format: Format,
    pub(crate) concurrency: usize,
    pub(crate) tls: Option<Tls>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("mode", &self.mode)
            .field("format", &self.format)
            .field("concurrency", &self.concurrency)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(section: &Section<'_>) -> Option<Webhook> {
    let url = url(section);
    let secret = section.secrets("secret", "secret_file");
    if let Some(Err(error)) = secret
        .as_ref()
        .and_then(|secret| Some(check_secrets(&secret.read().ok()?)))
    {
        let name = if section.has("secret") {
            "secret"
        } else {
            "secret_file"
        };
        let remedy = "whsec_ and base64 of 24 bytes or more, as Standard Webhooks has it (whsec_$(openssl rand -base64 32)); \
             two of them while they are rotated";
        section.hidden(name, &format!("can't sign: {error}"), remedy);
    }
    let headers = headers(&section.child("headers"));
    let tls = section.child("tls");
    let modes = [("single", Mode::Single), ("batch", Mode::Batch)];
    let mode = section.choice("mode", &modes, Mode::Single);
    let usual = match mode {
        Mode::Single => Format::Binary,
        Mode::Batch => Format::Structured,
    };
    let format = delivery::format(section, usual);
    if mode == Mode::Batch && format == Format::Binary {
        let remedy = "\"structured\": a batch is a JSON array of CloudEvents; or remove mode";
        section.wrong("format", "does not fit mode = \"batch\"", remedy);
    }
    Some(Webhook {
        secret,
        headers,
        timeout: section.duration("timeout", Duration::from_secs(10)),
        mode,
        format,
        concurrency: section.number("concurrency", 8, 1..=1_000),
        tls: tls::read(&tls),
        url: url?,
    })
}

/// The url. It is never shown: its path and query may hold a secret.
fn url(section: &Section<'_>) -> Option<String> {
    if !section.has("url") {
        section.knows(&["url"]);
        section.missing("url", URL);
        return None;
    }
    let text = section.text("url")?;
    let Ok(url) = Url::parse(text.trim()) else {
        section.hidden("url", "is not a URL", URL);
        return None;
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        section.hidden("url", "is not of http or https", URL);
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        let key = section.key("headers");
        let remedy = format!(
            "remove them, and set {key}.authorization = \"Basic ...\" (base64 of user:password), or {key}.authorization_file"
        );
        section.hidden("url", "holds user and password", &remedy);
        return None;
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let remedy =
            "use https where the endpoint is not on this machine, or in the same trusted network";
        section.warn_hidden("url", "sends events unencrypted", remedy);
    }
    Some(text.trim().to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn headers(section: &Section<'_>) -> Vec<(String, Secret)> {
    let headers = section.secret_texts();
    for (name, secret) in &headers {
        if is_owned_header(name) {
            let remedy = "the relay, or the connection, sets it: remove it";
            section.hidden(name, "is not yours to set", remedy);
        } else if http::HeaderName::try_from(name).is_err() {
            let remedy = "letters, digits and hyphens, such as \"x-api-key\"";
            section.hidden(name, "is no name of a header", remedy);
        } else if secret
            .read()
            .is_ok_and(|text| http::HeaderValue::try_from(text).is_err())
        {
            let remedy = "a header's value is one line of printable characters";
            section.hidden(name, "is no value of a header", remedy);
        }
    }
    headers
}

#[cfg(test)]
mod tests;

/// What a build without the sink knows of it: enough to refuse it.
#[cfg(not(feature = "webhook"))]
mod absent {
    use std::convert::Infallible;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Mode {
        Single,
        Batch,
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the sink has it")]
    pub(super) fn check_secrets(_text: &str) -> Result<(), Infallible> {
        Ok(())
    }

    pub(super) fn is_owned_header(_name: &str) -> bool {
        false
    }
}
