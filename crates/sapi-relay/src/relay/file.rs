//! Owns the wiring of a sink of type `file`.

use relay_core::cloudevents::Source;
use relay_core::sink::Failure;
use relay_core::worker::{self, SinkHandle};
use relay_sinks::file::{Config, File, probe as look};

use super::sinks::Sinks;
use crate::config;

/// Starts its worker.
pub(super) fn start(
    sinks: &Sinks,
    name: &str,
    delivery: &config::Delivery,
    file: &config::File,
) -> anyhow::Result<SinkHandle> {
    let path = file.path.display().to_string();
    let worker = sinks.worker_config(name, "file", delivery, &path)?;
    let config = config(file);
    let source = Source::new(&sinks.tenant, sinks.context.bus.epoch());
    let make = move || File::new(config.clone(), source.clone());
    Ok(worker::spawn(
        &sinks.supervisor,
        worker,
        &sinks.context,
        make,
    ))
}

/// Looks whether the file can be written; makes none.
pub(crate) async fn probe(file: config::File, _tenant: &str) -> Result<(), Failure> {
    look(&config(&file)).await
}

fn config(file: &config::File) -> Config {
    Config {
        path: file.path.clone(),
        rotate_bytes: file.rotate_bytes,
        keep: file.keep,
    }
}
