//! The listener as its clients see it: real sockets, a real journal, a real tungstenite client.

mod access;
mod fixture;
mod http;
mod sapi;
mod slow;
mod stream;
mod streams;
mod tls;
