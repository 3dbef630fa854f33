//! Records that are no events: their heads, and what a suppressed sighting says of the counts.

use std::fmt::Write as _;
use std::sync::Arc;

use sapi_protocol::Format;

use crate::dedup::{Counts, SLOTS};
use crate::event::Head;

/// The class of a marker: the subscription starts level with the others.
pub(super) const LEVEL: &str = "level";

/// The head of a record that is no event.
pub(super) fn marker<'a>(subscription: &'a str, class: &'a str) -> Head<'a> {
    Head {
        format: Format::Json,
        id_hash: 0,
        content_hash: 0,
        sequence: None,
        timestamp: None,
        id: "",
        subscription,
        class,
        event_type: "",
        key: "",
        media: "",
        instance: "",
    }
}

/// The counts, as [`write_counts`] wrote them; names that are not configured are the others.
pub(in crate::intake) fn read_counts(payload: &[u8], names: &[Arc<str>]) -> Counts {
    let mut counts = Counts::default();
    for line in str::from_utf8(payload).unwrap_or_default().lines() {
        let Some((name, count)) = line.rsplit_once('=') else {
            continue;
        };
        let index = names
            .iter()
            .position(|known| **known == *name)
            .unwrap_or(SLOTS - 1);
        let count = count.parse().unwrap_or(0);
        if let Some(known) = counts.0.get_mut(index) {
            *known = count.max(*known);
        }
    }
    counts
}

/// The class of a record that says: the subscription starts level.
pub(in crate::intake) fn is_level(head: &Head<'_>) -> bool {
    head.class == LEVEL
}

/// What a sighting's record says of the counts; the configured subscriptions come in their order,
/// and after them all others.
pub(super) fn write_counts<'a>(names: impl Iterator<Item = &'a str>, counts: Counts) -> String {
    let others = counts.0.last().copied().unwrap_or(0);
    let mut text = String::new();
    // Writing to a text can't fail.
    for (name, count) in names.zip(counts.0).chain([("", others)]) {
        writeln!(text, "{name}={count}").ok();
    }
    text
}
