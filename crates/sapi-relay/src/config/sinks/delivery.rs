//! Owns the keys that every sink has that the relay delivers to.

use std::time::Duration;

use relay_core::filter::Filter;
use relay_core::worker::{OnReject, StartFrom};
use relay_sinks::Format;

use crate::config::section::Section;
use crate::config::storage::bytes;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The keys, so that a sink without them can say so.
pub(super) const KEYS: &[&str] = &[
    "types",
    "format",
    "start_from",
    "notices",
    "batch_events",
    "batch_bytes",
    "in_flight_bytes",
    "retry_min",
    "retry_max",
    "on_reject",
    "max_consecutive_rejections",
];

/// How events are handed to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) types: Vec<String>,
    pub(crate) start_from: StartFrom,
    pub(crate) notices: bool,
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) on_reject: OnReject,
    pub(crate) max_consecutive_rejections: u32,
}

pub(super) fn read(section: &Section<'_>) -> Delivery {
    let starts = [
        ("latest", StartFrom::Latest),
        ("earliest", StartFrom::Earliest),
    ];
    let rejects = [
        ("dead_letter", OnReject::DeadLetter),
        ("drop", OnReject::Drop),
        ("halt", OnReject::Halt),
    ];
    let delivery = Delivery {
        types: types(section),
        start_from: section.choice("start_from", &starts, StartFrom::Latest),
        notices: section.flag("notices", false),
        batch_events: section.number("batch_events", 512, 1..=100_000),
        batch_bytes: bytes(section.size("batch_bytes", MIB, KIB)),
        in_flight_bytes: bytes(section.size("in_flight_bytes", 8 * MIB, KIB)),
        retry_min: section.duration("retry_min", Duration::from_millis(200)),
        retry_max: section.duration("retry_max", Duration::from_mins(1)),
        on_reject: section.choice("on_reject", &rejects, OnReject::DeadLetter),
        max_consecutive_rejections: section.number(
            "max_consecutive_rejections",
            100,
            1..=1_000_000,
        ),
    };
    if delivery.in_flight_bytes < delivery.batch_bytes {
        let name = if section.has("in_flight_bytes") {
            "in_flight_bytes"
        } else {
            "batch_bytes"
        };
        section.wrong(
            name,
            "does not fit its counterpart",
            "batch_bytes has to be at most in_flight_bytes",
        );
    }
    if delivery.retry_min > delivery.retry_max {
        let name = if section.has("retry_min") {
            "retry_min"
        } else {
            "retry_max"
        };
        section.wrong(
            name,
            "does not fit its counterpart",
            "retry_min has to be at most retry_max",
        );
    }
    delivery
}

/// The key `format` of a sink that can do both.
pub(super) fn format(section: &Section<'_>, or: Format) -> Format {
    let formats = [
        ("binary", Format::Binary),
        ("structured", Format::Structured),
    ];
    section.choice("format", &formats, or)
}

/// The key `types`, a list of globs.
pub(super) fn types(section: &Section<'_>) -> Vec<String> {
    let globs = section.list("types").unwrap_or_default();
    if let Err(error) = Filter::parse(&globs) {
        let remedy = format!(
            "{error}; a glob matches the type, or class/type if it contains a slash: \
             [\"AgentStatusChange\", \"Interaction/*\", \"!InteractionRecording*\"]"
        );
        section.wrong("types", "is not allowed", &remedy);
    }
    globs
}
