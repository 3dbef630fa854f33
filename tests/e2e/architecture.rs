//! The arrows between the crates are those of ARCHITECTURE.md, and no others.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Who may know whom.
const ARROWS: [(&str, &[&str]); 8] = [
    ("sapi-protocol", &[]),
    ("relay-journal", &[]),
    ("relay-core", &["relay-journal", "sapi-protocol"]),
    ("relay-upstream", &["relay-core", "sapi-protocol"]),
    ("relay-sinks", &["relay-core", "sapi-protocol"]),
    ("sapi-sim", &["sapi-protocol"]),
    (
        "sapi-relay",
        &[
            "relay-core",
            "relay-journal",
            "relay-sinks",
            "relay-upstream",
            "sapi-protocol",
            "sapi-sim",
        ],
    ),
    (
        "relay-tests",
        &[
            "relay-core",
            "relay-journal",
            "relay-sinks",
            "sapi-protocol",
            "sapi-sim",
        ],
    ),
];

fn metadata() -> Value {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_know_only_whom_they_may_know() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<_> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ARROWS.iter().map(|(name, _)| *name).collect());
    for (name, allowed) in ARROWS {
        let package = packages
            .iter()
            .find(|package| package["name"] == name)
            .unwrap();
        let known: BTreeSet<_> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|dependency| names.contains(dependency))
            .collect();
        let stray: Vec<_> = known
            .iter()
            .filter(|known| !allowed.contains(known))
            .collect();
        assert!(stray.is_empty(), "{name} must not depend on {stray:?}");
    }
}
