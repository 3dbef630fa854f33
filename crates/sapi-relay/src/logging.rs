//! Owns where log lines go and what they look like: standard error, text on a terminal, JSON
//! otherwise.

use std::io::{IsTerminal, stderr};

use tracing::Level;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat};
use crate::failure::Failure;
use crate::output::say;

/// What is never logged below info: others' crates, whose debug lines show requests with their
/// credentials.
const OURS: [&str; 4] = ["relay_", "sapi_", "sapi-relay", "panic"];

/// Crates whose sink says all they say, in its own words and not again and again.
const SAID: [&str; 2] = ["async_nats", "lapin"];

/// Starts logging. A second start (in tests) changes nothing.
pub(crate) fn start(config: &Log) {
    let text = match config.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => stderr().is_terminal(),
    };
    // The level was checked when the configuration was read.
    let level = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let ours = filter_fn(|line| {
        let of = |names: &[&str]| names.iter().any(|name| line.target().starts_with(name));
        !of(&SAID) && (*line.level() <= Level::INFO || of(&OURS))
    });
    // Without the hint every line of every crate would be looked at, tungstenite's for each frame.
    let filter = level.and(ours.with_max_level_hint(Level::TRACE));
    let log = tracing_subscriber::fmt::layer().with_writer(stderr);
    let log = if text {
        let colour = stderr().is_terminal() && colour();
        log.with_ansi(colour)
            .with_target(false)
            .with_filter(filter)
            .boxed()
    } else {
        log.json()
            .with_current_span(false)
            .with_filter(filter)
            .boxed()
    };
    tracing_subscriber::registry().with(log).try_init().ok();
    std::panic::set_hook(Box::new(panicked));
}

/// A panic is a line like any other: whoever reads the log as JSON can read it.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let said = panic.payload_as_str().unwrap_or("without a word");
    let place = panic.location().map(ToString::to_string);
    tracing::error!(target: "panic", place, "panicked: {said}");
}

/// Says why the program ends: as a log line where a log is being collected, else in plain words.
pub(crate) fn last_words(failure: &Failure) {
    if tracing::dispatcher::has_been_set() && !stderr().is_terminal() {
        tracing::error!(exit_code = failure.code(), "{failure}");
    } else {
        say(&format!("sapi-relay: {failure}"));
    }
}

/// Whether colour is wanted at all (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
