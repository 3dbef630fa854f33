//! Owns the wiring of a sink of type `rabbitmq`.

use relay_core::cloudevents::Source;
use relay_core::sink::{Failure, Next};
use relay_core::worker::{self, SinkHandle};
use relay_sinks::rabbitmq::{Config, RabbitMq, Unroutable, probe as connect};
use relay_sinks::template::Template;
use relay_sinks::tls::ClientTls;

use super::fingerprint::Fingerprint;
use super::sinks::Sinks;
use crate::config;

/// Starts its worker.
pub(super) fn start(
    sinks: &Sinks,
    name: &str,
    delivery: &config::Delivery,
    rabbitmq: &config::Rabbitmq,
) -> anyhow::Result<SinkHandle> {
    let print = Fingerprint::default().text(&rabbitmq.exchange);
    let print = print.secret(&rabbitmq.url).encode();
    let worker = sinks.worker_config(name, "rabbitmq", delivery, &print)?;
    let config = config(rabbitmq, name, &sinks.tenant)?;
    let source = Source::new(&sinks.tenant, sinks.context.bus.epoch());
    let make = move || RabbitMq::new(config.clone(), source.clone());
    Ok(worker::spawn(
        &sinks.supervisor,
        worker,
        &sinks.context,
        make,
    ))
}

/// Connects and looks for the exchange; changes nothing.
pub(crate) async fn probe(rabbitmq: config::Rabbitmq, tenant: &str) -> Result<(), Failure> {
    let config = config(&rabbitmq, "check", tenant).map_err(|error| Failure {
        next: Next::Blocked,
        text: error.to_string(),
        remedy: "change routing_key".to_owned(),
    })?;
    connect(&config).await
}

fn config(rabbitmq: &config::Rabbitmq, name: &str, tenant: &str) -> anyhow::Result<Config> {
    let tls = rabbitmq.tls.clone().unwrap_or_default();
    let (cert_file, key_file) = tls.identity.unzip();
    Ok(Config {
        name: name.to_owned(),
        tenant: tenant.to_owned(),
        url: rabbitmq.url.clone().into(),
        exchange: rabbitmq.exchange.clone(),
        declare: rabbitmq.declare,
        routing_key: Template::confined(&rabbitmq.routing_key)?,
        unroutable: if rabbitmq.reject_unroutable {
            Unroutable::Reject
        } else {
            Unroutable::Ignore
        },
        tls: ClientTls {
            ca_file: tls.ca_file,
            cert_file,
            key_file,
        },
        format: rabbitmq.format,
    })
}
