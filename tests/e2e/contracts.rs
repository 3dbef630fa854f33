//! The documents of `/v1/contracts` against what a running relay answers and sends.

mod documents;
mod endpoints;
mod events;
mod messages;
