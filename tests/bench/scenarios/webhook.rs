//! Webhooks: a full journal to one endpoint, beside a bare loop that sends the same requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use anyhow::Result;
use relay_tests::servers::receiver::Receiver;
use reqwest::header::HeaderMap;
use sapi_sim::{Burst, Config, burst_document};
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::delivery::{Clock, Delivering, Speed, Turns, beside, delivered, filled};
use crate::Bench;
use crate::report::Row;

/// Requests at once, the relay's own default.
const CONCURRENCY: usize = 8;
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(100_000);
    let journal = filled(bench, events).await?;
    let headers = headers(&journal).await?;
    let relay = async |keys: &str| {
        let receiver = Receiver::counting().await;
        delivered(&journal, events, &(sink(&receiver) + keys)).await
    };
    let turns = Turns::take(
        async || bare(events, &headers).await,
        async || relay("").await,
    )
    .await?;
    let batches = relay("mode = \"batch\"").await?;
    let mut rows = turns.rows("a bare reqwest loop, 8 at once");
    rows.push(beside("the relay, batches", batches));
    Ok(rows)
}

fn sink(receiver: &Receiver) -> String {
    let url = receiver.url("/");
    format!("type = \"webhook\"\nurl = {url:?}\nsecret = {SECRET:?}\n")
}

/// The headers of a request as the relay sends it.
async fn headers(journal: &TempDir) -> Result<HeaderMap> {
    let receiver = Receiver::start().await;
    let delivering = Delivering::start(journal, &sink(&receiver)).await;
    receiver.accepted(1).await;
    delivering.relay.kill().await;
    let mut headers = receiver.taken().swap_remove(0).headers;
    for own in ["host", "content-length", "accept"] {
        headers.remove(own);
    }
    Ok(headers)
}

/// The speed of so many loops that send ready requests, signed like the relay's. They run on threads
/// of their own, as many as the relay's, so that the receiver is as far away as it is from the relay.
async fn bare(events: u64, headers: &HeaderMap) -> Result<Speed> {
    let receiver = Receiver::counting().await;
    let (url, headers) = (receiver.url("/"), headers.clone());
    let sending = tokio::task::spawn_blocking(move || {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        threads.block_on(send(events, url, headers))
    });
    sending.await?
}

async fn send(events: u64, url: String, headers: HeaderMap) -> Result<Speed> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let webhook = Arc::new(Webhook::new(SECRET)?);
    let next = Arc::new(AtomicU64::new(0));
    let bodies = (0..1_000).map(|n| burst_document(&Config::default(), Burst::default(), n));
    let bodies: Arc<[bytes::Bytes]> = bodies.collect();
    let mut loops = JoinSet::new();
    let clock = Clock::start()?;
    for _ in 0..CONCURRENCY {
        let (client, webhook, bodies) = (client.clone(), Arc::clone(&webhook), Arc::clone(&bodies));
        let (url, next, headers) = (url.clone(), Arc::clone(&next), headers.clone());
        loops.spawn(async move {
            loop {
                let n = next.fetch_add(1, Relaxed);
                if n >= events {
                    return anyhow::Ok(());
                }
                let body = bodies[usize::try_from(n)? % bodies.len()].clone();
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
                let now = i64::try_from(now.as_secs())?;
                let id = format!("evt_{n:032x}");
                let signature = webhook.sign(&id, now, &body)?;
                let mut headers = headers.clone();
                headers.insert("webhook-id", id.parse()?);
                headers.insert("webhook-timestamp", now.into());
                headers.insert("webhook-signature", signature.parse()?);
                let request = client.post(&url).headers(headers).body(body);
                request.send().await?.error_for_status()?.bytes().await?;
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    clock.stop(events)
}
