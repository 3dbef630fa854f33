//! The webhook sink against a receiver on real sockets: the contract every sink passes, and the whole relay.

mod answers;
mod contract;
mod order;
mod wire;
mod world;
