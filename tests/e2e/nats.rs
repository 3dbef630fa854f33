//! The NATS sink against the real nats-server: the contract every sink passes, and the whole relay.

mod contract;
