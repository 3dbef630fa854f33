//! A broker that tests share, topology of a test's own on it, a sink without the rest, and a whole relay.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::BasicCancelOptions;
use lapin::types::AMQPValue;
use relay_core::contract::{Fault, Peer, Relay as Core, Seen};
use relay_sinks::rabbitmq::{Config, RabbitMq, Unroutable};
use relay_sinks::template::Template;
use relay_sinks::tls::ClientTls;
use relay_sinks::{Format, Secret};
use relay_tests::ledger::{emitted, recorded};
use relay_tests::proxy::Proxy;
use relay_tests::relay::Setup;
use relay_tests::servers::certificates::Certificates;
use relay_tests::servers::rabbitmq::{Client, RabbitServer, url};
use relay_tests::{Relay, soon, until};
use sapi_sim::{DEMO_TOKEN, Simulator};
use serde_json::Value;
use tokio::sync::OnceCell;

/// The largest message that the shared broker takes, in bytes.
pub(super) const LARGEST: usize = 8_000;

/// A broker that stays as it is: each test has names of its own there, and hurts nobody else's.
pub(super) struct Shared {
    pub(super) server: RabbitServer,
    pub(super) certificates: Certificates,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The shared broker, which also listens for TLS.
pub(super) async fn shared() -> &'static Shared {
    relay_tests::install_crypto();
    let start = async || {
        let certificates = Certificates::new();
        let file = |name: &str| certificates.file(name).display().to_string();
        let settings = format!(
            "max_message_size = {LARGEST}\n\
             listeners.ssl.1 = 127.0.0.1:{{amqps}}\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}",
            file("ca.pem"),
            file("cert.pem"),
            file("key.pem"),
        );
        let server = RabbitServer::start_with(&settings).await;
        Shared {
            server,
            certificates,
        }
    };
    SHARED.get_or_init(start).await
}

/// A name that no other test has.
pub(super) fn name() -> String {
    format!("own{}", COUNT.fetch_add(1, Relaxed))
}

/// A test's own exchange on the shared broker, with a queue of the same name.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) client: Client,
}

impl Place {
    /// Its queue is bound by routing keys.
    pub(super) async fn new(keys: &[&str]) -> Self {
        let client = shared().await.server.client().await;
        let name = name();
        client.exchange(&name).await;
        client.queue(&name, &name, keys).await;
        Self { name, client }
    }

    /// A sink's configuration that leads here.
    pub(super) async fn config(&self) -> Config {
        let url = shared().await.server.url("guest", "guest", "");
        Config {
            exchange: self.name.clone(),
            declare: false,
            ..config(url)
        }
    }

    /// What waits in its queue, taken out.
    pub(super) async fn contents(&self) -> Vec<Delivery> {
        contents(&self.client, &self.name).await
    }
}

/// What a sink is configured as unless a test says otherwise.
pub(super) fn config(url: String) -> Config {
    Config {
        name: "lake".to_owned(),
        tenant: "acme".to_owned(),
        url: Secret::Literal(url),
        exchange: "sapi".to_owned(),
        declare: true,
        routing_key: Template::confined("{class}.{type}").unwrap(),
        unroutable: Unroutable::Reject,
        tls: ClientTls::default(),
        format: Format::Binary,
    }
}

/// What waits in a queue, taken out in its order. Everything is kept on disk.
pub(super) async fn contents(client: &Client, queue: &str) -> Vec<Delivery> {
    let depth = usize::try_from(client.depth(queue).await).unwrap();
    if depth == 0 {
        return Vec::new();
    }
    let mut consumer = client.consume(queue).await;
    let waiting = consumer.by_ref().take(depth);
    let found = waiting.map(|delivery| delivery.unwrap()).collect();
    let found: Vec<Delivery> = soon("what waits in the queue", found).await;
    // One that goes by itself may take what comes later with it.
    let options = BasicCancelOptions::default();
    let cancelled = client.channel.basic_cancel(consumer.tag(), options).await;
    cancelled.unwrap();
    for delivery in &found {
        let mode = *delivery.properties.delivery_mode();
        assert_eq!(mode, Some(2), "it is persistent");
    }
    found
}

/// A header of a message.
pub(super) fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a [u8]> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        other => panic!("{name}: {other:?}"),
    }
}

/// Each event at least once, bytes identical, and each for the last time in order.
pub(super) fn assert_complete(found: &[Delivery], emitted: &[Bytes]) {
    let last = |event: &Bytes| found.iter().rposition(|one| one.data == event[..]);
    let places: Vec<_> = emitted.iter().map(last).collect();
    let missing = places.iter().filter(|place| place.is_none()).count();
    assert_eq!(
        missing,
        0,
        "of {} events, {} found",
        emitted.len(),
        found.len()
    );
    assert!(places.is_sorted(), "out of order: {places:?}");
}

/// A sink as the contract's relay drives it; the test looks for itself.
pub(super) struct Plain(pub(super) Config);

impl Peer for Plain {
    type Sink = RabbitMq;

