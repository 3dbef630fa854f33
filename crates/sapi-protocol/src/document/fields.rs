//! The few places inside a document that the relay asks for, as compact spans; reads no bytes itself.

/// A place inside a document. Documents longer than a span reaches are refused before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) const ABSENT: Self = Self {
        start: u32::MAX,
        end: 0,
    };
    /// Given twice: nobody can say which one counts.
    const AMBIGUOUS: Self = Self {
        start: u32::MAX,
        end: 1,
    };

    pub(crate) fn new(start: usize, end: usize) -> Self {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::ABSENT,
        }
    }

    pub(crate) fn is_absent(self) -> bool {
        self.start == u32::MAX
    }

    /// The bytes; none if absent.
    pub(crate) fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(self.start as usize..self.end as usize)
    }

    /// Keeps the first of several.
    pub(crate) fn keep_first(&mut self, found: Self) {
        if *self == Self::ABSENT {
            *self = found;
        }
    }

    /// Keeps the only one; a second makes it absent for good.
    pub(crate) fn keep_only(&mut self, found: Self) {
        *self = if *self == Self::ABSENT {
            found
        } else {
            Self::AMBIGUOUS
        };
    }
}

/// Where the fields are. In JSON a span is the inside of the quotes, or the scalar verbatim; in XML
/// what stands between the tags of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) class: Span,
    pub(crate) event: Span,
    pub(crate) interaction_guid: Span,
    pub(crate) agent_id: Span,
    pub(crate) media_type: Span,
    pub(crate) instance: Span,
    pub(crate) sequence: Span,
    pub(crate) timestamp: Span,
}

impl Fields {
    pub(crate) const NONE: Self = Self {
        class: Span::ABSENT,
        event: Span::ABSENT,
        interaction_guid: Span::ABSENT,
        agent_id: Span::ABSENT,
        media_type: Span::ABSENT,
        instance: Span::ABSENT,
        sequence: Span::ABSENT,
        timestamp: Span::ABSENT,
    };

    /// Notes a scalar of the body or of msgInfo.
    pub(crate) fn note(&mut self, level: Level, name: &[u8], value: Span) {
        match (level, name) {
            (Level::Body, b"event") => self.event.keep_first(value),
            (Level::Body, b"interactionGUID") => self.interaction_guid.keep_first(value),
            (Level::Body, b"agentId") => self.agent_id.keep_first(value),
            (Level::Body, b"mediaType") => self.media_type.keep_first(value),
            (Level::MsgInfo, b"instanceId") => self.instance.keep_only(value),
            (Level::MsgInfo, b"sequenceId") => self.sequence.keep_only(value),
            (Level::MsgInfo, b"timestamp") => self.timestamp.keep_only(value),
            _ => {}
        }
    }
}

/// How deep inside a document a name stands: only three levels hold what is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The top: its first name is the class.
    Root,
    /// Inside the class.
    Body,
    /// Inside the class's msgInfo.
    MsgInfo,
    /// Anywhere else.
    Elsewhere,
}

/// What a pass over a document found.
#[derive(Clone, Copy)]
pub(crate) struct Parsed {
    /// Its length in bytes.
    pub(crate) end: usize,
    pub(crate) fields: Fields,
    pub(crate) hash: u128,
}

/// Why a pass stopped before the end of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes so far can go on to be a document.
    Incomplete,
    /// They can't, from this byte on.
    Invalid(usize),
}

/// Deeper nesting is refused.
pub(crate) const MAX_DEPTH: u32 = 128;
