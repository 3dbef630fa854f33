//! What a process has used, as the kernel accounts it.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks a second: fixed on Linux as user space sees it.
const TICKS: f64 = 100.0;

/// CPU time so far, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the relay runs")?;
        let fields = stat.rsplit_once(") ").context("a stat line")?.1;
        let mut fields = fields.split(' ').skip(11);
        let mut ticks = || -> Result<f64> {
            Ok(fields.next().context("a stat field")?.parse::<f64>()? / TICKS)
        };
        Ok(Self {
            user: ticks()?,
            system: ticks()?,
        })
    }

    pub(crate) fn since(pid: u32, earlier: Self) -> Result<Self> {
        Ok(Self::of(pid)?.less(earlier))
    }

    pub(crate) fn less(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    /// Microseconds for each of `count`.
    pub(crate) fn micros(self, count: f64) -> f64 {
        self.total() * 1e6 / count
    }

    /// `1.23 µs (0.80 user, 0.43 system)` for each of `count`.
    pub(crate) fn each(self, count: f64) -> String {
        let micros = |seconds: f64| seconds * 1e6 / count;
        format!(
            "{:.2} µs ({:.2} user, {:.2} system)",
            self.micros(count),
            micros(self.user),
            micros(self.system)
        )
    }
}

/// A line of `/proc/PID/status` in KiB: `VmHWM` is the peak resident set, `RssAnon` what is its own now.
pub(crate) fn memory_kib(pid: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the relay runs")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line
        .context("a status line")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}
