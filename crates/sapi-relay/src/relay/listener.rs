//! Owns the wiring of a sink of type `websocket`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay_core::sink::Listener;
use relay_core::supervise::{Handle, TaskState};
use relay_sinks::tls::{Acceptor, ServerTls};
use relay_sinks::websocket::{BindError, Client, Clients, Config, Context, Sapi, Websocket};

use super::sinks::Sinks;
use super::{listening, unbound};
use crate::config;
use crate::failure::{CONFIG, Failure};

/// A listener that is bound, and serves nobody yet.
#[derive(Debug)]
pub(super) struct Bound {
    websocket: Websocket,
    config: Config,
    context: Context,
}

/// A listener that serves.
#[derive(Clone, Debug)]
pub(super) struct Running {
    task: Handle,
    address: SocketAddr,
    live: Arc<Mutex<Live>>,
}

/// What a reload changes while it serves, and what a start after a panic begins with.
#[derive(Debug)]
struct Live {
    config: Config,
    clients: Clients,
    tls: Option<Acceptor>,
}

impl Bound {
    /// Binds the address, and reads tokens and certificates.
    pub(super) async fn bind(
        sinks: &Sinks,
        name: &str,
        websocket: &config::Websocket,
    ) -> Result<Self, Failure> {
        let config = sink_config(name, &sinks.tenant, websocket);
        let context = context(sinks);
        let bound = Websocket::bind(config.clone(), context.clone()).await;
        Ok(Self {
            websocket: bound.map_err(|error| refused(name, error))?,
            config,
            context,
        })
    }

    /// Tries everything but the address, which is still in use.
    pub(super) async fn rehearse(
        sinks: &Sinks,
        name: &str,
        websocket: &config::Websocket,
    ) -> Result<(), Failure> {
        let elsewhere = config::Websocket {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            ..websocket.clone()
        };
        Self::bind(sinks, name, &elsewhere).await.map(drop)
    }

    /// Serves under supervision.
    pub(super) fn serve(self, sinks: &Sinks, name: &str) -> Running {
        let Self {
            websocket,
            config,
            context,
        } = self;
        let address = websocket.local_addr();
        listening(name, address);
        // A start after a panic binds the same port again.
        let config = Config {
            listen: address,
            ..config
        };
        let live = Arc::new(Mutex::new(Live {
            config,
            clients: websocket.clients(),
            tls: websocket.tls(),
        }));
        let (bus, held) = (sinks.context.bus.clone(), Arc::clone(&live));
        let mut first = Some(websocket);
        let task = sinks
            .supervisor
            .spawn(&format!("sink {name}"), move |stop| {
                let (first, bus) = (first.take(), bus.clone());
                let (held, context) = (Arc::clone(&held), context.clone());
                async move {
                    let bound = match first {
                        Some(bound) => bound,
                        None => again(&held, context).await?,
                    };
                    bound.serve(bus, stop).await.map_err(anyhow::Error::from)
                }
            });
        Running {
            task,
            address,
            live,
        }
    }
}

impl Running {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why it does not listen at the moment: it has failed, and starts again.
    pub(super) fn failure(&self) -> Option<String> {
        let task = self.task.status();
        let unknown = || "it has ended".to_owned();
        (task.state != TaskState::Running).then(|| task.last_failure.unwrap_or_else(unknown))
    }

    /// Clients that are connected now.
    pub(super) fn connected(&self) -> usize {
        lock(&self.live).clients.connected()
    }

    /// Replaces who may connect, connections of those that are gone are closed; and reads the
    /// certificate again.
    pub(super) fn renew(&self, clients: &[config::Client]) -> anyhow::Result<()> {
        let mut live = lock(&self.live);
        if let Some(tls) = &live.tls {
            tls.reload()?;
        }
        let clients: Vec<_> = clients.iter().map(client).collect();
        live.clients.replace(clients.clone())?;
        live.config.clients = clients;
        Ok(())
    }

    /// Tells clients to go, and waits until they have.
    pub(super) async fn stop(&self) {
        self.task.stop();
        self.task.ended().await;
    }
}

/// Binds after a panic, with who may connect by now.
async fn again(live: &Mutex<Live>, context: Context) -> Result<Websocket, anyhow::Error> {
    let config = lock(live).config.clone();
    let bound = Websocket::bind(config, context).await?;
    let mut live = lock(live);
    (live.clients, live.tls) = (bound.clients(), bound.tls());
    // A reload may have come meanwhile.
    live.clients.replace(live.config.clients.clone())?;
    Ok(bound)
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

fn context(sinks: &Sinks) -> Context {
    Context {
        store: sinks.context.store.clone(),
        metrics: Arc::clone(&sinks.context.metrics),
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

#[cfg(test)]
mod tests {
    use relay_core::Bus;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::{Config as Configuration, Secret, SinkKind};
    use crate::http::Peer;
    use crate::relay::Relay;

    /// What a client with a token is answered.
    async fn ask(address: SocketAddr, token: &str, dir: &std::path::Path) -> bool {
        let file = dir.join("shown");
        std::fs::write(&file, token).unwrap();
        let peer = Peer::new(&format!("http://{address}"), Some(&file)).unwrap();
        peer.get("/v1/history").await.is_ok()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_after_a_panic_knows_the_clients_of_the_last_reload() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("relay.toml");
        let text = format!(
            "[upstream]\nurl = 'ws://127.0.0.1:1'\ntenant_id = 'acmecorp01'\ntoken = 'x'\nsubs_ids = ['relay_a']\n\
             [journal]\ndir = {:?}\nreserve = '0B'\n[admin]\nlisten = '127.0.0.1:0'\n\
             [sinks.late]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\nenabled = false\nclients.one.token = 'first'\n",
            home.path().join("journal").display().to_string()
        );
        std::fs::write(&file, text.replace("enabled = false\n", "")).unwrap();
        let fresh = Configuration::load(std::slice::from_ref(&file), &[]).unwrap();
        std::fs::write(&file, text).unwrap();
        let config = Configuration::load(std::slice::from_ref(&file), &[]).unwrap();
        let relay = Relay::build(config, vec![file]).await.unwrap();
        let sinks = &relay.state().sinks;
        let SinkKind::Websocket(websocket) = &fresh.sinks[0].kind else {
            panic!("a websocket sink");
        };
        let bound = Bound::bind(sinks, "late", websocket).await.unwrap();
        let running = bound.serve(sinks, "late");
        assert!(ask(running.address(), "first", home.path()).await);
        let mut clients = websocket.clients.clone();
        clients[0].token = Secret::Literal("second".into());
        running.renew(&clients).unwrap();
        running.stop().await;

        let again = again(&running.live, context(sinks)).await.unwrap();
        assert_eq!(again.local_addr(), running.address());
        let (bus, stop): (Bus, _) = (sinks.context.bus.clone(), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(again.serve(bus, stop.clone()));
        assert!(ask(running.address(), "second", home.path()).await);
        assert!(!ask(running.address(), "first", home.path()).await);
        // What a reload changes now is changed in the listener that serves.
        clients[0].token = Secret::Literal("third".into());
        running.renew(&clients).unwrap();
        assert!(ask(running.address(), "third", home.path()).await);
        assert!(!ask(running.address(), "second", home.path()).await);
        stop.cancel();
        serving.join_next().await.unwrap().unwrap().unwrap();
    }
}
