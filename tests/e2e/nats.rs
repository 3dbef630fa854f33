//! The NATS sink against the real nats-server: the contract every sink passes, and the whole relay.

mod access;
mod contract;
mod faults;
mod fixture;
mod messages;
mod refusals;
