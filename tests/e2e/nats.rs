//! The nats sink against the real thing.
