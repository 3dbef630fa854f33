//! Owns the wiring of a sink of type `nats`.

use relay_core::cloudevents::Source;
use relay_core::sink::{Failure, Next};
use relay_core::worker::{self, SinkHandle};
use relay_sinks::nats::{Auth, Config, JetStream, Nats, Subject, Tls, probe as connect};
use relay_sinks::tls::ClientTls;

use super::fingerprint::Fingerprint;
use super::sinks::Sinks;
use crate::config;

/// Starts its worker.
pub(super) fn start(
    sinks: &Sinks,
    name: &str,
    delivery: &config::Delivery,
    nats: &config::Nats,
) -> anyhow::Result<SinkHandle> {
    let worker = sinks.worker_config(name, "nats", delivery, &fingerprint(nats))?;
    let config = config(nats, name, &sinks.tenant)?;
    let source = Source::new(&sinks.tenant, sinks.context.bus.epoch());
    let make = move || Nats::new(config.clone(), source.clone());
    Ok(worker::spawn(
        &sinks.supervisor,
        worker,
        &sinks.context,
        make,
    ))
}

/// Connects and looks for the stream; changes nothing.
pub(crate) async fn probe(nats: config::Nats, tenant: &str) -> Result<(), Failure> {
    let config = config(&nats, "check", tenant).map_err(|error| Failure {
        next: Next::Blocked,
        text: error.to_string(),
        remedy: "change subject".to_owned(),
    })?;
    connect(&config).await
}

fn config(nats: &config::Nats, name: &str, tenant: &str) -> anyhow::Result<Config> {
    let tls = nats.tls.clone().map(|tls| {
        let (cert_file, key_file) = tls.identity.unzip();
        ClientTls {
            ca_file: tls.ca_file,
            cert_file,
            key_file,
        }
    });
    let tls = (tls.is_some() || nats.handshake_first).then(|| Tls {
        files: tls.unwrap_or_default(),
        handshake_first: nats.handshake_first,
    });
    Ok(Config {
        name: name.to_owned(),
        tenant: tenant.to_owned(),
        servers: nats.servers.clone(),
        subject: Subject::parse(&nats.subject)?,
        jetstream: nats.jetstream.clone().map(|wanted| JetStream {
            stream: wanted.stream,
            create: wanted.create,
        }),
        auth: match nats.auth.clone() {
            config::NatsAuth::Nobody => Auth::Nobody,
            config::NatsAuth::User(user, password) => Auth::User(user, password.into()),
            config::NatsAuth::Token(token) => Auth::Token(token.into()),
            config::NatsAuth::Creds(path) => Auth::Creds(path),
            config::NatsAuth::Nkey(seed) => Auth::Nkey(seed.into()),
        },
        tls,
        format: nats.format,
    })
}

fn fingerprint(nats: &config::Nats) -> String {
    let print = Fingerprint::default();
    let print = nats
        .servers
        .iter()
        .fold(print, |print, server| print.text(server));
    let print = print.text(
        nats.jetstream
            .as_ref()
            .and_then(|wanted| wanted.stream.as_deref())
            .unwrap_or_default(),
    );
    match &nats.auth {
        config::NatsAuth::Nobody => print,
        config::NatsAuth::User(user, password) => print.text(user).secret(password),
        config::NatsAuth::Token(secret) | config::NatsAuth::Nkey(secret) => print.secret(secret),
        config::NatsAuth::Creds(path) => print.secret(&config::Secret::File(path.clone())),
    }
    .encode()
}
