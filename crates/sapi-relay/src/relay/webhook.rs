//! Owns the wiring of a sink of type `webhook`.

use relay_core::cloudevents::Source;
use relay_core::sink::Failure;
use relay_core::worker::{self, SinkHandle, WorkerConfig};
use relay_sinks::tls::ClientTls;
use relay_sinks::webhook::{Config, Mode, Webhook, probe as ask};

use super::fingerprint::Fingerprint;
use super::sinks::Sinks;
use crate::config;

/// Single events are read in so many parts of what may run ahead: the cursor moves, and more is read, a part
/// at a time.
const PARTS: usize = 8;

/// Starts its worker.
pub(super) fn start(
    sinks: &Sinks,
    name: &str,
    delivery: &config::Delivery,
    webhook: &config::Webhook,
) -> anyhow::Result<SinkHandle> {
    let worker = sinks.worker_config(name, "webhook", delivery, &fingerprint(webhook))?;
    let ahead_events = worker.batch_events;
    let worker = WorkerConfig {
        ahead_events,
        batch_events: match webhook.mode {
            Mode::Batch => ahead_events,
            Mode::Single => ahead_events.div_ceil(PARTS),
        },
        ..worker
    };
    let config = config(webhook);
    let source = Source::new(&sinks.tenant, sinks.context.bus.epoch());
    let make = move || Webhook::new(config.clone(), source.clone());
    Ok(worker::spawn(
        &sinks.supervisor,
        worker,
        &sinks.context,
        make,
    ))
}

/// Asks whether the endpoint is there; sends no event.
pub(crate) async fn probe(webhook: config::Webhook, _tenant: &str) -> Result<(), Failure> {
    ask(&config(&webhook)).await
}

fn config(webhook: &config::Webhook) -> Config {
    let tls = webhook.tls.clone().unwrap_or_default();
    let (cert_file, key_file) = tls.identity.unzip();
    let headers = webhook.headers.iter();
    Config {
        url: webhook.url.clone(),
        secret: webhook.secret.clone().map(Into::into),
        headers: headers
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect(),
        timeout: webhook.timeout,
        mode: webhook.mode,
        format: webhook.format,
        concurrency: webhook.concurrency,
        tls: ClientTls {
            ca_file: tls.ca_file,
            cert_file,
            key_file,
        },
    }
}

fn fingerprint(webhook: &config::Webhook) -> String {
    let print = Fingerprint::default().text(&webhook.url);
    let secrets = webhook.secret.iter();
    let print = secrets.fold(print, Fingerprint::secret);
    let headers = webhook.headers.iter();
    headers
        .fold(print, |print, (name, value)| print.text(name).secret(value))
        .encode()
}
