//! Prints what framing a document costs, for documents of several shapes. Run it with `--release`.

use std::time::Instant;

use bytes::Bytes;
use sapi_protocol::{Format, Framed, Framer, Heartbeat, xml};

const TOTAL: usize = 64 << 20;
const MAX: usize = 16 << 20;
const QUEUED: &str = include_str!("../testdata/samples/interaction_queued.json");
const STATUS: &str = include_str!("../testdata/samples/agent_status_change.json");

fn main() {
    let heartbeat = Heartbeat {
        instance_id: "us1tomcat04-sapi-v1",
        sequence: 1,
        timestamp_ms: 1_669_235_544_917,
        subscription_id: "a",
        tenant_id: "acmecorp01",
    };
    let compact: String = QUEUED
        .lines()
        .map(|line| line.replace("\": ", "\":"))
        .collect();
    let status: String = STATUS
        .lines()
        .map(|line| line.replace("\": ", "\":"))
        .collect();
    let padded = status.replace("\"none\"", &format!("\"{}\"", "x".repeat(360)));
    let xml = xml::json_to_xml(compact.as_bytes()).unwrap_or_default();
    row("heartbeat", &heartbeat.write(Format::Json));
    row("agent status", status.as_bytes());
    row("agent status, long texts", padded.as_bytes());
    row("interaction", compact.as_bytes());
    row("interaction, pretty", QUEUED.trim().as_bytes());
    row("interaction, XML", &xml);
}

#[expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "the output is the purpose, and a rough figure"
)]
fn row(name: &str, document: &[u8]) {
    let count = TOTAL / document.len();
    let whole = Bytes::from(document.repeat(count));
    let each: Vec<Bytes> = (0..count)
        .map(|n| whole.slice(n * document.len()..(n + 1) * document.len()))
        .collect();
    let half = document.len() / 2;
    let halves: Vec<Bytes> = each
        .iter()
        .take(count / 4)
        .flat_map(|one| [one.slice(..half), one.slice(half..)])
        .collect();
    let cost = |messages: Vec<Bytes>| {
        let mut framer = Framer::new(MAX);
        let start = Instant::now();
        let mut found = 0_u64;
        let mut mixed = 0_u128;
        for message in messages {
            framer.push(message);
            while let Some(Framed::Document(document)) = framer.next() {
                found += 1;
                mixed ^= document
                    .content_hash()
                    .wrapping_add(u128::from(document.msg_info().sequence.unwrap_or_default()));
            }
        }
        std::hint::black_box(mixed);
        start.elapsed().as_nanos() as f64 / found as f64
    };
    let (alone, joined, split) = (cost(each), cost(vec![whole]), cost(halves));
    println!(
        "{name:26} {:5} bytes: {alone:6.0} ns alone, {joined:6.0} ns in one message, {split:6.0} ns over two; {:5.2} GB/s",
        document.len(),
        document.len() as f64 / joined
    );
}
