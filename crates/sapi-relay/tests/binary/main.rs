//! The real binary as a child process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failure ends the test"
)]

mod cli;
mod config;
mod connect;
mod daemon;
mod operation;
mod reload;
mod run;
