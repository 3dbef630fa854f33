//! Every sink at once, at a steady rate: what it costs the relay, and how late each destination is.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use futures_util::StreamExt as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use relay_tests::relay::Setup;
use relay_tests::servers::kafka::KafkaServer;
use relay_tests::servers::nats::NatsServer;
use relay_tests::servers::rabbitmq::RabbitServer;
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{Relay, soon, until};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Bench;
use crate::client::{Client, Percentiles, receive_all};
use crate::machine::Ticks;
use crate::process::{Cpu, memory_kib};
use crate::report::{Bound, Row, at_most, count, seconds};
use crate::source::{Sent, Source, number_of};

const RATE: f64 = 1_000.0;
const CLIENTS: usize = 20;
const TOPIC: &str = "sapi.acmecorp01";
const STREAM: &str = "SAPI";
const EXCHANGE: &str = "sapi";
const QUEUE: &str = "bench";
/// What the relay may take with all sinks at work, MiB.
const MEMORY: f64 = 160.0;
/// The latest that one event in a hundred may be, seconds, and how busy the machine may be for that to be the
/// relay's doing.
const LATE: f64 = 0.1;
const BUSY: f64 = 0.8;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    relay_tests::install_crypto();
    let events = bench.events(20_000);
    let warm = bench.events(5_000);
    let source = Source::bind(warm + events).await?;
    let (warming, measured) = (source.frames(0..warm)?, source.frames(warm..warm + events)?);
    let destinations = Destinations::start().await;
    let journal = bench.journal()?;
    let upstream = format!("ws://{}", source.address()?);
    let (relay, stream) = tokio::join!(destinations.relay(&upstream, &journal), source.accept());
    let mut stream = stream?;
    let address = relay.address("downstream").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(address, "/v1/stream", 1 << 16).await?);
    }
    let arrivals = |name| Arrivals::new(name, &source.sent, warm, events);
    let mut consumers = destinations.consumers(arrivals).await?;

    let (sent, received) = tokio::join!(
        source.pace(&mut stream, 0, &warming, RATE, 1),
        receive_all(clients, warm, None),
    );
    sent?;
    let (clients, _) = received?;
    let (cpu, ticks) = (Cpu::of(relay.pid())?, Ticks::now()?);
    let (sent, received) = tokio::join!(
        source.pace(&mut stream, warm, &measured, RATE, 1),
        receive_all(clients, events, Some(&source.sent)),
    );
    sent?;
    let (_clients, latencies) = received?;
    let busy = Ticks::busy_since(ticks)?;
    let cpu = Cpu::since(relay.pid(), cpu)?;
    let mut rows = costs(&relay, cpu, events, busy)?;
    rows.push(latency("20 WebSocket clients", latencies, busy));
    let mut others = Vec::new();
    while let Some(consumed) = soon("the last event", consumers.join_next()).await {
        others.push(consumed??);
    }
    others.sort_by_key(|arrivals| arrivals.name);
    rows.extend(
        others
            .into_iter()
            .map(|arrivals| latency(arrivals.name, arrivals.latencies, busy)),
    );
    relay.terminate().await;
    Ok(rows)
}

fn costs(relay: &Relay, cpu: Cpu, events: u64, busy: f64) -> Result<Vec<Row>> {
    let events = events as f64;
    let peak = memory_kib(relay.pid(), "VmHWM")? / 1024.0;
    Ok(vec![
        Row::new("the machine was busy", format!("{:.0}%", busy * 100.0), ""),
        Row::new(
            "CPU of the relay, of a core",
            format!("{:.1}%", cpu.total() / (events / RATE) * 100.0),
            "",
        ),
        Row::new(
            "CPU of the relay an event, to everyone",
            cpu.each(events),
            "",
        ),
        Row::new(
            "peak resident memory",
            format!("{peak:.0} MiB"),
            at_most(peak, MEMORY, format!("{MEMORY} MiB")),
        ),
    ])
}

fn latency(name: &str, latencies: Vec<f64>, busy: f64) -> Row {
    let number = count(latencies.len() as f64);
    let Percentiles { p50, p99, p999 } = Percentiles::of(latencies);
    let text = format!("{:.0} ms at p99", LATE * 1e3);
    let bound: Bound = if busy < BUSY {
        at_most(p99, LATE, text)
    } else {
        format!("at most {text}, not judged on a machine so busy")
            .as_str()
            .into()
    };
    Row::new(
        format!("{name}: latency p50 / p99 / p99.9 of {number}"),
        format!("{} / {} / {}", seconds(p50), seconds(p99), seconds(p999)),
        bound,
    )
}

/// The servers.
struct Destinations {
    kafka: KafkaServer,
    nats: NatsServer,
    rabbit: RabbitServer,
    receiver: Receiver,
}

impl Destinations {
    /// Starts them, with all that the relay does not make by itself.
    async fn start() -> Self {
        let (kafka, nats, rabbit, receiver) = tokio::join!(
            KafkaServer::start(),
            NatsServer::start(),
            RabbitServer::start(),
            Receiver::start(),
        );
        kafka.create_topic(TOPIC, 1, &[]).await;
        let admin = rabbit.client().await;
        admin.exchange(EXCHANGE).await;
        admin.queue(QUEUE, EXCHANGE, &["#"]).await;
        Self {
            kafka,
            nats,
            rabbit,
            receiver,
        }
    }

