//! Webhooks: a full journal to one endpoint, beside a bare loop that sends the same requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use relay_tests::Relay;
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::Receiver;
use reqwest::header::HeaderMap;
use sapi_sim::{Burst, Config, Simulator, burst_document};
use standardwebhooks::Webhook;
use tokio::task::JoinSet;

use super::{committed, relay};
use crate::Bench;
use crate::process::Cpu;
use crate::report::{Row, at_least, count};

/// Requests at once, the relay's own default.
const CONCURRENCY: usize = 8;
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(100_000);
    let journal = filled(bench, events).await?;
    let headers = headers(&journal).await?;
    // In turn, so that both have the same machine: the middle one of three counts.
    let (mut relays, mut bares, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        bares.push(bare(events, &headers).await?);
        let (rate, cpu) = delivered(&journal, events, "").await?;
        relays.push(rate);
        cpus.push(cpu);
    }
    let (batches, _) = delivered(&journal, events, "mode = \"batch\"").await?;
    let (own, loops) = (middle(relays), middle(bares));
    let cpu = cpus.pop().context("three rounds")?;
    Ok(vec![
        Row::new("a bare loop, events a second, 8 at once", count(loops), ""),
        Row::new("the relay, events a second, 8 at once", count(own), ""),
        Row::new(
            "the relay's share of the bare loop",
            format!("{:.0}%", own / loops * 100.0),
            at_least(own / loops, 0.7, "70%"),
        ),
        Row::new("CPU of the relay an event", cpu.each(events as f64), ""),
        Row::new("batches, events a second", count(batches), ""),
    ])
}

/// A journal with events in it.
async fn filled(bench: &Bench, events: u64) -> Result<tempfile::TempDir> {
    let burst = Burst {
        events,
        ..Burst::default()
    };
    let config = Config {
        burst: Some(burst),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await?;
    let journal = bench.journal()?;
    let relay = relay(&simulator.ws_url(), &journal).await;
    committed(&relay, events).await?;
    relay.terminate().await;
    simulator.stop().await;
    Ok(journal)
}

/// A relay that delivers what a journal holds, from its beginning, under a name of its own.
async fn deliver(journal: &tempfile::TempDir, url: &str, keys: &str) -> Relay {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    // Nobody is there: the upstream brings nothing more.
    let mut setup = Setup::new("ws://127.0.0.1:9", sapi_sim::DEMO_TOKEN).dir(journal.path());
    setup.more = format!(
        "[sinks.hook{}]\ntype = \"webhook\"\nurl = {url:?}\nsecret = {SECRET:?}\nstart_from = \"earliest\"\n{keys}",
        NAMES.fetch_add(1, Relaxed)
    );
    setup.log = "warn,sapi_relay=info".to_owned();
    Relay::start(&setup).await
}

/// Events a second, and the relay's CPU, from the first request to the last.
async fn delivered(journal: &tempfile::TempDir, events: u64, keys: &str) -> Result<(f64, Cpu)> {
    let receiver = Receiver::counting().await;
    let events = usize::try_from(events)?;
    let relay = deliver(journal, &receiver.url("/"), keys).await;
    receiver
        .until("the first", |counts| counts.events > 0)
        .await;
    let (start, cpu) = (Instant::now(), Cpu::of(relay.pid())?);
    let patience = Duration::from_mins(5);
    receiver
        .until_within(patience, "the last", |counts| counts.events >= events)
        .await;
    let elapsed = start.elapsed().as_secs_f64();
    let used = Cpu::since(relay.pid(), cpu)?;
    relay.terminate().await;
    Ok((events as f64 / elapsed, used))
}

/// The headers of a request as the relay sends it.
async fn headers(journal: &tempfile::TempDir) -> Result<HeaderMap> {
    let receiver = Receiver::start().await;
    let relay = deliver(journal, &receiver.url("/"), "").await;
    receiver.accepted(1).await;
    relay.kill().await;
    let mut headers = receiver.taken().swap_remove(0).headers;
    for own in ["host", "content-length", "accept"] {
        headers.remove(own);
    }
    Ok(headers)
}

/// Events a second of so many loops that send ready requests, signed like the relay's. They run on threads
/// of their own, as many as the relay's, so that the receiver is as far away as it is from the relay.
async fn bare(events: u64, headers: &HeaderMap) -> Result<f64> {
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

async fn send(events: u64, url: String, headers: HeaderMap) -> Result<f64> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let webhook = Arc::new(Webhook::new(SECRET)?);
    let next = Arc::new(AtomicU64::new(0));
    let bodies = (0..1_000).map(|n| burst_document(&Config::default(), Burst::default(), n));
    let bodies: Arc<[bytes::Bytes]> = bodies.collect();
    let mut loops = JoinSet::new();
    let start = Instant::now();
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
    Ok(events as f64 / start.elapsed().as_secs_f64())
}

fn middle(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
