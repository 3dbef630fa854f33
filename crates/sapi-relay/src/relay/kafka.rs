//! Owns the wiring of a sink of type `kafka`.

use relay_core::cloudevents::Source;
use relay_core::sink::{Failure, Next};
use relay_core::worker::{self, SinkHandle};
use relay_sinks::kafka::{Config, ExactlyOnce, Kafka, Properties, Sasl, probe as connect};
use relay_sinks::template::{Placeholder, Template};
use relay_sinks::tls::ClientTls;

use super::fingerprint::Fingerprint;
use super::sinks::Sinks;
use crate::config;

/// Starts its worker.
pub(super) fn start(
    sinks: &Sinks,
    name: &str,
    delivery: &config::Delivery,
    kafka: &config::Kafka,
) -> anyhow::Result<SinkHandle> {
    let mut worker = sinks.worker_config(name, "kafka", delivery, &fingerprint(kafka))?;
    if kafka.exactly_once.is_some() {
        // A transaction is a delivery, and there is one at a time: room for no other beside it.
        worker.in_flight_bytes = worker.batch_bytes;
    }
    let mut config = config(kafka, name, &sinks.tenant)?;
    config.in_flight_bytes = delivery.in_flight_bytes;
    let source = Source::new(&sinks.tenant, sinks.context.bus.epoch());
    let make = move || Kafka::new(config.clone(), source.clone());
    Ok(worker::spawn(
        &sinks.supervisor,
        worker,
        &sinks.context,
        make,
    ))
}

/// Connects and looks for the topic; writes nothing.
pub(crate) async fn probe(kafka: config::Kafka, tenant: &str) -> Result<(), Failure> {
    let config = config(&kafka, "check", tenant).map_err(|error| Failure {
        next: Next::Blocked,
        text: error.to_string(),
        remedy: "change topic, key or librdkafka".to_owned(),
    })?;
    connect(&config).await
}

fn config(kafka: &config::Kafka, name: &str, tenant: &str) -> anyhow::Result<Config> {
    let mut properties = Properties::default();
    for (name, value) in &kafka.librdkafka.0 {
        properties.set(name, value)?;
    }
    Ok(Config {
        name: name.to_owned(),
        tenant: tenant.to_owned(),
        brokers: kafka.brokers.clone(),
        topic: Template::confined(&kafka.topic)?.without(Placeholder::Key)?,
        key: Template::verbatim(&kafka.key)?,
        format: kafka.format,
        compression: kafka.compression,
        exactly_once: kafka.exactly_once.as_ref().map(|wanted| ExactlyOnce {
            transactional_id: wanted.id(tenant, name),
            cursor_topic: wanted.cursor_topic.clone(),
        }),
        tls: kafka.tls.clone().map(|tls| {
            let (cert_file, key_file) = tls.identity.unzip();
            ClientTls {
                ca_file: tls.ca_file,
                cert_file,
                key_file,
            }
        }),
        sasl: kafka.sasl.clone().map(|sasl| Sasl {
            mechanism: sasl.mechanism,
            username: sasl.username,
            password: sasl.password.into(),
        }),
        properties,
        in_flight_bytes: 8 << 20,
    })
}

fn fingerprint(kafka: &config::Kafka) -> String {
    let texts = kafka.brokers.iter().chain([&kafka.topic]);
    let print = texts.fold(Fingerprint::default(), |print, text| print.text(text));
    let print = match &kafka.exactly_once {
        None => print,
        Some(wanted) => print
            .text(wanted.transactional_id.as_deref().unwrap_or_default())
            .text(&wanted.cursor_topic),
    };
    match &kafka.sasl {
        None => print,
        Some(sasl) => print.text(&sasl.username).secret(&sasl.password),
    }
    .encode()
}
