//! End-to-end tests, one binary: the real relay as a child process against the simulator.

mod architecture;
mod cursors;
mod delivery;
mod disk;
mod framing;
mod manners;
mod numbering;
mod sapi_face;
mod secrets;
