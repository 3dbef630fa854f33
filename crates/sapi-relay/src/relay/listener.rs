//! Owns the wiring of a sink of type `websocket`.

use std::net::SocketAddr;
use std::sync::Arc;

use relay_core::sink::Listener;
use relay_core::supervise::Handle;
use relay_sinks::tls::{Acceptor, ServerTls};
use relay_sinks::websocket::{BindError, Client, Clients, Config, Context, Sapi, Websocket};

use super::sinks::Sinks;
use super::{listening, unbound};
use crate::config;
use crate::failure::{CONFIG, Failure};

/// A listener that serves.
#[derive(Debug)]
pub(super) struct Running {
    task: Handle,
    address: SocketAddr,
    clients: Clients,
    tls: Option<Acceptor>,
}

impl Running {
    /// Binds, then serves under supervision.
    pub(super) async fn start(
        sinks: &Sinks,
        name: &str,
        websocket: &config::Websocket,
    ) -> Result<Self, Failure> {
        let config = sink_config(name, &sinks.tenant, websocket);
        let context = Context {
            store: sinks.context.store.clone(),
            metrics: Arc::clone(&sinks.context.metrics),
        };
        let bound = Websocket::bind(config.clone(), context.clone()).await;
        let bound = bound.map_err(|error| refused(name, error))?;
        let (clients, tls) = (bound.clients(), bound.tls());
        let address = bound.local_addr();
        listening(name, address);
        // A restart after a panic binds the same port again.
        let config = Config {
            listen: address,
            ..config
        };
        let bus = sinks.context.bus.clone();
        let mut first = Some(bound);
        let task = sinks
            .supervisor
            .spawn(&format!("sink {name}"), move |stop| {
                let (bound, bus) = (first.take(), bus.clone());
                let (config, context) = (config.clone(), context.clone());
                async move {
                    let bound = match bound {
                        Some(bound) => bound,
                        None => Websocket::bind(config, context).await?,
                    };
                    bound.serve(bus, stop).await.map_err(anyhow::Error::from)
                }
            });
        Ok(Self {
            task,
            address,
            clients,
            tls,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Clients that are connected now.
    pub(super) fn connected(&self) -> usize {
        self.clients.connected()
    }

    /// Replaces who may connect, connections of those that are gone are closed; and reads the
    /// certificate again.
    pub(super) fn renew(&self, clients: &[config::Client]) -> anyhow::Result<()> {
        if let Some(tls) = &self.tls {
            tls.reload()?;
        }
        Ok(self.clients.replace(clients.iter().map(client).collect())?)
    }

    /// Tells clients to go, and waits until they have.
    pub(super) async fn stop(&self) {
        self.task.stop();
        self.task.ended().await;
    }
}

/// What to do about a listener that can't be bound.
fn refused(name: &str, error: BindError) -> Failure {
    match error {
        BindError::Address { addr, source } => {
            unbound(&format!("sinks.{name}.listen"), addr, source)
        }
        BindError::Tls(_) => {
            let error = anyhow::Error::from(error).context(format!("sinks.{name}.tls"));
            Failure::new(CONFIG, error).remedy("cert_file and key_file are PEM and belong together")
        }
        BindError::Clients(_) => {
            let error = anyhow::Error::from(error).context(format!("sinks.{name}.clients"));
            Failure::new(CONFIG, error)
        }
    }
}

fn sink_config(name: &str, tenant: &Arc<str>, websocket: &config::Websocket) -> Config {
    let tls = websocket.tls.as_ref().and_then(|tls| {
        let (cert_file, key_file) = tls.identity.clone()?;
        Some(ServerTls {
            cert_file,
            key_file,
            ca_file: tls.ca_file.clone(),
        })
    });
    Config {
        name: name.into(),
        tenant: Arc::clone(tenant),
        listen: websocket.listen,
        tls,
        max_clients: websocket.max_clients,
        clients: websocket.clients.iter().map(client).collect(),
        allow_anonymous: websocket.allow_anonymous,
        allowed_origins: websocket.allowed_origins.clone(),
        slow_client_timeout: websocket.slow_client_timeout,
        sapi: Sapi {
            heartbeat: websocket.sapi.heartbeat,
            session_length: websocket.sapi.session_length,
            cache: websocket.sapi.cache,
            max_subs_ids: websocket.sapi.max_subs_ids,
        },
    }
}

fn client(client: &config::Client) -> Client {
    Client {
        name: client.name.as_str().into(),
        token: client.token.clone().into(),
        types: client.types.clone(),
    }
}
