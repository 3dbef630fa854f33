//! The machine, and its disk's own speed: what every figure depends on.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::client::Percentiles;
use crate::report::seconds;

#[derive(Debug)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    rust: String,
    fdatasync: Percentiles,
}

impl Machine {
    pub(crate) fn look(disk: &Path) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let rust = Command::new("rustc").arg("--version").output();
        Ok(Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            rust: rust
                .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
                .unwrap_or_default(),
            fdatasync: fdatasync(disk)?,
        })
    }
}

/// What the disk takes to write 4 KiB into a preallocated file and to sync it, a thousand times.
pub(crate) fn fdatasync(disk: &Path) -> Result<Percentiles> {
    const COUNT: u64 = 1_000;
    let path = disk.join("fdatasync");
    let file = File::create(&path)?;
    let page = [1_u8; 4096];
    for n in 0..COUNT {
        file.write_all_at(&page, n * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..COUNT {
        let start = Instant::now();
        file.write_all_at(&[2_u8; 4096], n * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64());
    }
    fs::remove_file(path)?;
    Ok(Percentiles::of(times))
}

/// How busy the machine is: what all its cores together have spent so far, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    idle: f64,
    all: f64,
}

impl Ticks {
    pub(crate) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user already.
        let fields = line.context("a line of all cores")?.split_whitespace();
        let fields: Vec<f64> = fields.take(8).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            idle: fields.iter().skip(3).take(2).sum(),
            all: fields.iter().sum(),
        })
    }

    /// The share that was not idle since then.
    pub(crate) fn busy_since(earlier: Self) -> Result<f64> {
        let now = Self::now()?;
        Ok(1.0 - (now.idle - earlier.idle) / (now.all - earlier.all))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            cores,
            kernel,
            rust,
            fdatasync,
        } = self;
        write!(
            f,
            "{cores} cores of {cpu}, Linux {kernel}, {rust}. The disk's own 4 KiB write and fdatasync: \
             p50 {}, p99 {}.",
            seconds(fdatasync.p50),
            seconds(fdatasync.p99),
        )
    }
}
