//! A faithful simulator of 8x8's Streaming API: paths, credentials, the limit of three, the cut, the
//! store with its replay, heartbeats, call flows, and every plausible misbehaviour as a named fault.
//!
//! In a test: [`Simulator::start`], [`Simulator::emit`], then [`Simulator::ledger`] against what
//! arrived. It knows `sapi-protocol` and nothing of the relay.

mod burst;
mod config;
mod content;
pub mod faults;
mod http;
mod hub;
mod session;
mod simulator;
mod world;

pub use self::{
    burst::{burst_document, burst_hash},
    config::{Burst, Config, DEMO_TOKEN, Numbering, UnknownNumbering},
    faults::{BadFault, FaultSpec, FaultStatus},
    hub::{Connection, End, EndedBy, Kind, LedgerEntry, Status, SubscriptionStatus, Written},
    simulator::{Simulator, StartError},
};
