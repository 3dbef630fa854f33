//! The real servers that sinks deliver to, each a process of the test on ports and in folders of its own,
//! so that a test may kill it, stop it, cut it off and start it again.

pub mod kafka;
pub mod nats;
pub mod rabbitmq;
pub mod receiver;

use std::path::PathBuf;

/// Where `scripts/servers/*` put what they fetch.
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("SAPI_RELAY_TEST_CACHE") {
        return folder.into();
    }
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/sapi-relay-tests")
}
