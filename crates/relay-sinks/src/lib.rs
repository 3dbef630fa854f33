//! The sink plugins: what the relay sends events to, one module each, behind a cargo feature each.
//!
//! A module owns its protocol: it knows the contracts of `relay_core::sink` and nothing of
//! configuration files, of the journal and of the upstream.

mod secret;
pub mod tls;

#[cfg(feature = "file")]
pub mod file;
pub mod template;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use secret::Secret;
