//! End-to-end tests, one binary: the real relay as a child process against the simulator.

mod architecture;
mod browser;
mod contracts;
mod cursors;
mod delivery;
mod disk;
mod framing;
mod guides;
mod health;
mod kafka;
mod logs;
mod manners;
mod metrics;
mod monitoring;
mod nats;
mod numbering;
mod packaging;
mod rabbitmq;
mod sapi_face;
mod secrets;
mod sinks;
mod together;
mod traces;
mod webhook;