    fn sink(&self) -> impl FnMut() -> RabbitMq + Send + 'static {
        let (config, source) = (self.0.clone(), Core::new().source());
        move || RabbitMq::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        Vec::new()
    }

    async fn inject(&self, _fault: Fault) -> bool {
        false
    }

    async fn mend(&self) {}
}

/// Why events became dead letters.
pub(super) async fn reasons(relay: &Core) -> Vec<String> {
    let letters = relay
        .core
        .dead_letters
        .list(None, None, 1000)
        .await
        .unwrap();
    let letters = letters.items.into_iter();
    letters.map(|letter| letter.reason).collect()
}

/// The whole relay beside its simulator, with a proxy before its broker.
pub(super) struct Whole {
    pub(super) simulator: Simulator,
    pub(super) proxy: Proxy,
    pub(super) relay: Relay,
}

impl Whole {
    /// `sinks`: a name, and keys beside its URL, for each.
    pub(super) async fn start(server: &RabbitServer, sinks: &[(&str, &str)]) -> Self {
        let quiet = sapi_sim::Config {
            rate: 0.0,
            wait_clients: 1,
            ..sapi_sim::Config::default()
        };
        let simulator = Simulator::start(quiet).await.unwrap();
        let proxy = Proxy::start(server.address()).await;
        let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
        for (name, keys) in sinks {
            setup.more += &format!(
                "[sinks.{name}]\ntype = \"rabbitmq\"\nurl = {:?}\nstart_from = \"earliest\"\n\
                 retry_min = \"20ms\"\nretry_max = \"300ms\"\n{keys}\n",
                url(proxy.address(), "guest", "guest", "")
            );
        }
        let relay = Relay::start(&setup).await;
        let subscribed = simulator.wait_until(|simulator| simulator.connected() == 1);
        soon("a subscription", subscribed).await;
        Self {
            simulator,
            proxy,
            relay,
        }
    }

    /// Waits until a sink's row is as wanted.
    pub(super) async fn sink(
        &self,
        sink: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let what = format!("{sink}: {what}");
        let status = self
            .relay
            .status_where(&what, |status| wanted(row(status, sink)))
            .await;
        row(&status, sink).clone()
    }

    /// Waits until a sink has settled every event that was emitted.
    pub(super) async fn settled(&self, sink: &str) {
        recorded(&self.relay, emitted(&self.simulator).len()).await;
        self.sink(sink, "no lag", |row| row["lag_events"] == 0)
            .await;
    }

    /// Waits until a sink is blocked with these words, in text or remedy; they are in the log, and it is in the
    /// metrics.
    pub(super) async fn blocked(&self, sink: &str, words: &[&str]) {
        let says = |row: &Value| {
            let error = row["last_error"].to_string();
            row["state"] == "blocked" && words.iter().all(|word| error.contains(word))
        };
        let row = self.sink(sink, &format!("blocked: {words:?}"), says).await;
        assert_ne!(row["last_error"]["remedy"], "", "{row}");
        until("the log's line", || async {
            let log = self.relay.log();
            let said = |line: &str| {
                line.contains("delivery stopped") && words.iter().all(|word| line.contains(word))
            };
            log.lines().any(said).then_some(())
        })
        .await;
        let state = format!("sapi_relay_sink_state{{sink={sink:?},state=\"blocked\"}}");
        assert_eq!(self.relay.metric(&state).await, Some(1.0));
        assert_eq!(self.metric("up", sink).await, Some(0.0));
    }

    /// Makes the exchange that a sink waits for, with a queue of the same name. The sink must not come between
    /// the two: what leads to no queue is refused for good.
    pub(super) async fn make(&self, client: &Client, sink: &str, exchange: &str) {
        self.post(&format!("/v1/sinks/{sink}/pause"), "").await;
        client.exchange(exchange).await;
        client.queue(exchange, exchange, &["#"]).await;
        self.post(&format!("/v1/sinks/{sink}/resume"), "").await;
    }

    /// `sapi_relay_sink_..` of a sink.
    pub(super) async fn metric(&self, name: &str, sink: &str) -> Option<f64> {
        let series = format!("sapi_relay_sink_{name}{{sink={sink:?}}}");
        self.relay.metric(&series).await
    }

    /// `POST` to the relay, with its answer.
    pub(super) async fn post(&self, path: &str, body: &str) -> Value {
        let post = relay_tests::http::client().post(self.relay.admin(path).await);
        let post = post
            .header("content-type", "application/json")
            .body(body.to_owned());
        let answer = soon("an answer", post.send()).await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Why a sink refused events for good.
    pub(super) async fn reasons(&self, sink: &str) -> Vec<String> {
        let url = format!("/v1/dead-letters?limit=1000&sink={sink}");
        let answer = relay_tests::http::get(&self.relay.admin(&url).await).await;
        let page: Value = answer.unwrap().json().await.unwrap();
        let items = page["items"].as_array().unwrap().iter();
        let reasons = items.map(|letter| letter["reason"].as_str().unwrap().to_owned());
        reasons.collect()
    }
}

/// A sink's row of a status.
pub(super) fn row<'a>(status: &'a Value, sink: &str) -> &'a Value {
    let rows = status["sinks"].as_array().unwrap().iter();
    rows.into_iter().find(|row| row["name"] == sink).unwrap()
}
