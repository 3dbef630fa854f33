//! Rows of figures, each with its bound, and the page they are written to.

use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::Result;

use crate::machine::Machine;
use crate::scenarios::Scenario;

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    value: String,
    bound: String,
}

impl Row {
    /// A figure, and the bound it is held against; empty where there is none.
    pub(crate) fn new(
        what: impl Into<String>,
        value: impl Into<String>,
        bound: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            bound: bound.into(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<52} {:>22}   {}", self.what, self.value, self.bound)
    }
}

/// The page.
#[derive(Debug)]
pub(crate) struct Report {
    page: String,
}

impl Report {
    pub(crate) fn new(machine: Machine, quick: bool) -> Self {
        let quick = if quick {
            " (a quick run: a tenth of the events)"
        } else {
            ""
        };
        Self {
            page: format!(
                "# Benchmarks{quick}\n\nWritten by `make bench`. Generator, relay and clients share the machine, \
                 all over loopback, events of 1 KiB, fsync on. CPU is the relay process's user and system \
                 time. Compare ratios and CPU per event; absolute rates are this machine's.\n\n{machine}\n"
            ),
        }
    }

    pub(crate) fn add(&mut self, scenario: &Scenario, rows: Vec<Row>) {
        let Scenario { title, how, .. } = scenario;
        let _ = write!(
            self.page,
            "\n## {title}\n\n{how}\n\n| figure | measured | bound |\n|---|---:|---|\n"
        );
        for Row { what, value, bound } in rows {
            let _ = writeln!(self.page, "| {what} | {value} | {bound} |");
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, &self.page)?)
    }
}

/// A count with thousands apart.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration given in seconds, in the unit that suits it.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        v if v < 0.001 => format!("{:.0} µs", v * 1e6),
        v if v < 1.0 => format!("{:.2} ms", v * 1e3),
        v => format!("{v:.2} s"),
    }
}
