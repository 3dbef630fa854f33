//! Owns `[sinks.*]`: what all sinks share, and which section reads which type.

mod delivery;
mod file;
mod kafka;
mod nats;
mod rabbitmq;
mod webhook;
mod websocket;

use std::path::PathBuf;

use super::section::Section;

pub(crate) use delivery::Delivery;
pub(crate) use file::File;
pub(crate) use kafka::Kafka;
pub(crate) use nats::{Auth as NatsAuth, Nats};
pub(crate) use rabbitmq::Rabbitmq;
pub(crate) use webhook::Webhook;
pub(crate) use websocket::{Client, Websocket};

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sink {
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) kind: SinkKind,
    /// The files that its keys `*_file` name: secrets, certificates.
    pub(crate) files: Vec<PathBuf>,
}

/// What a sink is. A new type is one variant, one row of [`TYPES`] and one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SinkKind {
    Websocket(Websocket),
    File(Delivery, File),
    Kafka(Delivery, Kafka),
    Nats(Delivery, Nats),
    Rabbitmq(Delivery, Rabbitmq),
    Webhook(Delivery, Webhook),
}

/// Every type that the documentation knows: its name, its own keys, and whether the worker drives it.
const TYPES: [Type; 6] = [
    Type {
        name: "kafka",
        keys: kafka::KEYS,
        driven: true,
        built: cfg!(feature = "kafka"),
    },
    Type {
        name: "nats",
        keys: nats::KEYS,
        driven: true,
        built: cfg!(feature = "nats"),
    },
    Type {
        name: "rabbitmq",
        keys: rabbitmq::KEYS,
        driven: true,
        built: cfg!(feature = "rabbitmq"),
    },
    Type {
        name: "webhook",
        keys: webhook::KEYS,
        driven: true,
        built: cfg!(feature = "webhook"),
    },
    Type {
        name: "websocket",
        keys: websocket::KEYS,
        driven: false,
        built: cfg!(feature = "websocket"),
    },
    Type {
        name: "file",
        keys: file::KEYS,
        driven: true,
        built: cfg!(feature = "file"),
    },
];

struct Type {
    name: &'static str,
    keys: &'static [&'static str],
    driven: bool,
    built: bool,
}

/// The types that this binary has, for people.
fn built() -> String {
    let built = TYPES.iter().filter(|known| known.built);
    let names: Vec<_> = built.map(|known| format!("{:?}", known.name)).collect();
    names.join(", ")
}

/// Reads every sink; those with errors have reported them and are left out.
pub(super) fn read(section: &Section<'_>) -> Vec<Sink> {
    let sinks = section.children().into_iter();
    let sinks = sinks.filter_map(|(name, section)| sink(name, &section));
    sinks.collect()
}

fn sink(name: String, section: &Section<'_>) -> Option<Sink> {
    let remedy = format!("one of {}", built());
    if !section.has("type") {
        section.missing("type", &remedy);
        return None;
    }
    let found = section.parsed("type", &remedy, |text| {
        TYPES.iter().find(|known| known.name == text)
    })?;
    let enabled = section.flag("enabled", true);
    if !found.built {
        let remedy = format!(
            "build it with the cargo feature {:?}, or remove the sink; this one has {}",
            found.name,
            built()
        );
        section.wrong("type", "is not built into this binary", &remedy);
        return None;
    }
    let kind = match found.name {
        "websocket" => SinkKind::Websocket(websocket::read(section)?),
        "kafka" => SinkKind::Kafka(delivery::read(section), kafka::read(section)?),
        "nats" => SinkKind::Nats(delivery::read(section), nats::read(section)?),
        "rabbitmq" => SinkKind::Rabbitmq(delivery::read(section), rabbitmq::read(section)?),
        "webhook" => SinkKind::Webhook(delivery::read(section), webhook::read(section)?),
        _ => SinkKind::File(delivery::read(section), file::read(section)?),
    };
    section.finish(|key| elsewhere(key, found));
    Some(Sink {
        name,
        enabled,
        kind,
        files: section.files(),
    })
}

/// Explains a key that belongs to another type of sink.
fn elsewhere(key: &str, found: &Type) -> Option<String> {
    let (article, name) = (
        if found.name.starts_with(['a', 'e', 'i', 'o']) {
            "an"
        } else {
            "a"
        },
        found.name,
    );
    if !found.driven && delivery::KEYS.contains(&key) {
        return Some(format!(
            "{key} is for sinks that the relay delivers to; {article} {name} sink is read by its clients, \
             each at its own pace: remove it"
        ));
    }
    let owner = TYPES.iter().find(|known| known.keys.contains(&key))?;
    Some(format!(
        "{key} is a key of sinks of type {:?}; this one is of type {name:?}",
        owner.name
    ))
}
