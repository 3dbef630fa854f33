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
use crate::report::{Row, count};

const EVENT_BYTES: usize = 1024;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for group in [64, 512] {
        let mut ratios = Vec::new();
        let (mut best, mut cpu) = (0.0_f64, None);
        // In turn, so that a disk whose speed drifts gives each the same.
        for repetition in 0..5 {
            let groups =
                usize::try_from(bench.events(if group == 64 { 64_000 } else { 256_000 }))? / group;
            let (rate, used) = commit_stage(bench, group, groups, repetition).await?;
            let bare = bare_file(&bench.disk, group, groups)?;
            ratios.push(rate / bare);
            if rate > best {
                (best, cpu) = (rate, Some(used.each((group * groups) as f64)));
            }
        }
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        rows.extend([
            Row::new(
                format!("groups of {group}: events a second, best of five"),
                count(best),
                "",
            ),
            Row::new(
                format!("groups of {group}: ratio to the bare file, median"),
                format!("{median:.2}"),
                "at least 0.5",
            ),
            Row::new(
                format!("groups of {group}: CPU an event"),
                cpu.unwrap_or_default(),
                "",
            ),
        ]);
    }
    Ok(rows)
}

/// Events a second through the intake, in groups that are each durable before the next is handed over.
async fn commit_stage(
    bench: &Bench,
    group: usize,
    groups: usize,
    repetition: usize,
) -> Result<(f64, Cpu)> {
    let journal = bench.journal()?;
    let core = Core::open(config(journal.path())?)?;
    let simulator = Config::default();
    let mut batches = Vec::new();
    for batch in 0..groups {
        let mut documents = Vec::with_capacity(group);
        for place in 0..group {
            let n = (repetition * groups + batch) * group + place;
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
        let received = Received {
            subscription: Arc::clone(&subscription),
            at_ms: 1_700_000_000_000,
            documents,
        };
        core.intake.documents(received).await?;
        core.intake.flush().await;
    }
    let elapsed = start.elapsed().as_secs_f64();
    let used = Cpu::since(std::process::id(), cpu)?;
    let last = core.bus.last().0;
    anyhow::ensure!(
        last >= (group * groups) as u64,
        "every event was committed: {last}"
    );
    core.close().await?;
    Ok(((group * groups) as f64 / elapsed, used))
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
