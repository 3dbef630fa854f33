//! Owns the keys of a sink of type `kafka`.

use relay_sinks::Format;

use super::delivery;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, Tls};

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "brokers",
    "topic",
    "key",
    "exactly_once",
    "transactional_id",
    "cursor_topic",
    "compression",
    "tls",
    "sasl",
    "librdkafka",
];

/// A sink of type `kafka`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kafka {
    pub(crate) brokers: Vec<String>,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) format: Format,
    pub(crate) compression: &'static str,
    pub(crate) exactly_once: Option<ExactlyOnce>,
    /// Present: connections use TLS, also without files of its own.
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
    pub(crate) librdkafka: Librdkafka,
}

/// Delivering exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExactlyOnce {
    /// `None`: made of tenant and sink.
    pub(crate) transactional_id: Option<String>,
    pub(crate) cursor_topic: String,
}

impl ExactlyOnce {
    /// The id of a sink's transactions.
    pub(crate) fn id(&self, tenant: &str, sink: &str) -> String {
        let id = self.transactional_id.clone();
        id.unwrap_or_else(|| format!("sapi-relay-{tenant}-{sink}"))
    }
}

/// Who the relay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sasl {
    pub(crate) mechanism: &'static str,
    pub(crate) username: String,
    pub(crate) password: Secret,
}

/// What librdkafka is told directly. A debug print shows no value: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Librdkafka(pub(crate) Vec<(String, String)>);

impl std::fmt::Debug for Librdkafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

pub(super) fn read(section: &Section<'_>) -> Option<Kafka> {
    let brokers = brokers(section);
    let topic = section.text("topic");
    let topic = topic.unwrap_or_else(|| "sapi.{tenant}".to_owned());
    if let Some(fault) = topic_refused(&topic) {
        let remedy = format!("{fault}; such as \"sapi.{{tenant}}\" or \"sapi.{{class}}\"");
        section.wrong("topic", "is not allowed", &remedy);
    }
    let key = section.text("key").unwrap_or_else(|| "{key}".to_owned());
    if let Some(fault) = key_refused(&key) {
        section.wrong(
            "key",
            "is not allowed",
            &format!("{fault}; such as \"{{key}}\""),
        );
    }
    let compressions = ["none", "gzip", "snappy", "lz4", "zstd"].map(|name| (name, name));
    let who = section.has("sasl");
    let sasl = section.child("sasl");
    let sasl = who.then(|| sasl_of(&sasl));
    let exactly_once = exactly_once(section);
    let cursors = exactly_once.as_ref().map(|wanted| &wanted.cursor_topic);
    if cursors == Some(&topic) {
        let remedy = "let topic and cursor_topic differ";
        section.wrong("topic", "is the topic of cursors", remedy);
    }
    let files = tls::read(&section.child("tls"));
    let tls = section.has("tls").then(|| files.unwrap_or_default());
    Some(Kafka {
        format: delivery::format(section, Format::Binary),
        compression: section.choice("compression", &compressions, "lz4"),
        exactly_once,
        librdkafka: librdkafka(section),
        brokers: brokers?,
        topic,
        key,
        tls,
        sasl: match sasl {
            None => None,
            Some(found) => Some(found?),
        },
    })
}

fn brokers(section: &Section<'_>) -> Option<Vec<String>> {
    const BROKERS: &str = "a list of hosts and ports, such as [\"kafka1:9092\", \"kafka2:9092\"]; for TLS add tls = {}";
    if !section.has("brokers") {
        section.knows(&["brokers"]);
        section.missing("brokers", BROKERS);
        return None;
    }
    let brokers = section.list("brokers")?;
    let fits = |broker: &String| {
        let Some((host, port)) = broker.rsplit_once(':') else {
            return false;
        };
        let port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let plain = |c: char| !c.is_whitespace() && !matches!(c, '/' | '@' | ',');
        port && !host.is_empty() && host.chars().all(plain)
    };
    if brokers.is_empty() || !brokers.iter().all(fits) {
        // What stands before an @ may be a password.
        if brokers.iter().any(|broker| broker.contains('@')) {
            let remedy = format!("{BROKERS}; user and password are set in sasl");
            section.hidden("brokers", "holds credentials in an address", &remedy);
        } else {
            section.wrong("brokers", "is not allowed", BROKERS);
        }
        return None;
    }
    Some(brokers)
}

