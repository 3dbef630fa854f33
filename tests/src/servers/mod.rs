//! The real servers that sinks deliver to, each a process of the test on ports and in folders of its own,
//! so that a test may kill it, stop it, cut it off and start it again.

pub mod certificates;
pub mod kafka;
pub mod nats;
pub mod rabbitmq;
pub mod receiver;
pub mod tally;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where `scripts/servers/*` put what they fetch.
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("SAPI_RELAY_TEST_CACHE") {
        return folder.into();
    }
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/sapi-relay-tests")
}

/// A port for a server that has to be told where it listens, free now. It lies below those that the
/// system gives to clients: one that tries a killed server's port again and again must not come to
/// connect to itself there, and keep it.
///
/// # Panics
/// If none is free.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start one after the other are far from each other: a port that a server has not
    // bound yet looks free to all of them.
    let start = std::process::id().wrapping_mul(7_919) % 20_000;
    let start = u16::try_from(start).unwrap_or_default();
    let ports = (0..20_000).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        10_000 + start.wrapping_add(step) % 20_000
    });
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}
