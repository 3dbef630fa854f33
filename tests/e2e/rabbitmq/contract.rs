//! The shared contract, on a real broker behind a proxy. The checks share the broker, each with an exchange of
//! its own.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::ExchangeDeleteOptions;
use lapin::types::AMQPValue;
use relay_core::contract::{Fault, Peer, Seen};
use relay_sinks::rabbitmq::{Config, RabbitMq, Unroutable};
use relay_sinks::template::Template;
use relay_sinks::tls::ClientTls;
use relay_sinks::{Format, Secret};
use relay_tests::proxy::Proxy;
use relay_tests::servers::rabbitmq::{Client, RabbitServer, url};
use relay_tests::until;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

static SERVER: OnceCell<RabbitServer> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Every key of the suite but `poison`, which leads to no queue.
const KEYS: [&str; 7] = ["ada", "ben", "cleo", "dan", "eve", "fay", "gus"];

/// An exchange with a queue, whose contents are taken out as they come.
struct RabbitPeer {
    name: String,
    proxy: Proxy,
    client: Client,
    /// `None`: a mark of the test.
    taken: Arc<Mutex<Vec<Option<Seen>>>>,
    _taking: JoinSet<()>,
}

impl RabbitPeer {
    async fn start() -> Self {
        relay_tests::install_crypto();
        let server = SERVER.get_or_init(RabbitServer::start).await;
        let name = format!("contract{}", COUNT.fetch_add(1, Relaxed));
        let client = server.client().await;
        client.exchange(&name).await;
        client.queue(&name, &name, &KEYS).await;
        let mut consumer = client.consume(&name).await;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut taking) = (Arc::clone(&taken), JoinSet::new());
        taking.spawn(async move {
            while let Some(Ok(message)) = consumer.next().await {
                seen.lock().unwrap().push(event(&message.properties));
            }
        });
        Self {
            name,
            proxy: Proxy::start(server.address()).await,
            client,
            taken,
            _taking: taking,
        }
    }
}

fn event(properties: &BasicProperties) -> Option<Seen> {
    let headers = properties.headers().as_ref()?;
    let text = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    Some(Seen {
        number: text("cloudEvents:sapisequence").parse().unwrap(),
        key: text("cloudEvents:partitionkey"),
    })
}

impl Peer for RabbitPeer {
    type Sink = RabbitMq;

    fn sink(&self) -> impl FnMut() -> RabbitMq + Send + 'static {
        let config = Config {
            name: "lake".to_owned(),
            tenant: "acme".to_owned(),
            url: Secret::Literal(url(self.proxy.address(), "guest", "guest", "")),
            exchange: self.name.clone(),
            declare: false,
            routing_key: Template::confined("{key}").unwrap(),
            unroutable: Unroutable::Reject,
            tls: ClientTls::default(),
            format: Format::Binary,
        };
        let source = relay_core::contract::Relay::new().source();
        move || RabbitMq::new(config.clone(), source.clone())
    }

    /// A mark comes last: what was there before it has been taken then.
    async fn seen(&self) -> Vec<Seen> {
        let marks = || {
            let taken = self.taken.lock().unwrap();
            taken.iter().filter(|seen| seen.is_none()).count()
        };
        let before = marks();
        self.client.mark(&self.name).await;
        until("the mark", || async { (marks() > before).then_some(()) }).await;
        self.taken
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .cloned()
            .collect()
    }

    async fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::Away => self.proxy.refuse(),
            Fault::Hang => self.proxy.black_hole(),
            Fault::Blocked => {
                let deleted = self
                    .client
                    .channel
                    .exchange_delete(self.name.as_str().into(), ExchangeDeleteOptions::default());
                deleted.await.unwrap();
            }
            // It leads to no queue.
            Fault::Poison => {}
            Fault::Gone | Fault::Stalled | Fault::Reversed | Fault::Partly | Fault::Panic => {
                return false;
            }
        }
        true
    }

    async fn mend(&self) {
        self.proxy.heal();
        self.client.exchange(&self.name).await;
        self.client.queue(&self.name, &self.name, &KEYS).await;
    }
}

relay_core::sink_contract! { RabbitPeer::start().await;
    confirms_and_does_not_repeat, keeps_the_order, crosses_from_disk_to_memory,
    redelivers_after_an_absence, goes_on_behind_poison, stops_when_blocked_and_goes_on,
    bears_a_peer_that_is_slow, pauses_across_a_restart, goes_on_from_its_cursor,
    stops_cleanly, survives_a_crash,
}
