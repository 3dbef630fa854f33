//! The RabbitMQ sink against the real broker: the contract every sink passes, and the whole relay.

mod broker;
mod contract;
