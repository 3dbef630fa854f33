//! JetStream: a full journal into a stream, beside a bare pipeline of async-nats.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::{Context, stream};
use relay_tests::servers::nats::NatsServer;
use relay_tests::until;
use tempfile::TempDir;

use super::delivery::{Clock, Delivering, Speed, Turns, aside, delivered, filled};
use crate::Bench;
use crate::report::Row;

const STREAM: &str = "SAPI";
/// Messages that the bare pipeline publishes over and over.
const MESSAGES: u64 = 1_000;
/// Acknowledgements awaited at once: what the relay's worker lets run ahead.
const WINDOW: usize = 8_192;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(200_000);
    let journal = filled(bench, events).await?;
    let nats = NatsServer::start().await;
    let keys = format!(
        "type = \"nats\"\nservers = [\"nats://{}\"]\nstream = {STREAM:?}\ncreate_stream = true\n",
        nats.address()
    );
    let admin = nats.jetstream().await;
    let (messages, config) = first_messages(&admin, &journal, &keys).await?;
    let messages: Arc<[StreamMessage]> = messages.into();
    let turns = Turns::take(
        async || {
            anew(&admin, &config).await?;
            let client = nats.client().await;
            let speed = aside(publish(client, Arc::clone(&messages), events)).await?;
            holds(&admin, events).await?;
            Ok(speed)
        },
        async || {
            anew(&admin, &config).await?;
            let speed = delivered(&journal, events, &keys).await?;
            holds(&admin, events).await?;
            Ok(speed)
        },
    )
    .await?;
    let mut rows = turns.rows("a bare async-nats pipeline");
    rows.push(turns.bare_cpu());
    Ok(rows)
}

/// What the relay publishes first, and the stream that it makes.
async fn first_messages(
    admin: &Context,
    journal: &TempDir,
    keys: &str,
) -> Result<(Vec<StreamMessage>, stream::Config)> {
    let delivering = Delivering::start(journal, keys).await;
    let stream = until("the first messages", || async {
        let mut stream = admin.get_stream(STREAM).await.ok()?;
        let enough = stream.info().await.ok()?.state.messages >= MESSAGES;
        enough.then_some(stream)
    })
    .await;
    delivering.relay.terminate().await;
    let mut messages = Vec::new();
    for sequence in 1..=MESSAGES {
        messages.push(stream.get_raw_message(sequence).await?);
    }
    Ok((messages, stream.cached_info().config.clone()))
}

/// The same stream, empty, and without an id in its memory.
async fn anew(admin: &Context, config: &stream::Config) -> Result<()> {
    admin.delete_stream(STREAM).await?;
    admin.create_stream(config.clone()).await?;
    Ok(())
}

/// Each event is there, and none was called a duplicate.
async fn holds(admin: &Context, events: u64) -> Result<()> {
    let mut stream = admin.get_stream(STREAM).await?;
    let messages = stream.info().await?.state.messages;
    ensure!(messages == events, "{messages} of {events} are there");
    Ok(())
}

/// The bare pipeline: publishes, and awaits the oldest acknowledgement once the window is full. Every message
/// has an id of its own, as the relay's have.
async fn publish(
    client: async_nats::Client,
    messages: Arc<[StreamMessage]>,
    events: u64,
) -> Result<Speed> {
    let timeout = Duration::from_secs(10);
    let builder = ContextBuilder::new().timeout(timeout).ack_timeout(timeout);
    let context = builder.max_ack_inflight(WINDOW * 2).build(client);
    let known = messages.first().context("a message")?;
    let known = known.headers.get(NATS_MESSAGE_ID);
    let id = known.context("a message with an id")?.as_str().len() - 12;
    let mut open = VecDeque::with_capacity(WINDOW);
    let clock = Clock::start()?;
    for (n, message) in (0..events).zip(messages.iter().cycle()) {
        if open.len() == WINDOW
            && let Some(oldest) = open.pop_front()
        {
            let ack: async_nats::jetstream::context::PublishAckFuture = oldest;
            ack.await?;
        }
        let mut headers = message.headers.clone();
        headers.insert(NATS_MESSAGE_ID, format!("{:x<id$}{n:012}", ""));
        let payload = message.payload.clone();
        let publish = PublishMessage::build().payload(payload).headers(headers);
        open.push_back(
            context
                .send_publish(message.subject.clone(), publish)
                .await?,
        );
    }
    for ack in open {
        ack.await?;
    }
    clock.stop(events)
}
