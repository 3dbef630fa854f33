//! The commit stage fed from memory, beside a bare file written and synced in groups of the same
//! size, in turns: `cargo run --release -p relay-core --example commit_stage [DIR]`.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use relay_core::admit::{Admit, Received};
use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use relay_core::metrics::Metrics;
use sapi_protocol::{Document, Framed};

const EVENTS: usize = 400_000;
const BATCH: usize = 64;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for round in 1..=ROUNDS {
        let batches = batches()?;
        let stage = runtime.block_on(stage(&dir, batches))?;
        let bare = bare(&dir, stage.group)?;
        report(&format!(
            "round {round}: {:.0} events/s, {:.2} µs CPU an event in the commit thread, groups of {}; \
             bare file {:.0} records/s; ratio {:.2}",
            stage.rate,
            stage.cpu_us,
            stage.group,
            bare,
            stage.rate / bare
        ));
    }
    Ok(())
}

struct Measured {
    rate: f64,
    cpu_us: f64,
    group: usize,
}

/// Documents of 1 KiB, parsed beforehand as a session would: slices of one buffer a batch.
fn batches() -> Result<Vec<Received>, Box<dyn std::error::Error>> {
    let subscription: Arc<str> = "a".into();
    let at_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let filler = "x".repeat(700);
    let mut batches = Vec::with_capacity(EVENTS / BATCH);
    for batch in 0..EVENTS / BATCH {
        let mut buffer = BytesMut::with_capacity(BATCH * 1100);
        let mut ends = Vec::with_capacity(BATCH);
        for n in batch * BATCH..(batch + 1) * BATCH {
            let document = format!(
                r#"{{"Interaction":{{"event":"InteractionAccepted","interactionGUID":"int-184a63564dc-{n:010}-phone-00-acmecorp01","callState":"CS_CONNECTED","agentId":"ag{}","mediaType":"phone","note":"{filler}","msgInfo":{{"instanceId":"us1tomcat04.us1.whitepj.net-sapi-v1","sequenceId":{n},"timestamp":{at_ms}}}}}}}"#,
                n % 500
            );
            buffer.extend_from_slice(document.as_bytes());
            ends.push(buffer.len());
        }
        let buffer: Bytes = buffer.freeze();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let documents = starts
            .zip(&ends)
            .map(|(start, end)| Document::parse(buffer.slice(start..*end)).map(Framed::Document));
        let documents = documents.collect::<Result<_, _>>()?;
        batches.push(Received {
            subscription: Arc::clone(&subscription),
            at_ms,
            documents,
        });
    }
    Ok(batches)
}

async fn stage(dir: &Path, batches: Vec<Received>) -> Result<Measured, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir_in(dir)?;
    let core = Core::open(config(dir.path())?)?;
    let started = Instant::now();
    for received in batches {
        core.intake.documents(received).await?;
    }
    core.intake.flush().await;
    let elapsed = started.elapsed();
    let cpu = commit_thread_cpu()?;
    let commits = usize::try_from(core.intake.progress().commits)?;
    core.close().await?;
    let events = f64::from(u32::try_from(EVENTS)?);
    Ok(Measured {
        rate: events / elapsed.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / events,
        group: EVENTS / commits.max(1),
    })
}

fn config(dir: &Path) -> Result<CoreConfig, prometheus::Error> {
    let day = Duration::from_hours(24);
    Ok(CoreConfig {
        tenant: "acmecorp01".to_owned(),
        dir: dir.to_owned(),
        subs_ids: vec!["a".into()],
        cache_horizon: Duration::from_hours(2),
        dedup: DedupConfig {
            horizon: Duration::from_mins(150),
            memory: 256 << 20,
            across: Across::MsgInfo,
        },
        journal: JournalConfig {
            retention_age: 3 * day,
            retention_bytes: 10 << 30,
            commit_window: Duration::from_millis(2),
            reserve: 0,
        },
        bus_memory: 64 << 20,
        dead_letters: DeadLetterConfig {
            retention_age: 30 * day,
            retention_bytes: 1 << 30,
        },
        metrics: Arc::new(Metrics::new()?),
        boards: Vec::new(),
    })
}

/// The CPU time of the thread named `commit`, by the scheduler's own account.
fn commit_thread_cpu() -> io::Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "commit" {
            let stat = std::fs::read_to_string(task.join("schedstat"))?;
            let nanos = stat
                .split_whitespace()
                .next()
                .and_then(|nanos| nanos.parse().ok());
            return Ok(Duration::from_nanos(nanos.unwrap_or(0)));
        }
    }
    Err(io::Error::other("no commit thread"))
}

/// Records a second of a bare file: preallocated, one write and one fdatasync a group.
fn bare(dir: &Path, group: usize) -> io::Result<f64> {
    let file: File = tempfile::tempfile_in(dir)?;
    let buffer = vec![b'x'; group * 1024];
    let groups = EVENTS / group.max(1);
    for at in 0..groups {
        file.write_all_at(&buffer, (at * buffer.len()) as u64)?;
    }
    file.sync_all()?;
    let started = Instant::now();
    for at in 0..groups {
        file.write_all_at(black_box(&buffer), (at * buffer.len()) as u64)?;
        file.sync_data()?;
    }
    let records = f64::from(u32::try_from(groups * group).unwrap_or(u32::MAX));
    Ok(records / started.elapsed().as_secs_f64())
}

#[expect(clippy::print_stdout, reason = "what it measures is what it is for")]
fn report(line: &str) {
    println!("{line}");
}
