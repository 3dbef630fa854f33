//! The closed list of what a notice can be about.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $gap:literal;)+) => {
        /// What a notice is about: the `kind` label of `notices_total`, and the last part of its
        /// CloudEvents type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum NoticeKind { $($(#[doc = $doc])+ $name,)+ }

        impl NoticeKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name, in snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whether `/v1/gaps` lists it: it is about what may have been lost.
            pub fn is_gap(self) -> bool {
                match self { $(Self::$name => $gap,)+ }
            }
        }
    };
}

kinds! {
    /// A subscription is connected.
    Connected = "connected", false;
    /// A subscription's connection has ended.
    Disconnected = "disconnected", true;
    /// After a disconnect the numbering went on without a hole: nothing was lost.
    Recovered = "recovered", true;
    /// After a disconnect it is not known that nothing was lost.
    PossibleLoss = "possible_loss", true;
    /// The relay was away for longer than the upstream keeps events.
    CertainLoss = "certain_loss", true;
    /// A hole in a subscription's numbering stayed open.
    SequenceGap = "sequence_gap", true;
    /// A hole that had been announced was filled after all.
    SequenceFilled = "sequence_filled", true;
    /// A hole that spans a restart of the relay: heartbeats may have taken its numbers.
    SequenceUnverified = "sequence_unverified", true;
    /// A subscription's numbering began anew.
    SequenceRestarted = "sequence_restarted", false;
    /// An event with the id of another one, and other content.
    DuplicateConflict = "duplicate_conflict", false;
    /// The memory of ids can't hold its horizon.
    DedupHorizon = "dedup_horizon", false;
    /// A sink or a client was behind what retention removed.
    Skipped = "skipped", true;
    /// A cursor that is not of this journal, or not yet.
    CursorReset = "cursor_reset", true;
    /// A sink was stopped by what it met, and waits for an operator.
    SinkStopped = "sink_stopped", false;
    /// The wall clock jumped.
    Clock = "clock", false;
    /// The disk is full: the upstream keeps the events.
    DiskFull = "disk_full", true;
    /// There is room on the disk again.
    DiskRecovered = "disk_recovered", false;
    /// The journal could not be written.
    JournalFailed = "journal_failed", true;
    /// The journal was damaged on disk.
    JournalDamaged = "journal_damaged", true;
}

/// What is held of a time without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The numbering shows that nothing is missing.
    Recovered,
    /// Something may be missing.
    PossibleLoss,
    /// Something is missing, if anything happened.
    CertainLoss,
    /// It can't be told.
    Unverified,
}

impl Verdict {
    /// The name, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::PossibleLoss => "possible_loss",
            Self::CertainLoss => "certain_loss",
            Self::Unverified => "unverified",
        }
    }
}
