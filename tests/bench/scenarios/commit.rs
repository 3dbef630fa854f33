//! The commit stage alone, against a bare file that gets the same bytes the same way.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use relay_core::admit::Received;
use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use relay_core::{Admit, Metrics};
use sapi_protocol::{Document, Framed};
use sapi_sim::{Burst, Config, burst_document};

use crate::Bench;
use crate::process::Cpu;
use crate::report::{Row, at_least, count};

/// Repetitions, each of the stage and of the bare file.
const TURNS: usize = 7;
/// Documents of one call.
const TOGETHER: usize = 64;
/// Documents before the clock starts: they fill the bus, so that what is measured can go on for ever.
const BEFORE: u64 = 65_536;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = usize::try_from(bench.events(256_000))?;
    let before = usize::try_from(bench.events(BEFORE))?;
    let mut stages = Vec::new();
    // In turn, so that a disk whose speed drifts gives each the same.
    for turn in 0..TURNS {
        let stage = commit_stage(bench, (before, events), turn).await?;
        let bare = bare_file(&bench.disk, &stage, events / stage.group)?;
        stages.push((stage.rate / bare, bare, stage));
    }
    stages.sort_by(|a, b| a.0.total_cmp(&b.0));
    let least = stages.first().map_or(0.0, |(ratio, ..)| *ratio);
    let (ratio, bare, stage) = stages.swap_remove(TURNS / 2);
    Ok(vec![
        Row::new(
            "events in a group, as load made them; bytes of a record",
            format!("{}; {}", count(stage.group as f64), stage.record),
            "",
        ),
        Row::new("events a second", count(stage.rate), ""),
        Row::new(
            "records a second of the bare file, groups and records of that size",
            count(bare),
            "",
        ),
        Row::new(
            "ratio of the two, median of seven turns",
            format!("{ratio:.2} (least {least:.2})"),
            at_least(ratio, 0.5, "0.5"),
        ),
        Row::new("CPU an event", stage.cpu.each(events as f64), ""),
    ])
}

struct Stage {
    rate: f64,
    cpu: Cpu,
    /// Events in a commit group, on average.
    group: usize,
    /// What an event takes in the journal, with all that stands beside its bytes.
    record: usize,
}

/// Documents handed over as fast as the intake takes them, until all are durable.
async fn commit_stage(
    bench: &Bench,
    (before, events): (usize, usize),
    turn: usize,
) -> Result<Stage> {
    let journal = bench.journal()?;
    let config = config(journal.path())?;
    let metrics = Arc::clone(&config.metrics);
    let core = Core::open(config)?;
    let first = turn * (before + events);
    let (warm_up, batches) = (batches(first, before)?, batches(first + before, events)?);
    admit(&core, warm_up).await?;
    let commits = || metrics.journal_commit_duration_seconds.get_sample_count();
    let (commits_before, last_before) = (commits(), core.bus.last().0);
    let (start, cpu) = (Instant::now(), Cpu::of(std::process::id())?);
    admit(&core, batches).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = Cpu::since(std::process::id(), cpu)?;
    let (commits, last) = (commits() - commits_before, core.bus.last());
    let record = core.bus.log().read(last, 1)?;
    let record = record.first().context("the last record")?.encoded_len();
    core.close().await?;
    let committed = last.0 - last_before;
    anyhow::ensure!(
        committed >= (events / TOGETHER * TOGETHER) as u64,
        "every event was committed: {committed}"
    );
    Ok(Stage {
        rate: events as f64 / elapsed,
        cpu,
        group: usize::try_from(committed / commits.max(1))?.max(1),
        record,
    })
}

/// Documents of the simulator from a number on, parsed.
fn batches(first: usize, events: usize) -> Result<Vec<Vec<Framed>>> {
    let simulator = Config::default();
    let document = |n: usize| {
        let bytes = burst_document(&simulator, Burst::default(), n as u64);
        let document = Document::parse(bytes).ok();
        document
            .map(Framed::Document)
            .context("a document of the simulator")
    };
    let numbers = (first..first + events / TOGETHER * TOGETHER).step_by(TOGETHER);
    numbers
        .map(|n| (n..n + TOGETHER).map(document).collect())
        .collect()
}

/// Admits documents, and waits until they are durable.
async fn admit(core: &Core, batches: Vec<Vec<Framed>>) -> Result<()> {
    let subscription: Arc<str> = "relay_a".into();
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
    Ok(())
}

/// Records a second into a preallocated file: one write and one fdatasync a group, both as large as
/// the stage made them.
fn bare_file(disk: &Path, stage: &Stage, groups: usize) -> Result<f64> {
    let path = disk.join("bare");
    let file = File::create(&path)?;
    let bytes = vec![b'x'; stage.group * stage.record];
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
    Ok((stage.group * groups) as f64 / elapsed)
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
        traces: relay_core::traces::Traces::default(),
        boards: Vec::new(),
    })
}