fn exactly_once(section: &Section<'_>) -> Option<ExactlyOnce> {
    let wanted = section.flag("exactly_once", false);
    let allowed = "text that is not empty";
    let some = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    let transactional_id = section.parsed("transactional_id", allowed, some);
    let name = "1 to 249 of the characters A-Z, a-z, 0-9, ., _ and -";
    let cursor_topic = section.parsed("cursor_topic", name, |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=249).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| text.to_owned())
    });
    if !wanted {
        for name in ["transactional_id", "cursor_topic"] {
            if section.has(name) {
                let remedy = "set exactly_once = true, or remove it";
                section.wrong(name, "has no effect without exactly_once", remedy);
            }
        }
        return None;
    }
    Some(ExactlyOnce {
        transactional_id,
        cursor_topic: cursor_topic.unwrap_or_else(|| "sapi-relay-cursors".to_owned()),
    })
}

/// Who the relay is; `None`: it is not complete, and has said so.
fn sasl_of(section: &Section<'_>) -> Option<Sasl> {
    let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].map(|name| (name, name));
    let mechanism = section.choice("mechanism", &mechanisms, "PLAIN");
    let username = section.required("username", "the name that the brokers know the relay by");
    let password = section.secret("password", "password_file");
    if password.is_none() && !section.has("password") && !section.has("password_file") {
        section.missing("password", "text; or set password_file");
    }
    section.finish(|_| None);
    Some(Sasl {
        mechanism,
        username: username?,
        password: password?,
    })
}

fn librdkafka(section: &Section<'_>) -> Librdkafka {
    let properties = section.child("librdkafka").flat();
    for (name, value) in &properties {
        if let Some(fault) = property_refused(name, value) {
            let remedy = "see the list of properties in librdkafka's CONFIGURATION.md";
            section.hidden("librdkafka", &fault, remedy);
        }
    }
    if queue_is_small(&properties) {
        let fault = "queue.buffering.max.kbytes is less than message.max.bytes";
        let remedy =
            "remove it, or let it hold the largest record: else that would wait for room for ever";
        section.hidden("librdkafka", fault, remedy);
    }
    Librdkafka(properties)
}

/// Whether librdkafka's queue can't hold the largest record.
fn queue_is_small(properties: &[(String, String)]) -> bool {
    // librdkafka's own.
    const LARGEST: u64 = 1_000_000;
    let number = |wanted: &str| {
        let mut found = properties.iter().filter(|(name, _)| name == wanted);
        found.next_back()?.1.parse::<u64>().ok()
    };
    let largest = number("message.max.bytes").unwrap_or(LARGEST);
    number("queue.buffering.max.kbytes").is_some_and(|kbytes| kbytes.saturating_mul(1024) < largest)
}

/// Why a template can't be a topic.
#[cfg(feature = "kafka")]
fn topic_refused(topic: &str) -> Option<String> {
    use relay_sinks::template::{Placeholder, Template};
    let parsed = Template::confined(topic).and_then(|topic| topic.without(Placeholder::Key));
    parsed.err().map(|error| error.to_string())
}

/// Why a template can't be a key.
#[cfg(feature = "kafka")]
fn key_refused(key: &str) -> Option<String> {
    let parsed = relay_sinks::template::Template::verbatim(key);
    parsed.err().map(|error| error.to_string())
}

/// Why librdkafka can't be told that.
#[cfg(feature = "kafka")]
fn property_refused(name: &str, value: &str) -> Option<String> {
    let set = relay_sinks::kafka::Properties::default().set(name, value);
    set.err().map(|error| error.to_string())
}

#[cfg(not(feature = "kafka"))]
fn topic_refused(_topic: &str) -> Option<String> {
    None
}

#[cfg(not(feature = "kafka"))]
fn key_refused(_key: &str) -> Option<String> {
    None
}

#[cfg(not(feature = "kafka"))]
fn property_refused(_name: &str, _value: &str) -> Option<String> {
    None
}
