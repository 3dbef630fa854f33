//! nats-server.
