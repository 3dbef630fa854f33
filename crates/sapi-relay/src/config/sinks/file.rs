//! Owns the keys of a sink of type `file`.

use std::path::PathBuf;

use crate::config::section::Section;

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &["path", "rotate_bytes", "keep"];

/// NDJSON of CloudEvents in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// `-` is standard output.
    pub(crate) path: PathBuf,
    pub(crate) rotate_bytes: Option<u64>,
    pub(crate) keep: Option<u32>,
}

pub(super) fn read(section: &Section<'_>) -> Option<File> {
    const PATH: &str = "the file's path, such as \"/var/lib/sapi-relay/events.ndjson\", or \"-\" for standard output";
    let structured = |text: &str| (text == "structured").then_some(());
    section.parsed(
        "format",
        "\"structured\": a file has one CloudEvent in JSON a line",
        structured,
    );
    if !section.has("path") {
        section.knows(KEYS);
        section.missing("path", PATH);
        return None;
    }
    let file = File {
        path: section.path("path")?,
        rotate_bytes: section.some_size("rotate_bytes", 1 << 10),
        keep: section
            .has("keep")
            .then(|| section.number("keep", 5, 1..=100_000)),
    };
    if file.keep.is_some() && file.rotate_bytes.is_none() && !section.has("rotate_bytes") {
        section.wrong(
            "keep",
            "has no effect without rotate_bytes",
            "set rotate_bytes, such as \"100MiB\", or remove keep",
        );
    }
    if file.path.as_os_str() == "-" && file.rotate_bytes.is_some() {
        section.wrong(
            "rotate_bytes",
            "has no effect on standard output",
            "remove it",
        );
    }
    Some(file)
}
