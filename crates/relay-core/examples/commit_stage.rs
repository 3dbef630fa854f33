//! Feeds the commit stage from memory, in turn with a bare file that gets groups of the same sizes.
//! `cargo run --release -p relay-core --example commit_stage [DIR] [TURNS] [EVENTS]`

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it is there to print figures"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_core::admit::Received;
use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use relay_core::{Admit, Metrics};
use sapi_protocol::{Document, Framed};

/// Documents of one call, as one read of a socket brings them under load.
const TOGETHER: usize = 64;
const EVENT_BYTES: usize = 1024;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let parent = args
        .next()
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let turns: usize = args.next().map_or(Ok(5), |text| text.parse())?;
    let events: usize = args.next().map_or(Ok(256_000), |text| text.parse())?;
    let dir = parent.join(format!("commit-stage-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut ratios = Vec::new();
    for turn in 0..turns {
        let stage = runtime.block_on(stage(&dir.join(turn.to_string()), turn, events))?;
        let bare = bare(&dir, stage.group_bytes, events / stage.group)?;
        let bare = bare * stage.group as f64;
        ratios.push(stage.rate / bare);
        println!(
            "groups of {} events, {} bytes: {:.0} events/s, bare {bare:.0}, ratio {:.3}, CPU {:.2} µs an event",
            stage.group,
            stage.group_bytes,
            stage.rate,
            stage.rate / bare,
            stage.cpu * 1e6 / events as f64,
        );
        std::fs::remove_dir_all(dir.join(turn.to_string()))?;
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median) = (ratios.first(), ratios.get(turns / 2));
    println!("ratio: least {least:.3?}, median {median:.3?}");
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

struct Stage {
    rate: f64,
    group: usize,
    group_bytes: usize,
    cpu: f64,
}

async fn stage(dir: &Path, turn: usize, events: usize) -> Result<Stage, Failure> {
    let config = config(dir)?;
    let metrics = Arc::clone(&config.metrics);
    let core = Core::open(config)?;
    let calls = events / TOGETHER;
    let documents = |call: usize| -> Result<Vec<_>, _> {
        let numbers = (0..TOGETHER).map(|place| turn * events + call * TOGETHER + place);
        numbers
            .map(|n| Document::parse(json(n)).map(Framed::Document))
            .collect()
    };
    let mut batches = Vec::new();
    for call in 0..calls {
        batches.push(documents(call).map_err(|_malformed| "a document")?);
    }
    let subscription: Arc<str> = "relay_a".into();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    for documents in batches {
        let (subscription, at_ms) = (Arc::clone(&subscription), 1_700_000_000_000);
        core.intake
            .documents(Received {
                subscription,
                at_ms,
                documents,
            })
            .await?;
    }
    core.intake.flush().await;
    let (elapsed, cpu) = (started.elapsed(), cpu_seconds() - cpu);
    let commits = metrics.journal_commit_duration_seconds.get_sample_count();
    let group = usize::try_from(core.bus.last().0 / commits.max(1))?;
    let record = core.bus.log().read(relay_core::Offset(1), 1)?;
    let record = record.first().ok_or("a record")?.encoded_len();
    core.close().await?;
    Ok(Stage {
        rate: events as f64 / elapsed.as_secs_f64(),
        group,
        group_bytes: group * record,
        cpu,
    })
}

/// Groups a second.
fn bare(dir: &Path, bytes: usize, groups: usize) -> Result<f64, Failure> {
    let path = dir.join("bare");
    let file = File::create(&path)?;
    let bytes = vec![b'x'; bytes];
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        (bytes.len() * groups) as u64,
    )?;
    file.sync_all()?;
    let started = Instant::now();
    for n in 0..groups {
        file.write_all_at(&bytes, (n * bytes.len()) as u64)?;
        file.sync_data()?;
    }
    let elapsed = started.elapsed();
    std::fs::remove_file(path)?;
    Ok(groups as f64 / elapsed.as_secs_f64())
}

fn json(n: usize) -> Bytes {
    let (number, interaction) = (1_000_000_000_000 + n, 1_000_000_000_000 + n / 8);
    let mut text = format!(
        "{{\"Interaction\":{{\"event\":\"InteractionCreated\",\"interactionGUID\":\"int-18f3a{interaction}-{interaction}ohWfVIbHJz2H-phone-01-acmecorp01\",\
         \"interactionEventTS\":{number},\"direction\":\"InBound\",\"agentId\":\"agOhWfVIbHJz2H\",\"media\":\"Phone\",\
         \"msgInfo\":{{\"instanceId\":\"app-01.us1\",\"sequenceId\":{number},\"timestamp\":17{number}}},\"note\":\""
    );
    while text.len() < EVENT_BYTES - 4 {
        text.push_str("lorem ipsum ");
        text.truncate(EVENT_BYTES - 4);
    }
    text.push_str("\"}}");
    Bytes::from(text)
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn config(dir: &Path) -> Result<CoreConfig, Failure> {
    Ok(CoreConfig {
        tenant: "acmecorp01".into(),
        dir: dir.to_owned(),
        subs_ids: vec!["relay_a".into()],
        cache_horizon: Duration::from_hours(2),
        dedup: DedupConfig {
            horizon: Duration::from_mins(150),
            memory: 256 << 20,
            across: Across::MsgInfo,
        },
        journal: JournalConfig {
            retention_age: Duration::from_hours(72),
            retention_bytes: 10 << 30,
            commit_window: Duration::from_millis(2),
            reserve: 0,
        },
        bus_memory: 64 << 20,
        dead_letters: DeadLetterConfig {
            retention_age: Duration::from_hours(720),
            retention_bytes: 1 << 30,
        },
        metrics: Arc::new(Metrics::new()?),
        boards: Vec::new(),
    })
}
