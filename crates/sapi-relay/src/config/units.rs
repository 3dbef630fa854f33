//! Owns how durations and sizes are written; it knows no key.

use std::time::Duration;

/// What a duration may look like, for errors.
pub(super) const DURATION: &str =
    "write a number with a unit (ms, s, m, h, d), such as \"150s\", \"2h30m\" or \"2ms\"";
/// What a size may look like, for errors.
pub(super) const SIZE: &str =
    "write a number with a unit (B, KiB, MiB, GiB, TiB), such as \"256KiB\" or \"8GiB\"";

/// A duration such as `150s` or `2h30m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let units = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|unit| !unit.is_empty());
    let mut units = units.peekable();
    // What humantime knows beyond these is ambiguous (M, month) or of no use here.
    let known = units.peek().is_some() && units.all(|unit| DURATION_UNITS.contains(&unit));
    known
        .then(|| humantime::parse_duration(text).ok())
        .flatten()
}

const DURATION_UNITS: [&str; 5] = ["ms", "s", "m", "h", "d"];

/// A size such as `8GiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A size as it would be written.
pub(crate) fn write_size(bytes: u64) -> String {
    let binary = SIZE_UNITS
        .iter()
        .filter(|(unit, _)| unit.ends_with("iB") || *unit == "B");
    let unit = binary
        .clone()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("150s", 150_000),
            ("2h30m", 9_000_000),
            ("2ms", 2),
            ("30d", 2_592_000_000),
            ("1h 30s", 3_630_000),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "5", "5x", "-5s", "1M", "s", "5 parsecs", "h5"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("8GiB", 8 << 30),
            ("256KiB", 256 << 10),
            ("1MB", 1_000_000),
            ("12B", 12),
            ("3 MiB", 3 << 20),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "8",
            "8gb",
            "GiB",
            "-1MiB",
            "1.5GiB",
            "99999999999999TiB",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(bytes: u64) {
            assert_eq!(size(&write_size(bytes)), Some(bytes));
        }
    }
}
