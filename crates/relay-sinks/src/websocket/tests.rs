//! The listener as its clients see it: real sockets, a real journal, a real tungstenite client.

mod access;
pub(super) mod fixture;
mod group;
mod http;
mod sapi;
mod slow;
mod stream;
mod streams;
mod tls;
