//! A relay with a NATS sink, a proxy before its server, and what the stream holds in the end.

use std::collections::HashSet;
use std::path::Path;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use relay_core::cloudevents::Source;
use relay_core::contract::{Fault, Peer, Seen};
use relay_sinks::Format;
use relay_sinks::nats::{Auth, Config, JetStream, Nats, Subject};
use relay_tests::proxy::Proxy;
use relay_tests::relay::{Setup, offset};
use relay_tests::servers::nats::NatsServer;
use relay_tests::{Relay, soon, until};
use sapi_sim::{DEMO_TOKEN, Simulator};
use serde_json::Value;

pub(super) const STREAM: &str = "SAPI";

/// A message as the stream has it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Stored {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

/// Everything that the stream holds, in its order.
pub(super) async fn stored(jetstream: &Context) -> Vec<Stored> {
    let mut stream = jetstream.get_stream(STREAM).await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let consumer = stream
        .create_consumer(OrderedConfig::default())
        .await
        .unwrap();
    let messages = consumer
        .messages()
        .await
        .unwrap()
        .take(usize::try_from(count).unwrap());
    let messages = messages.map(|message| {
        let message = message.unwrap().message;
        Stored {
            subject: message.subject.to_string(),
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
        }
    });
    soon("the stream's messages", messages.collect()).await
}

/// Each event once, bytes identical, in order.
pub(super) fn assert_same(stored: &[Stored], emitted: &[Bytes]) {
    for (place, (have, want)) in stored.iter().zip(emitted).enumerate() {
        assert_eq!(have.payload, want, "event {place} of {}", emitted.len());
    }
    assert_eq!(stored.len(), emitted.len(), "as many as were emitted");
}

/// Each event at least once.
pub(super) fn assert_complete(stored: &[Stored], emitted: &[Bytes]) {
    let have: HashSet<_> = stored.iter().map(|stored| &stored.payload).collect();
    let missing = emitted.iter().filter(|event| !have.contains(event));
    assert_eq!(missing.count(), 0, "of {} events", emitted.len());
}

/// The whole relay beside its simulator and its server.
pub(super) struct Whole {
    pub(super) simulator: Simulator,
    pub(super) server: NatsServer,
    pub(super) proxy: Proxy,
    pub(super) relay: Relay,
    pub(super) setup: Setup,
}

/// A simulator that emits when it is told to, from the first subscription on.
pub(super) async fn quiet() -> Simulator {
    let config = sapi_sim::Config {
        rate: 0.0,
        wait_clients: 1,
        ..sapi_sim::Config::default()
    };
    Simulator::start(config).await.unwrap()
}

impl Whole {
    /// `keys`: those of the sink, beside its servers.
    pub(super) async fn start(simulator: Simulator, server: NatsServer, keys: &str) -> Self {
        Self::start_in(None, simulator, server, keys).await
    }

    /// The same, with a journal that outlives the relay.
    pub(super) async fn start_in(
        dir: Option<&Path>,
        simulator: Simulator,
        server: NatsServer,
        keys: &str,
    ) -> Self {
        let proxy = Proxy::start(server.address()).await;
        let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
        setup.more = format!(
            "[sinks.lake]\ntype = \"nats\"\nservers = [\"nats://{}\"]\nstart_from = \"earliest\"\nretry_max = \"500ms\"\n{keys}\n",
            proxy.address()
        );
        setup.dir = dir.map(Path::to_owned);
        let relay = Relay::start(&setup).await;
        let subscribed = simulator.wait_until(|simulator| simulator.connected() == 1);
        soon("a subscription", subscribed).await;
        Self {
            simulator,
            server,
            proxy,
            relay,
            setup,
        }
    }

    /// Waits until the sink's row is as wanted.
    pub(super) async fn lake(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let status = self.relay.status_where(what, |status| wanted(lake(status)));
        lake(&status.await).clone()
    }

    /// Waits until the sink has delivered everything of so many events.
    pub(super) async fn delivered(&self, events: usize) {
        delivered(&self.relay, events).await;
    }

    /// Waits until the sink is blocked with these words, in text or remedy; they are in the log and the
    /// metric too.
    pub(super) async fn blocked(&self, words: &[&str]) -> Value {
        let says = |row: &Value| {
            let error = row["last_error"].to_string();
            row["state"] == "blocked" && words.iter().all(|word| error.contains(word))
        };
        let row = self.lake(&format!("blocked: {words:?}"), says).await;
        assert!(
            !row["last_error"]["remedy"].as_str().unwrap().is_empty(),
            "{row}"
        );
        until("the log's line", || async {
            let log = self.relay.log();
            let found = log.lines().any(|line| {
                line.contains("delivery stopped") && words.iter().all(|word| line.contains(word))
            });
            found.then_some(())
        })
        .await;
        let state = "sapi_relay_sink_state{sink=\"lake\",state=\"blocked\"}";
        assert_eq!(self.relay.metric(state).await, Some(1.0));
        assert_eq!(
            self.relay.metric("sapi_relay_sink_up{sink=\"lake\"}").await,
            Some(0.0)
        );
        row
    }

    /// `POST /v1/sinks/lake/..`.
    pub(super) async fn steer(&self, what: &str, body: &str) {
        let url = self.relay.admin(&format!("/v1/sinks/lake/{what}")).await;
        let post = relay_tests::http::client().post(url);
        let post = post
            .header("content-type", "application/json")
            .body(body.to_owned());
        let answer = soon("an answer", post.send()).await.unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    }
}

/// Waits until the sink of a relay has delivered everything of so many events.
pub(super) async fn delivered(relay: &Relay, events: usize) {
    let events = u64::try_from(events).unwrap();
    let done = |status: &Value| {
        offset(&status["journal"]["last"]) >= events && lake(status)["lag_events"] == 0
    };
    relay.status_where("everything in the stream", done).await;
}

/// The sink's row of a status.
pub(super) fn lake(status: &Value) -> &Value {
    let rows = status["sinks"].as_array().unwrap().iter();
    rows.into_iter().find(|row| row["name"] == "lake").unwrap()
}

/// A sink as the contract's relay drives it, without the rest.
pub(super) struct Plain(pub(super) Config, pub(super) Source);

/// A configuration that makes its stream.
pub(super) fn config(server: &NatsServer) -> Config {
    Config {
        name: "lake".to_owned(),
        tenant: "acme".to_owned(),
        servers: vec![format!("nats://{}", server.address())],
        subject: Subject::parse("sapi.{tenant}.{class}.{type}").unwrap(),
        jetstream: Some(JetStream {
            stream: Some(STREAM.to_owned()),
            create: true,
        }),
        auth: Auth::Nobody,
        tls: None,
        format: Format::Binary,
    }
}

impl Peer for Plain {
    type Sink = Nats;

    fn sink(&self) -> impl FnMut() -> Nats + Send + 'static {
        let Self(config, source) = self;
        let (config, source) = (config.clone(), source.clone());
        move || Nats::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        Vec::new()
    }

    async fn inject(&self, _fault: Fault) -> bool {
        false
    }

    async fn mend(&self) {}
}
