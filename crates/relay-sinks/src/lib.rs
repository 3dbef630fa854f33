//! The sink plugins: what the relay sends events to, one module each, behind a cargo feature each.
//!
//! A module owns its protocol: it knows the contracts of `relay_core::sink` and nothing of
//! configuration files, of the journal and of the upstream.

mod format;
mod secret;
pub mod template;
pub mod tls;

#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "webhook")]
pub mod webhook;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use format::Format;
pub use secret::Secret;
