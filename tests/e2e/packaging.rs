//! What the relay is delivered in, as far as it can be checked without what runs it: the unit, the
//! images, the composition, the chart.

mod chart;
mod compose;
mod image;
mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use relay_tests::relay::binary;
use serde_json::Value;

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A program that `scripts/tools/*` provide.
fn tool(path: &str) -> Command {
    let program = relay_tests::servers::cache().join(path);
    let there = program.is_file();
    assert!(there, "{path} is not there: `make tools` provides it");
    let mut command = Command::new(program);
    command.current_dir(repository("."));
    command
}

/// Runs a command, and returns whether it succeeded and all that it printed.
fn outcome(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8(text).expect("text"),
    )
}

/// What a command that has to succeed printed on standard output.
fn printed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// `sapi-relay check` has nothing to say against a configuration.
fn passes_check(config: &Path, environment: &BTreeMap<String, String>) {
    let mut command = Command::new(binary("sapi-relay"));
    command.args(["check", "--config"]).arg(config);
    let (right, said) = outcome(command.env_clear().envs(environment));
    assert!(right, "{}: {said}", config.display());
    assert!(!said.contains("warning"), "{}: {said}", config.display());
}

/// The text at a pointer.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer}: {value:#}"))
}

/// The list at a pointer.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list at {pointer}: {value:#}"))
}

/// A tag that says which release it is.
fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit_once(':').map(|(_, tag)| tag);
    tag.is_some_and(|tag| {
        tag.matches('.').count() > 0 && tag.contains(|c: char| c.is_ascii_digit())
    })
}
