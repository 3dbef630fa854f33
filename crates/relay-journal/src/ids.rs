//! The two names that a cursor is made of: an offset, and the epoch in which it counts.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// The place of a record in a log. The first record has 1; 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The offset before this one; 0 before 0.
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The offset `count` further on.
    pub(crate) fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one log's numbering, drawn when the log is made. Offsets of different epochs
/// can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// An epoch that no other log has: random bits and the time.
    pub(crate) fn draw() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(RandomState::new().hash_one((now, std::process::id())))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 16 lower-case hexadecimal digits")]
pub struct EpochError;

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(lower_hex) {
            return Err(EpochError);
        }
        u64::from_str_radix(text, 16).map(Self).or(Err(EpochError))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_what_it_writes_and_nothing_else() {
        let epoch = Epoch(0x00ab_cdef_0123_4567);
        assert_eq!(epoch.to_string(), "00abcdef01234567");
        assert_eq!("00abcdef01234567".parse(), Ok(epoch));
        for wrong in [
            "",
            "abcdef01234567",
            "00ABCDEF01234567",
            "+0abcdef01234567",
            "g0abcdef01234567",
        ] {
            assert_eq!(wrong.parse::<Epoch>(), Err(EpochError), "{wrong}");
        }
        assert_ne!(Epoch::draw(), Epoch::draw());
    }
}
