//! The commit stage alone, against a bare file that gets the same bytes the same way.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use relay_core::admit::Received;
use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use relay_core::{Admit, Metrics};
use sapi_protocol::{Document, Framed};
use sapi_sim::{Burst, Config, burst_document};

use crate::Bench;
use crate::process::Cpu;
use crate::report::{Row, at_least, count};

const EVENT_BYTES: usize = 1024;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = usize::try_from(bench.events(256_000))?;
    let mut stages = Vec::new();
    // In turn, so that a disk whose speed drifts gives each the same.
    for repetition in 0..5 {
        let stage = commit_stage(bench, events, repetition).await?;
        let bare = bare_file(&bench.disk, stage.group, events / stage.group)?;
        stages.push((stage.rate / bare, stage));
    }
    stages.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, Stage { rate, cpu, group }) = stages.swap_remove(stages.len() / 2);
    Ok(vec![
        Row::new(
            "events in a group, as load made them",
            count(group as f64),
            "",
        ),
        Row::new("events a second", count(rate), ""),
        Row::new(
            "ratio to the bare file at that group size, median of five",
            format!("{ratio:.2}"),
            at_least(ratio, 0.5, "0.5"),
        ),
        Row::new("CPU an event", cpu.each(events as f64), ""),
    ])
}

struct Stage {
    rate: f64,
    cpu: Cpu,
    /// Events in a commit group, on average.
    group: usize,
}

/// Documents handed over as fast as the intake takes them, until all are durable.
async fn commit_stage(bench: &Bench, events: usize, repetition: usize) -> Result<Stage> {
    const TOGETHER: usize = 64;
    let journal = bench.journal()?;
    let config = config(journal.path())?;
    let metrics = Arc::clone(&config.metrics);
    let core = Core::open(config)?;
    let simulator = Config::default();
    let mut batches = Vec::new();
    for batch in 0..events / TOGETHER {
        let mut documents = Vec::with_capacity(TOGETHER);
        for place in 0..TOGETHER {
            let n = repetition * events + batch * TOGETHER + place;
            let bytes = burst_document(&simulator, Burst::default(), n as u64);
            let document = Document::parse(bytes)
                .ok()
                .context("a document of the simulator")?;
            documents.push(Framed::Document(document));
        }
        batches.push(documents);
    }
    let subscription: Arc<str> = "relay_a".into();
    let (start, cpu) = (Instant::now(), Cpu::of(std::process::id())?);
    for documents in batches {
        let subscription = Arc::clone(&subscription);
        let received = Received {
            subscription,
            at_ms: 1_700_000_000_000,
            documents,
        };
        core.intake.documents(received).await?;
    }
    core.intake.flush().await;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = Cpu::since(std::process::id(), cpu)?;
    let commits = metrics.journal_commit_duration_seconds.get_sample_count();
    let last = core.bus.last().0;
    core.close().await?;
    anyhow::ensure!(
        last >= (events / TOGETHER * TOGETHER) as u64,
        "every event was committed: {last}"
    );
    let group = usize::try_from(last / commits.max(1))?.max(1);
    Ok(Stage {
        rate: events as f64 / elapsed,
        cpu,
        group,
    })
}

/// Events a second into a preallocated file: one write and one fdatasync a group.
fn bare_file(disk: &Path, group: usize, groups: usize) -> Result<f64> {
    let path = disk.join("bare");
    let file = File::create(&path)?;
    let bytes = Bytes::from(vec![b'x'; group * EVENT_BYTES]);
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        (bytes.len() * groups) as u64,
    )?;
    file.sync_all()?;
    let start = Instant::now();
    for n in 0..groups {
        file.write_all_at(&bytes, (n * bytes.len()) as u64)?;
        file.sync_data()?;
    }
    let elapsed = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok((group * groups) as f64 / elapsed)
}

fn config(dir: &Path) -> Result<CoreConfig> {
    Ok(CoreConfig {
        tenant: "acmecorp01".into(),
        dir: dir.to_owned(),
        subs_ids: vec!["relay_a".into()],
        cache_horizon: Duration::from_secs(7_200),
        dedup: DedupConfig {
            horizon: Duration::from_secs(9_000),
            memory: 256 << 20,
            across: Across::MsgInfo,
        },
        journal: JournalConfig {
            retention_age: Duration::from_secs(72 * 3600),
            retention_bytes: 10 << 30,
            commit_window: Duration::from_millis(2),
            reserve: 0,
        },
        bus_memory: 64 << 20,
        dead_letters: DeadLetterConfig {
            retention_age: Duration::from_secs(30 * 86_400),
            retention_bytes: 1 << 30,
        },
        metrics: Arc::new(Metrics::new()?),
        boards: Vec::new(),
    })
}
