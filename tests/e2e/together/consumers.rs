//! A live consumer of each destination, which writes down what arrives. Each outlives its server.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers, Message};
use relay_tests::arrivals::{Arrival, Arrivals};
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{Relay, Stream};
use tokio::task::JoinSet;

/// How long a consumer waits before it tries its server again.
const AGAIN: Duration = Duration::from_millis(200);

/// Everything in a topic, as a consumer sees it that reads what is committed only.
pub fn kafka(brokers: SocketAddr, topic: &str, tasks: &mut JoinSet<()>) -> Arrivals {
    let arrivals = Arrivals::of("kafka");
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers.to_string())
        .set("group.id", "wallboards")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .expect("a consumer");
    let mut everything = rdkafka::TopicPartitionList::new();
    everything
        .add_partition_offset(topic, 0, rdkafka::Offset::Beginning)
        .expect("an offset");
    consumer.assign(&everything).expect("the partition");
    let log = arrivals.clone();
    tasks.spawn(async move {
        loop {
            match consumer.recv().await {
                Ok(message) => {
                    let headers = message.headers().expect("attributes").iter();
                    let found: Vec<_> = headers
                        .map(|header| (header.key, header.value.unwrap_or_default()))
                        .collect();
                    log.push(Arrival::now(|name| {
                        let name = format!("ce_{name}");
                        let value = found.iter().find(|(key, _)| *key == name)?.1;
                        Some(String::from_utf8_lossy(value).into_owned())
                    }));
                }
                // The broker is away, or the topic is not there yet.
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    });
    arrivals
}

/// Everything in a stream.
pub async fn nats(
    context: jetstream::Context,
    stream: &'static str,
    tasks: &mut JoinSet<()>,
) -> Arrivals {
    let arrivals = Arrivals::of("nats");
    let log = arrivals.clone();
    tasks.spawn(async move {
        let mut next = 1;
        loop {
            // The server is away, or the stream is not made yet: from where it stopped, once it is there.
            let _ = read_stream(&context, stream, &mut next, &log).await;
            tokio::time::sleep(AGAIN).await;
        }
    });
    arrivals
}

async fn read_stream(
    context: &jetstream::Context,
    stream: &str,
    next: &mut u64,
    log: &Arrivals,
) -> Result<(), async_nats::Error> {
    let from = jetstream::consumer::DeliverPolicy::ByStartSequence {
        start_sequence: *next,
    };
    let config = jetstream::consumer::pull::OrderedConfig {
        deliver_policy: from,
        ..Default::default()
    };
    let consumer = context
        .get_stream(stream)
        .await?
        .create_consumer(config)
        .await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let sequence = message.info()?.stream_sequence;
        if sequence < *next {
            continue;
        }
        *next = sequence + 1;
        let headers = message
            .headers
            .as_ref()
            .ok_or("a message without headers")?;
        log.push(Arrival::now(|name| {
            let value = headers.get(format!("ce-{name}"))?;
            Some(percent_decoded(value.as_str()))
        }));
    }
    Ok(())
}

/// Values of the HTTP and NATS bindings are percent-encoded.
pub fn percent_decoded(value: &str) -> String {
    percent_encoding::percent_decode_str(value)
        .decode_utf8_lossy()
        .into_owned()
}

/// Everything that is routed to a queue, which is made and bound before it returns.
pub async fn rabbitmq(url: String, exchange: &'static str, tasks: &mut JoinSet<()>) -> Arrivals {
    let arrivals = Arrivals::of("rabbitmq");
    let log = arrivals.clone();
    let (bound, ready) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        let mut bound = Some(bound);
        loop {
            // The broker is away.
            let _ = read_queue(&url, exchange, &log, &mut bound).await;
            tokio::time::sleep(AGAIN).await;
        }
    });
    ready.await.expect("the queue is bound");
    arrivals
}

async fn read_queue(
    url: &str,
    exchange: &str,
    log: &Arrivals,
    bound: &mut Option<tokio::sync::oneshot::Sender<()>>,
) -> lapin::Result<()> {
    let connection =
        lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = "wallboards";
    let declare = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue.into(), declare, FieldTable::default())
        .await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            "#".into(),
            bind,
            FieldTable::default(),
        )
        .await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    if let Some(bound) = bound.take() {
        let _ = bound.send(());
    }
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        let headers = delivery.properties.headers().as_ref();
        let arrival = Arrival::now(|name| {
            let headers = headers?.inner();
            let value = headers.get(format!("cloudEvents:{name}").as_str())?;
            Some(value.as_long_string()?.to_string())
        });
        // What the broker sends again because an acknowledgement was lost is not the relay's.
        if !(delivery.redelivered && log.has(arrival.offset)) {
            log.push(arrival);
        }
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// A client of the relay's own stream, which goes on from its cursor.
pub async fn websocket(relay: &Relay, tasks: &mut JoinSet<()>) -> Arrivals {
    let arrivals = Arrivals::of("websocket");
    let log = arrivals.clone();
    let url = relay.downstream("/v1/stream?from=earliest").await;
    let mut stream = Stream::connect(&url).await;
    tasks.spawn(async move {
        while let Some(text) = stream.next_text().await {
            if let Some(arrival) = Arrival::structured(text.as_bytes()) {
                log.push(arrival);
            }
        }
    });
    arrivals
}

/// Every request to a receiver.
pub fn webhook(receiver: &Receiver) -> Arrivals {
    let arrivals = Arrivals::of("webhook");
    take(receiver, &arrivals);
    arrivals
}

/// Makes a receiver that did not answer take requests again.
pub fn listen(receiver: &Receiver, arrivals: &[Arrivals]) {
    let mut own = arrivals.iter().filter(|one| one.name() == "webhook");
    take(receiver, own.next().expect("the webhook's log"));
}

fn take(receiver: &Receiver, arrivals: &Arrivals) {
    let log = arrivals.clone();
    receiver.answers(move |request| {
        log.push(Arrival::now(|name| {
            let value = request.headers.get(format!("ce-{name}"))?;
            Some(percent_decoded(value.to_str().ok()?))
        }));
        Answer::ok()
    });
}
