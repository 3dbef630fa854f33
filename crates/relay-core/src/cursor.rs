//! Positions as the outside sees them: the cursor, and where a reader may start from.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use relay_journal::{Epoch, Offset};

/// A position in one journal: everything up to and including `offset` lies behind it.
///
/// Text form `{epoch}.{offset}`, opaque to clients. The epoch changes when a journal is created
/// anew, so that a cursor of an older journal is recognised rather than misread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The journal that the offset belongs to.
    pub epoch: Epoch,
    /// The last offset behind the cursor; 0 is before the first.
    pub offset: Offset,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.offset)
    }
}

/// Text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected {{epoch}}.{{offset}} as the relay gave it")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, offset) = text.split_once('.').ok_or(CursorError)?;
        if offset.is_empty() || !offset.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CursorError);
        }
        let epoch = epoch.parse().ok().ok_or(CursorError)?;
        let offset = offset.parse().ok().map(Offset).ok_or(CursorError)?;
        Ok(Self { epoch, offset })
    }
}

/// Where reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Events committed from now on.
    Now,
    /// The oldest event that is kept.
    Earliest,
    /// The events after a cursor.
    After(Cursor),
    /// The events that arrived at or after a time, in Unix milliseconds.
    Time(u64),
}

/// Text that names no starting point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of now, earliest, a cursor and an RFC 3339 time")]
pub struct FromError(String);

impl FromStr for From {
    type Err = FromError;

    /// `now` or `latest`, `earliest`, a cursor, or an RFC 3339 time.
    fn from_str(text: &str) -> Result<Self, FromError> {
        match text {
            "now" | "latest" => return Ok(Self::Now),
            "earliest" => return Ok(Self::Earliest),
            _ => {}
        }
        if let Ok(cursor) = text.parse() {
            return Ok(Self::After(cursor));
        }
        let time: Timestamp = text
            .parse()
            .ok()
            .ok_or_else(|| FromError(text.to_owned()))?;
        Ok(Self::Time(
            u64::try_from(time.as_millisecond()).unwrap_or(0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_reads_it_writes() {
        let text = "00000000000000ff.17";
        let cursor: Cursor = text.parse().unwrap();
        assert_eq!(cursor.offset, Offset(17));
        assert_eq!(cursor.to_string(), text);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            ".",
            "1",
            "00000000000000ff.",
            "00000000000000ff.-1",
            "00000000000000ff.+1",
            "x.1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn starting_points() {
        assert_eq!("now".parse(), Ok(From::Now));
        assert_eq!("latest".parse(), Ok(From::Now));
        assert_eq!("earliest".parse(), Ok(From::Earliest));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(From::Time(1000)));
        assert!(matches!("00000000000000ff.3".parse(), Ok(From::After(_))));
        assert!("yesterday".parse::<From>().is_err());
    }
}
