//! The kafka sink against the real thing: the contract every sink passes, and the whole relay. Where Kafka
//! can't be had, the contract on librdkafka's mock cluster is what is left.

mod access;
mod contract;
mod exactly_once;
mod hostile;
mod mock;
mod records;
mod relay;
mod remedies;
mod sizes;
mod wiped;
