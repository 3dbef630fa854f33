//! End-to-end tests, one binary: the real relay as a child process against the simulator.

mod architecture;
mod cursors;
mod delivery;
