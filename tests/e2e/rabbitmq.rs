//! The RabbitMQ sink against the real broker: the contract every sink passes, what it delivers and refuses, and the
//! whole relay.

mod access;
mod broker;
mod contract;
mod fixture;
mod messages;
mod relay;
