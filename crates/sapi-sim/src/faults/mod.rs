//! Owns which misbehaviours are on and how often each fired: one registry over the family tables.
//! It does not know how a fault is carried out; the place that misbehaves asks here.

mod access;
mod content;
mod cut;
mod framing;
mod liveness;
mod network;
mod numbers;
mod quota;
mod registry;
mod replay;
mod spec;
mod store;

pub(crate) use self::registry::Faults;
pub use self::{
    registry::FaultStatus,
    spec::{BadFault, FaultSpec},
};

/// The faults by family, for `faults::knob::REPLAY_DELAY` at the place that misbehaves.
pub(crate) mod knob {
    pub(crate) use super::{
        access::*, content::*, cut::*, framing::*, liveness::*, network::*, numbers::*, quota::*,
        replay::*, store::*,
    };
}

/// What a fault takes after `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A whole number; the one given where it is left out.
    Number(u64),
    /// Text, which must be given.
    Text(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One named misbehaviour.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// What flags and `POST /sim/faults` call it.
    pub name: &'static str,
    /// The open question of the SAPI facts it answers: `B1` to `B27`.
    pub row: &'static str,
    /// Its argument.
    pub takes: Takes,
    /// It goes off by itself once it has fired.
    pub once: bool,
    /// What the server then does.
    pub description: &'static str,
}

/// Every fault there is, by row.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    let mut faults: Vec<&'static Fault> = [
        access::TABLE,
        quota::TABLE,
        framing::TABLE,
        replay::TABLE,
        numbers::TABLE,
        liveness::TABLE,
        cut::TABLE,
        store::TABLE,
        content::TABLE,
        network::TABLE,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect();
    faults.sort_by_key(|fault| fault.row.trim_start_matches('B').parse::<u8>().unwrap_or(0));
    faults.into_iter()
}

/// Rows, or parts of rows, that no fault covers, and why.
pub const WITHOUT_FAULT: &[(&str, &str)] = &[
    (
        "B10",
        "replay with msgInfo unchanged is what the simulator does without a fault",
    ),
    (
        "B12",
        "a cut measured in HTTP terms (the stream ends) is cut-code=1006",
    ),
    (
        "B17",
        "percent-encoding not decoded: ids that a client may use do not change under encoding",
    ),
    (
        "B19",
        "a changed DNS answer happens before any server is reached",
    ),
    ("B24", "no cause: covered by call-state-odd"),
    (
        "B25",
        "instances out of order: seq-out-of-order together with instances=N",
    ),
    (
        "B27",
        "permessage-deflate is negotiated only if a client offers it; this server never takes the offer",
    ),
];

/// Declares the faults of a family and their table.
macro_rules! family {
    ($($(#[$once:ident])? $ident:ident = $row:literal $name:literal $takes:expr, $description:literal;)+) => {
        $(
            pub(crate) static $ident: $crate::faults::Fault = $crate::faults::Fault {
                name: $name,
                row: $row,
                takes: $takes,
                once: $crate::faults::family!(@once $($once)?),
                description: $description,
            };
        )+
        /// The faults of this family.
        pub(super) static TABLE: &[&$crate::faults::Fault] = &[$(&$ident),+];
    };
    (@once once) => { true };
    (@once) => { false };
}
use family;

#[cfg(test)]
mod tests;
