//! The contract suite: what every sink has to pass, run against a peer that a sink's tests provide. It
//! drives the real worker over a real journal; it knows no protocol.
//!
//! ```ignore
//! relay_core::sink_contract!(KafkaPeer::start().await);
//! ```
//! A peer that can't be made to fail in some way says so, and that check passes without it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a check fails by panicking"
)]

mod checks;
mod fake;
mod relay;

pub use checks::*;
pub use fake::{FakePeer, FakeSink};
pub use relay::Relay;

use crate::sink::Sink;

/// An event as the peer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its `sapisequence`.
    pub number: u64,
    /// Its `partitionkey`.
    pub key: String,
}

/// A way for a peer to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there, and what is under way is lost.
    Away,
    /// It refuses everything for a cause that waiting does not cure.
    Blocked,
    /// It says that it is gone for good.
    Gone,
    /// It takes what comes, but confirms nothing until it is mended.
    Stalled,
    /// It takes what comes, and confirms it when it is mended, the latest first.
    Reversed,
    /// It neither confirms nor takes every other event when it comes for the first time.
    Partly,
    /// It takes nothing, and makes whoever delivers wait.
    Hang,
    /// It refuses, for good, events whose bytes hold the word `poison`.
    Poison,
    /// The sink panics once.
    Panic,
}

/// The other side of a sink under test. One peer is used by one check.
pub trait Peer: Send + Sync + 'static {
    /// The sink.
    type Sink: Sink;

    /// A sink for this peer; called for each start of its worker.
    fn sink(&self) -> impl FnMut() -> Self::Sink + Send + 'static;

    /// What the peer has received, in its order, repetitions included.
    fn seen(&self) -> impl Future<Output = Vec<Seen>> + Send;

    /// Begins to misbehave, until it is mended. `false`: this peer can't.
    fn inject(&self, fault: Fault) -> impl Future<Output = bool> + Send;

    /// Behaves again.
    fn mend(&self) -> impl Future<Output = ()> + Send;
}

/// Makes a test of each check of the contract, with a peer made anew by an expression for each.
#[macro_export]
macro_rules! sink_contract {
    ($peer:expr) => {
        $crate::sink_contract! { $peer;
            confirms_and_does_not_repeat, keeps_the_order, crosses_from_disk_to_memory,
            redelivers_after_an_absence, goes_on_behind_poison, stops_when_blocked_and_goes_on,
            bears_a_peer_that_is_slow, bears_late_confirmations_out_of_order,
            repeats_only_what_was_not_confirmed, seeks, pauses_across_a_restart,
            goes_on_from_its_cursor, stops_cleanly, survives_a_crash,
        }
    };
    ($peer:expr; $($check:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::contract::$check($peer).await;
            }
        )+
    };
}
