//! The kafka sink against the real thing: the contract every sink passes, and the whole relay.

mod contract;
mod exactly_once;
mod records;
mod relay;
mod remedies;