    /// A relay that delivers to all of them.
    async fn relay(&self, upstream: &str, journal: &TempDir) -> Relay {
        let mut setup = Setup::new(upstream, sapi_sim::DEMO_TOKEN).dir(journal.path());
        setup.upstream_keys = "path_style = \"bare\"".to_owned();
        setup.log = "warn,sapi_relay=info".to_owned();
        let url = self.rabbit.url("guest", "guest", "");
        setup.more = format!(
            r#"
[sinks.kafka]
type = "kafka"
brokers = ["{}"]
topic = {TOPIC:?}
start_from = "earliest"

[sinks.nats]
type = "nats"
servers = ["nats://{}"]
stream = {STREAM:?}
create_stream = true
start_from = "earliest"

[sinks.rabbitmq]
type = "rabbitmq"
url = {url:?}
exchange = {EXCHANGE:?}
start_from = "earliest"

[sinks.webhook]
type = "webhook"
url = {:?}
secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
start_from = "earliest"
"#,
            self.kafka.address(),
            self.nats.address(),
            self.receiver.url("/"),
        );
        Relay::start(&setup).await
    }

    /// A consumer of each, that ends with the last event.
    async fn consumers(
        &self,
        arrivals: impl Fn(&'static str) -> Arrivals,
    ) -> Result<JoinSet<Result<Arrivals>>> {
        let mut consumers = JoinSet::new();
        let topic: StreamConsumer = self.kafka.client().set("group.id", "bench").create()?;
        let mut all = rdkafka::TopicPartitionList::new();
        all.add_partition_offset(TOPIC, 0, rdkafka::Offset::Beginning)?;
        topic.assign(&all)?;
        consumers.spawn(from_topic(topic, arrivals("Kafka")));

        let context = self.nats.jetstream().await;
        let stream = until("the stream", || async {
            context.get_stream(STREAM).await.ok()
        })
        .await;
        let ordered = jetstream::consumer::pull::OrderedConfig::default();
        let messages = stream.create_consumer(ordered).await?.messages().await?;
        consumers.spawn(from_stream(messages, arrivals("JetStream")));

        let client = self.rabbit.client().await;
        let queue = client.consume(QUEUE).await;
        let arrived = arrivals("RabbitMQ");
        consumers.spawn(async move {
            let arrived = from_queue(queue, arrived).await;
            drop(client);
            arrived
        });

        let requests = from_requests(&self.receiver, arrivals("the webhook"));
        consumers.spawn(async move { Ok(requests.await?) });
        Ok(consumers)
    }
}

/// What has come to a consumer: how long each of the events that count was under way.
struct Arrivals {
    name: &'static str,
    sent: Sent,
    first: u64,
    /// Whether an event is still to come.
    missing: Vec<bool>,
    left: u64,
    latencies: Vec<f64>,
}

impl Arrivals {
    fn new(name: &'static str, sent: &Sent, first: u64, events: u64) -> Self {
        Self {
            name,
            sent: sent.clone(),
            first,
            missing: (0..events).map(|_| true).collect(),
            left: events,
            latencies: Vec::new(),
        }
    }

    /// An event is here. Whether all are.
    fn take(&mut self, document: &[u8]) -> bool {
        let number = number_of(document);
        let index = number.and_then(|n| usize::try_from(n.checked_sub(self.first)?).ok());
        let missing = index.and_then(|index| self.missing.get_mut(index));
        let sent = number.and_then(|n| self.sent.at(n));
        // What is warming up does not count, nor does a repetition.
        if let (Some(missing), Some(sent)) = (missing.filter(|missing| **missing), sent) {
            *missing = false;
            self.left -= 1;
            self.latencies.push(sent.elapsed().as_secs_f64());
        }
        self.left == 0
    }
}

async fn from_topic(topic: StreamConsumer, mut arrivals: Arrivals) -> Result<Arrivals> {
    loop {
        let record = topic.recv().await?;
        if arrivals.take(record.payload().unwrap_or_default()) {
            return Ok(arrivals);
        }
    }
}

async fn from_stream(
    mut messages: jetstream::consumer::pull::Ordered,
    mut arrivals: Arrivals,
) -> Result<Arrivals> {
    loop {
        let message = messages.next().await.context("the stream ended")??;
        if arrivals.take(&message.payload) {
            return Ok(arrivals);
        }
    }
}

async fn from_queue(mut queue: lapin::Consumer, mut arrivals: Arrivals) -> Result<Arrivals> {
    loop {
        let message = queue.next().await.context("the queue ended")??;
        if arrivals.take(&message.data) {
            return Ok(arrivals);
        }
    }
}

/// The receiver answers from now on, and what it is asked arrives here.
fn from_requests(receiver: &Receiver, arrivals: Arrivals) -> oneshot::Receiver<Arrivals> {
    let (done, all) = oneshot::channel();
    let open = Arc::new(Mutex::new(Some((arrivals, done))));
    receiver.answers(move |request| {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = |(arrivals, _): &mut (Arrivals, _)| arrivals.take(&request.body);
        if open.as_mut().is_some_and(complete)
            && let Some((arrivals, done)) = open.take()
        {
            // Who waits for it may have gone.
            done.send(arrivals).unwrap_or_else(drop);
        }
        Answer::ok()
    });
    all
}
