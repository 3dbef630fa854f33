//! Owns the configuration: from files and environment to checked values, every problem at once.
//! Nothing beyond this module sees a key, a file or a variable.

mod cross;
mod layers;
mod problem;
mod secret;
mod section;
mod server;
mod sinks;
mod storage;
mod tls;
mod traces;
mod units;
mod upstream;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::DedupConfig;
use relay_upstream::UpstreamConfig;

pub(crate) use cross::clash;
pub(crate) use problem::{Problem, Problems};
pub(crate) use secret::Secret;
pub(crate) use server::{Admin, Log, LogFormat};
#[cfg_attr(
    not(all(
        feature = "file",
        feature = "kafka",
        feature = "nats",
        feature = "rabbitmq",
        feature = "webhook"
    )),
    expect(unused_imports, reason = "a build may leave sinks out")
)]
pub(crate) use sinks::{
    Client, Delivery, File, Kafka, Nats, NatsAuth, Rabbitmq, Sink, SinkKind, Webhook, Websocket,
};
pub(crate) use storage::Journal;
pub(crate) use traces::Traces;
pub(crate) use units::write_size;

use layers::Layers;
use problem::Collector;
use section::Section;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) upstream: Arc<UpstreamConfig>,
    pub(crate) dedup: DedupConfig,
    pub(crate) journal: Journal,
    /// `bus.memory`, in bytes.
    pub(crate) bus_memory: usize,
    pub(crate) admin: Admin,
    pub(crate) dead_letters: DeadLetterConfig,
    /// `shutdown.timeout`.
    pub(crate) shutdown_timeout: Duration,
    pub(crate) log: Log,
    /// What is traced, if anything is.
    pub(crate) traces: Option<Traces>,
    /// The sinks that are enabled, by name.
    pub(crate) sinks: Vec<Sink>,
    /// What works, but hardly as intended.
    pub(crate) warnings: Vec<Problem>,
}

impl Config {
    /// The sections that differ from `old` and take effect at a start only.
    pub(crate) fn fixed_changes(&self, old: &Self) -> Vec<&'static str> {
        // Its token is not one of them: running subscriptions are handed the new one.
        let upstream = |config: &Self| UpstreamConfig {
            token: old.upstream.token.clone(),
            ..UpstreamConfig::clone(&config.upstream)
        };
        let sections = |config: &Self| {
            [
                ("upstream", format!("{:?}", upstream(config))),
                ("dedup", format!("{:?}", config.dedup)),
                ("journal", format!("{:?}", config.journal)),
                ("bus", config.bus_memory.to_string()),
                ("admin", config.admin.listen.to_string()),
                ("dead_letters", format!("{:?}", config.dead_letters)),
                ("log", format!("{:?}", config.log)),
                ("traces", format!("{:?}", config.traces)),
            ]
        };
        let pairs = sections(self).into_iter().zip(sections(old));
        let changed = pairs.filter(|((_, new), (_, old))| new != old);
        changed.map(|((name, _), _)| name).collect()
    }

    /// Reads files in order and then the environment's variables.
    pub(crate) fn load(
        files: &[PathBuf],
        environment: &[(String, String)],
    ) -> Result<Self, Problems> {
        let problems = Collector::default();
        let layers = Layers::read(files, environment, &problems);
        // What stands in a file that can't be read would all be reported as missing, too.
        problems.so_far()?;
        let parts = Parts::read(&Section::root(&layers, &problems));
        let warnings = problems.finish()?;
        parts
            .complete(warnings)
            .ok_or_else(|| Problems(vec![incomplete()]))
    }
}

/// What the sections gave; a part that is absent has reported why.
struct Parts {
    upstream: Option<UpstreamConfig>,
    dedup: DedupConfig,
    journal: Journal,
    bus_memory: usize,
    admin: Admin,
    dead_letters: DeadLetterConfig,
    shutdown_timeout: Duration,
    log: Log,
    traces: Option<Traces>,
    sinks: Vec<Sink>,
}

impl Parts {
    fn read(root: &Section<'_>) -> Self {
        let parts = Self {
            upstream: upstream::read(&root.child("upstream")),
            dedup: storage::dedup(&root.child("dedup")),
            journal: storage::journal(&root.child("journal")),
            bus_memory: storage::bus(&root.child("bus")),
            admin: server::admin(&root.child("admin")),
            dead_letters: storage::dead_letters(&root.child("dead_letters")),
            shutdown_timeout: server::shutdown(&root.child("shutdown")),
            log: server::log(&root.child("log")),
            traces: traces::read(&root.child("traces")),
            sinks: sinks::read(&root.child("sinks")),
        };
        root.finish(|_| None);
        cross::check(root, &parts.view());
        parts
    }

    fn view(&self) -> cross::View<'_> {
        cross::View {
            upstream: self.upstream.as_ref(),
            dedup: &self.dedup,
            journal: &self.journal,
            admin: &self.admin,
            sinks: &self.sinks,
        }
    }

    fn complete(self, warnings: Vec<Problem>) -> Option<Config> {
        Some(Config {
            upstream: Arc::new(self.upstream?),
            dedup: self.dedup,
            journal: self.journal,
            bus_memory: self.bus_memory,
            admin: self.admin,
            dead_letters: self.dead_letters,
            shutdown_timeout: self.shutdown_timeout,
            log: self.log,
            traces: self.traces,
            sinks: self.sinks.into_iter().filter(|sink| sink.enabled).collect(),
            warnings,
        })
    }
}

/// A section that gave nothing has said why: this is for the one that forgot to.
fn incomplete() -> Problem {
    Problem {
        place: None,
        key: "upstream".into(),
        value: None,
        fault: "is not complete".into(),
        remedy: "compare it with config/relay.toml".into(),
    }
}

#[cfg(test)]
mod tests;
