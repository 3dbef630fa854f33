//! The machine, and its disk's own speed: what every figure depends on.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

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
