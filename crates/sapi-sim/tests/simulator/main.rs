//! The simulator as its users see it: over sockets, against what the vendor documents and against
//! what each fault promises.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access;
mod burst;
mod client;
mod control;
mod delivery;
mod faults_ending;
mod faults_framing;
mod faults_numbers;
mod faults_replay;
mod limits;
mod program;
mod tls;
