//! Measures commits against a bare preallocated file, turn and turn about in one process, and then
//! reading everything back. `cargo run --release -p relay-journal --example commit_speed [DIR]`

#![expect(clippy::print_stdout, reason = "it is there to print figures")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use relay_journal::{CommitError, Log, LogOptions, Offset, ReadError, Writer};
use rustix::fs::{FallocateFlags, fallocate};

const HEAD: usize = 160;
const PAYLOAD: usize = 1024 - 32 - HEAD;
const TURNS: usize = 12;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let parent = std::env::args()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = parent.join(format!("commit-speed-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = [1, 64, 512]
        .into_iter()
        .try_for_each(|records| measure(&dir, records));
    fs::remove_dir_all(&dir)?;
    measured
}

fn measure(dir: &Path, records: usize) -> Result<(), Failure> {
    let groups = (32_768 / records).min(256);
    let log_dir = dir.join(format!("log-{records}"));
    let (mut writer, log, _) = Log::open(&log_dir, LogOptions::default())?;
    let bare_path = dir.join(format!("bare-{records}"));
    let bare = File::create_new(&bare_path)?;
    let group_bytes = records * 1024;
    fallocate(
        &bare,
        FallocateFlags::empty(),
        0,
        (TURNS * groups * group_bytes) as u64,
    )?;
    bare.sync_all()?;
    // The first segment is made before the clock runs, as the bare file is.
    commit(&mut writer, 1)?;
    let (mut ours, mut bound) = (Vec::new(), Vec::new());
    let buffer = vec![b'x'; group_bytes];
    for turn in 0..TURNS {
        let started = Instant::now();
        for n in 0..groups {
            bare.write_all_at(&buffer, ((turn * groups + n) * group_bytes) as u64)?;
            bare.sync_data()?;
        }
        bound.push(started.elapsed());
        let started = Instant::now();
        for _ in 0..groups {
            commit(&mut writer, records)?;
        }
        ours.push(started.elapsed());
    }
    let mut ratios: Vec<_> = bound
        .iter()
        .zip(&ours)
        .map(|(bare, log)| bare.as_secs_f64() / log.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let per_turn = records * groups;
    println!(
        "groups of {records:>3}: bare {:>9.0}/s, log {:>9.0}/s, ratio median {:.2} (min {:.2}, max {:.2})",
        rate(per_turn * TURNS, bound.iter().sum()),
        rate(per_turn * TURNS, ours.iter().sum()),
        ratios.get(TURNS / 2).copied().unwrap_or_default(),
        ratios.first().copied().unwrap_or_default(),
        ratios.last().copied().unwrap_or_default(),
    );
    replay(&log, per_turn * TURNS + 1)?;
    writer.close()?;
    fs::remove_file(bare_path)?;
    Ok(fs::remove_dir_all(log_dir)?)
}

fn commit(writer: &mut Writer, records: usize) -> Result<(), CommitError> {
    let (head, payload) = ([b'h'; HEAD], [b'p'; PAYLOAD]);
    let mut group = writer.begin();
    for _ in 0..records {
        group.push(1, 0, &head, &payload);
    }
    writer.commit(group).map(drop)
}

fn replay(log: &Log, expected: usize) -> Result<(), ReadError> {
    for max_bytes in [64 * 1024, 1024 * 1024] {
        let (started, mut from, mut count) = (Instant::now(), Offset(1), 0);
        loop {
            let records = log.read(from, max_bytes)?;
            let Some(last) = records.last() else { break };
            from = last.offset().next();
            count += records.len();
        }
        if count != expected {
            return Err(io::Error::other("records are missing").into());
        }
        let kib = max_bytes / 1024;
        println!(
            "  replay by {kib:>4} KiB: {:>9.0} records/s",
            rate(count, started.elapsed())
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
