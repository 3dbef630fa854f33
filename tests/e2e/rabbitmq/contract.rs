//! The shared contract, on a real broker behind a proxy. The checks share the broker, each with an exchange of
//! its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::ExchangeDeleteOptions;
use relay_core::contract::{Fault, Peer, Seen};
use relay_sinks::rabbitmq::{Config, RabbitMq};
use relay_sinks::template::Template;
use relay_tests::proxy::Proxy;
use relay_tests::servers::rabbitmq::url;
use relay_tests::until;
use tokio::task::JoinSet;

use super::fixture::{Place, config, header, shared};

/// Every key of the suite but `poison`, which leads to no queue.
const KEYS: [&str; 7] = ["ada", "ben", "cleo", "dan", "eve", "fay", "gus"];

/// Where nobody listens.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// An exchange with a queue, whose contents are taken out as they come.
struct RabbitPeer {
    place: Place,
    proxy: Proxy,
    /// Whether its exchange is gone.
    missing: AtomicBool,
    /// `None`: a mark of the test.
    taken: Arc<Mutex<Vec<Option<Seen>>>>,
    _taking: JoinSet<()>,
}

impl RabbitPeer {
    async fn start() -> Self {
        let place = Place::new(&KEYS).await;
        let mut consumer = place.client.consume(&place.name).await;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut taking) = (Arc::clone(&taken), JoinSet::new());
        taking.spawn(async move {
            while let Some(Ok(message)) = consumer.next().await {
                seen.lock().unwrap().push(event(&message.properties));
            }
        });
        Self {
            proxy: Proxy::start(shared().await.server.address()).await,
            missing: AtomicBool::new(false),
            place,
            taken,
            _taking: taking,
        }
    }
}

fn event(properties: &BasicProperties) -> Option<Seen> {
    properties.headers().as_ref()?;
    let text = |name: &str| String::from_utf8_lossy(header(properties, name).unwrap()).into_owned();
    Some(Seen {
        number: text("cloudEvents:sapisequence").parse().unwrap(),
        key: text("cloudEvents:partitionkey"),
    })
}

impl Peer for RabbitPeer {
    type Sink = RabbitMq;

    fn sink(&self) -> impl FnMut() -> RabbitMq + Send + 'static {
        let config = Config {
            exchange: self.place.name.clone(),
            declare: false,
            routing_key: Template::confined("{key}").unwrap(),
            ..config(url(self.proxy.address(), "guest", "guest", ""))
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
        self.place.client.mark(&self.place.name).await;
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
                let Place { name, client } = &self.place;
                let deleted = client
                    .channel
                    .exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default());
                deleted.await.unwrap();
                self.missing.store(true, Relaxed);
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
        if self.missing.swap(false, Relaxed) {
            // The sink must not find the exchange before the queue is bound: its events would lead nowhere.
            self.proxy.retarget(NOWHERE);
            self.proxy.cut();
            let Place { name, client } = &self.place;
            client.exchange(name).await;
            client.queue(name, name, &KEYS).await;
            self.proxy.retarget(shared().await.server.address());
        }
        self.proxy.heal();
    }
}

relay_core::sink_contract! { RabbitPeer::start().await;
    confirms_and_does_not_repeat, keeps_the_order, crosses_from_disk_to_memory,
    redelivers_after_an_absence, goes_on_behind_poison, stops_when_blocked_and_goes_on,
    bears_a_peer_that_is_slow, seeks, pauses_across_a_restart, goes_on_from_its_cursor,
    stops_cleanly, survives_a_crash,
}
