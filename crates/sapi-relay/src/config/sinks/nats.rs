//! Owns the keys of a sink of type `nats`.

use std::path::PathBuf;

use relay_sinks::Format;
use url::Url;

use super::delivery;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, Tls};

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "servers",
    "subject",
    "jetstream",
    "stream",
    "create_stream",
    "user",
    "password",
    "password_file",
    "token",
    "token_file",
    "creds_file",
    "nkey",
    "nkey_file",
    "tls",
];

const SERVERS: &str = "a list of addresses without user, password and path, such as [\"nats://nats1:4222\", \"nats://nats2:4222\"], \
                       or \"tls://..\" for TLS";

/// A sink of type `nats`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nats {
    pub(crate) servers: Vec<String>,
    pub(crate) subject: String,
    pub(crate) format: Format,
    /// `None`: core NATS.
    pub(crate) jetstream: Option<JetStream>,
    pub(crate) auth: Auth,
    pub(crate) tls: Option<Tls>,
    pub(crate) handshake_first: bool,
}

/// Where JetStream keeps the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JetStream {
    pub(crate) stream: Option<String>,
    pub(crate) create: bool,
}

/// Who the relay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Nobody,
    User(String, Secret),
    Token(Secret),
    Creds(PathBuf),
    Nkey(Secret),
}

pub(super) fn read(section: &Section<'_>) -> Option<Nats> {
    let servers = servers(section);
    let subject = section.text("subject");
    let subject = subject.unwrap_or_else(|| "sapi.{tenant}.{class}.{type}".to_owned());
    if let Some(fault) = refused(&subject) {
        let remedy = format!("{fault}; such as \"sapi.{{tenant}}.{{class}}.{{type}}\"");
        section.wrong("subject", "is not allowed", &remedy);
    }
    let format = delivery::format(section, Format::Binary);
    let jetstream = jetstream(section);
    let auth = auth(section);
    let tls = section.child("tls");
    let handshake_first = tls.flag("handshake_first", false);
    Some(Nats {
        servers: servers?,
        subject,
        format,
        jetstream,
        auth: auth?,
        tls: tls::read(&tls),
        handshake_first,
    })
}

fn servers(section: &Section<'_>) -> Option<Vec<String>> {
    if !section.has("servers") {
        section.knows(&["servers"]);
        section.missing("servers", SERVERS);
        return None;
    }
    let servers = section.list("servers")?;
    if servers.is_empty() {
        section.wrong("servers", "is empty", SERVERS);
        return None;
    }
    if servers.iter().any(|server| server.contains('@')) {
        // What stands there may be a password.
        let remedy =
            "set user and password_file (or password), token_file, creds_file or nkey_file";
        section.hidden("servers", "holds credentials in an address", remedy);
    } else if !servers.iter().all(|server| fits(server)) {
        section.wrong("servers", "is not allowed", SERVERS);
    }
    Some(servers)
}

fn fits(server: &str) -> bool {
    let Ok(url) = Url::parse(server) else {
        return false;
    };
    let scheme = ["nats", "tls"].contains(&url.scheme());
    let host = url.host_str().is_some_and(|host| !host.is_empty());
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    scheme && host && bare
}

/// Why a template can't be a subject.
#[cfg(feature = "nats")]
fn refused(subject: &str) -> Option<String> {
    let parsed = relay_sinks::nats::Subject::parse(subject);
    parsed.err().map(|error| error.to_string())
}

#[cfg(not(feature = "nats"))]
fn refused(_subject: &str) -> Option<String> {
    None
}

fn jetstream(section: &Section<'_>) -> Option<JetStream> {
    let wanted = section.flag("jetstream", true);
    let allowed = "1 to 200 characters, without blanks, dots, slashes, backslashes, * and >";
    let stream = section.parsed("stream", allowed, |name| {
        let refused = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\')
        };
        let fits = (1..=200).contains(&name.len()) && !name.contains(refused);
        fits.then(|| name.to_owned())
    });
    let create = section.flag("create_stream", false);
    if !wanted {
        for name in ["stream", "create_stream"] {
            if section.has(name) {
                let remedy =
                    "core NATS keeps nothing and loses messages: remove it, or jetstream = false";
                section.wrong(name, "has no effect without JetStream", remedy);
            }
        }
        return None;
    }
    if create && !section.has("stream") {
        section.missing(
            "stream",
            "the name of the stream that is to be made, such as \"SAPI\"",
        );
    }
    Some(JetStream { stream, create })
}

/// The credentials: one kind at most.
fn auth(section: &Section<'_>) -> Option<Auth> {
    let user = section.text("user");
    let password = section.secret("password", "password_file");
    let token = section.secret("token", "token_file");
    let creds = section.readable("creds_file");
    let nkey = section.secret("nkey", "nkey_file");
    let kinds = [
        ("user", user.is_some() || password.is_some()),
        ("token", token.is_some()),
        ("creds_file", creds.is_some()),
        ("nkey", nkey.is_some()),
    ];
    let set: Vec<_> = kinds
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    if let [first, second, ..] = set.as_slice() {
        let fault = format!("and {second} are both set");
        section.hidden(
            first,
            &fault,
            "a sink has one kind of credentials: remove the others",
        );
        return None;
    }
    match (user, password) {
        (Some(_), None) => {
            if !section.has("password") && !section.has("password_file") {
                section.missing("password", "the user's password; or set password_file");
            }
            return None;
        }
        (None, Some(_)) => {
            section.missing("user", "the user that the password belongs to");
            return None;
        }
        (Some(user), Some(password)) => return Some(Auth::User(user, password)),
        (None, None) => {}
    }
    let nkey = nkey.map(Auth::Nkey);
    let creds = creds.map(Auth::Creds);
    let auth = token.map(Auth::Token).or(creds).or(nkey);
    Some(auth.unwrap_or(Auth::Nobody))
}
