//! The shared contract, on a real server behind a proxy.

use std::sync::{Arc, Mutex};

use async_nats::jetstream::stream::{Config as StreamConfig, StorageType};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use relay_core::contract::{Fault, Peer, Seen};
use relay_sinks::Format;
use relay_sinks::nats::{Auth, Config, JetStream, Nats, Subject};
use relay_tests::proxy::Proxy;
use relay_tests::servers::nats::NatsServer;
use relay_tests::{soon, until};
use tokio::task::JoinSet;

const STREAM: &str = "SAPI";

/// A server whose stream is what the peer has received.
struct NatsPeer {
    server: NatsServer,
    proxy: Proxy,
    jetstream: Context,
    /// Everything that was published, repetitions that the stream leaves out included.
    tap: Option<Tap>,
}

struct Tap {
    client: Client,
    published: Arc<Mutex<Vec<Option<Seen>>>>,
    _task: JoinSet<()>,
}

impl NatsPeer {
    async fn start() -> Self {
        let server = NatsServer::start().await;
        let jetstream = server.jetstream().await;
        let peer = Self {
            proxy: Proxy::start(server.address()).await,
            server,
            jetstream,
            tap: None,
        };
        peer.make_stream().await;
        peer
    }

    /// One that is asked for what was published rather than for what is stored.
    async fn tapped() -> Self {
        let mut peer = Self::start().await;
        let client = peer.server.client().await;
        let mut subscriber = client.subscribe("sapi.>").await.unwrap();
        let published = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut task) = (Arc::clone(&published), JoinSet::new());
        task.spawn(async move {
            while let Some(message) = subscriber.next().await {
                let event = message.headers.as_ref().map(event);
                seen.lock().unwrap().push(event);
            }
        });
        client.flush().await.unwrap();
        peer.tap = Some(Tap {
            client,
            published,
            _task: task,
        });
        peer
    }

    async fn make_stream(&self) {
        let config = StreamConfig {
            name: STREAM.to_owned(),
            subjects: vec!["sapi.>".to_owned()],
            storage: StorageType::Memory,
            num_replicas: 1,
            ..StreamConfig::default()
        };
        self.jetstream.create_stream(config).await.unwrap();
    }
}

fn event(headers: &HeaderMap) -> Seen {
    let text = |name: &str| headers.get(name).unwrap().as_str();
    Seen {
        number: text("ce-sapisequence").parse().unwrap(),
        key: text("ce-partitionkey").to_owned(),
    }
}

impl Tap {
    /// A message of our own comes last: what was published before it has been seen then.
    async fn all(&self) -> Vec<Seen> {
        let marks = || {
            let published = self.published.lock().unwrap();
            published.iter().filter(|seen| seen.is_none()).count()
        };
        let before = marks();
        self.client.publish("sapi.mark", "".into()).await.unwrap();
        until("the mark", || async { (marks() > before).then_some(()) }).await;
        self.published
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .cloned()
            .collect()
    }
}

impl Peer for NatsPeer {
    type Sink = Nats;

    fn sink(&self) -> impl FnMut() -> Nats + Send + 'static {
        let config = Config {
            name: "lake".to_owned(),
            tenant: "acme".to_owned(),
            servers: vec![format!("nats://{}", self.proxy.address())],
            subject: Subject::parse("sapi.{tenant}.{class}.{key}").unwrap(),
            jetstream: Some(JetStream {
                stream: Some(STREAM.to_owned()),
                create: false,
            }),
            auth: Auth::Nobody,
            tls: None,
            format: Format::Binary,
        };
        let source = relay_core::contract::Relay::new().source();
        move || Nats::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        if let Some(tap) = &self.tap {
            return tap.all().await;
        }
        let mut stream = self.jetstream.get_stream(STREAM).await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut seen = Vec::new();
        for sequence in 1..=last {
            let message = soon("a message", stream.get_raw_message(sequence)).await;
            seen.push(event(&message.unwrap().headers));
        }
        seen
    }

    async fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::Away => self.proxy.refuse(),
            Fault::Hang => self.proxy.black_hole(),
            Fault::Blocked => {
                self.jetstream.delete_stream(STREAM).await.unwrap();
            }
            Fault::Gone
            | Fault::Stalled
            | Fault::Reversed
            | Fault::Partly
            | Fault::Poison
            | Fault::Panic => return false,
        }
        true
    }

    async fn mend(&self) {
        self.proxy.heal();
        let there = self.jetstream.get_stream(STREAM).await;
        match there.map_err(|error| error.kind()) {
            Ok(_) => {}
            Err(jetstream::context::GetStreamErrorKind::JetStream(_)) => self.make_stream().await,
            Err(other) => panic!("{other}"),
        }
    }
}

mod stored {
    use super::NatsPeer;

    relay_core::sink_contract! { NatsPeer::start().await;
        confirms_and_does_not_repeat, keeps_the_order, crosses_from_disk_to_memory,
        redelivers_after_an_absence, stops_when_blocked_and_goes_on, bears_a_peer_that_is_slow,
        pauses_across_a_restart, goes_on_from_its_cursor, stops_cleanly, survives_a_crash,
    }
}

/// What is sought again is published again; the stream knows it for the length of its duplicate window.
mod published {
    use super::NatsPeer;

    relay_core::sink_contract! { NatsPeer::tapped().await; seeks }
}
