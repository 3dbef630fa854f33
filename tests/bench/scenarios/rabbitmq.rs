//! RabbitMQ: a full journal into a durable queue, beside a bare pipeline of lapin with confirms.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueuePurgeOptions,
};
use lapin::{Confirmation, PublisherConfirm};
use relay_tests::servers::rabbitmq::{Client, RabbitServer};
use relay_tests::until;
use tempfile::TempDir;

use super::delivery::{Clock, Delivering, Speed, Turns, aside, delivered, filled};
use crate::Bench;
use crate::report::Row;

const EXCHANGE: &str = "sapi";
const QUEUE: &str = "bench";
/// Messages that the bare pipeline publishes over and over.
const MESSAGES: usize = 1_000;
/// Confirms awaited at once: what the relay's worker lets run ahead.
const WINDOW: usize = 8_192;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(50_000);
    let journal = filled(bench, events).await?;
    let rabbit = RabbitServer::start().await;
    let admin = rabbit.client().await;
    admin.exchange(EXCHANGE).await;
    admin.queue(QUEUE, EXCHANGE, &["#"]).await;
    let url = rabbit.url("guest", "guest", "");
    let keys = format!("type = \"rabbitmq\"\nurl = {url:?}\nexchange = {EXCHANGE:?}\n");
    let messages: Arc<[BasicGetMessage]> = first_messages(&admin, &journal, &keys).await?.into();
    let turns = Turns::take(
        async || {
            emptied(&admin).await?;
            let client = rabbit.client().await;
            let speed = aside(publish(client, Arc::clone(&messages), events)).await?;
            holds(&admin, events).await?;
            Ok(speed)
        },
        async || {
            emptied(&admin).await?;
            let speed = delivered(&journal, events, &keys).await?;
            holds(&admin, events).await?;
            Ok(speed)
        },
    )
    .await?;
    let mut rows = turns.rows("a bare lapin pipeline");
    rows.push(turns.bare_cpu());
    Ok(rows)
}

/// What the relay publishes first.
async fn first_messages(
    admin: &Client,
    journal: &TempDir,
    keys: &str,
) -> Result<Vec<BasicGetMessage>> {
    let delivering = Delivering::start(journal, keys).await;
    let mut messages = Vec::new();
    while messages.len() < MESSAGES {
        let message = until("a message", || async {
            let options = BasicGetOptions { no_ack: true };
            admin.channel.basic_get(QUEUE.into(), options).await.ok()?
        });
        messages.push(message.await);
    }
    delivering.relay.terminate().await;
    Ok(messages)
}

async fn emptied(admin: &Client) -> Result<()> {
    let purged = admin
        .channel
        .queue_purge(QUEUE.into(), QueuePurgeOptions::default());
    purged.await?;
    Ok(())
}

/// Each event is there, and nothing else.
async fn holds(admin: &Client, events: u64) -> Result<()> {
    let depth = u64::from(admin.depth(QUEUE).await);
    ensure!(depth == events, "{depth} of {events} are there");
    Ok(())
}

/// The bare pipeline: publishes, and awaits the oldest confirm once the window is full.
async fn publish(client: Client, messages: Arc<[BasicGetMessage]>, events: u64) -> Result<Speed> {
    let channel = &client.channel;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let mut open = VecDeque::with_capacity(WINDOW);
    let clock = Clock::start()?;
    for (_, message) in (0..events).zip(messages.iter().cycle()) {
        if open.len() == WINDOW {
            confirmed(open.pop_front().context("a full window")?).await?;
        }
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let published = channel.basic_publish(
            EXCHANGE.into(),
            message.routing_key.clone(),
            options,
            &message.data,
            message.properties.clone(),
        );
        open.push_back(published.await?);
    }
    for confirm in open {
        confirmed(confirm).await?;
    }
    clock.stop(events)
}

async fn confirmed(confirm: PublisherConfirm) -> Result<()> {
    let confirmation = confirm.await?;
    ensure!(
        matches!(confirmation, Confirmation::Ack(None)),
        "the broker answers {confirmation:?}"
    );
    Ok(())
}
