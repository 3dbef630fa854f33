//! Rows of figures, each with its bound, and the page they are written to.

use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::Result;

use crate::machine::Machine;
use crate::scenarios::Scenario;

/// What a figure is held against.
#[derive(Debug)]
pub(crate) struct Bound {
    text: String,
    /// `None`: it is for the reader to judge.
    met: Option<bool>,
}

impl Bound {
    fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        }
    }
}

/// A bound that nothing is computed for, or none at all.
impl From<&str> for Bound {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            met: None,
        }
    }
}

/// What is measured must not be above a limit, that is written as `text`.
pub(crate) fn at_most(measured: f64, limit: f64, text: impl fmt::Display) -> Bound {
    Bound {
        text: format!("at most {text}"),
        met: Some(measured <= limit),
    }
}

/// What is measured must not be below a limit, that is written as `text`.
pub(crate) fn at_least(measured: f64, limit: f64, text: impl fmt::Display) -> Bound {
    Bound {
        text: format!("at least {text}"),
        met: Some(measured >= limit),
    }
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    value: String,
    bound: Bound,
}

impl Row {
    /// A figure, and the bound it is held against; `""` where there is none.
    pub(crate) fn new(
        what: impl Into<String>,
        value: impl Into<String>,
        bound: impl Into<Bound>,
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
        let Self { what, value, bound } = self;
        let verdict = bound.verdict().trim_matches('*');
        write!(f, "{what:<52} {value:>22}   {}  {verdict}", bound.text)
    }
}

/// The page.
#[derive(Debug)]
pub(crate) struct Report {
    head: String,
    sections: String,
    met: usize,
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self {
            head: format!(
                "# Benchmarks\n\nWritten by `make bench`, all of it by one run. Generator, relay and clients share \
                 the machine, all over loopback, events of 1 KiB, fsync on. CPU is the relay process's user and \
                 system time. Compare ratios and CPU per event; absolute rates are this machine's.\n\n{machine}\n"
            ),
            sections: String::new(),
            met: 0,
            missed: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, scenario: &Scenario, rows: Vec<Row>) {
        let Scenario { title, how, .. } = scenario;
        let _ = write!(
            self.sections,
            "\n## {title}\n\n{how}\n\n| figure | measured | bound | |\n|---|---:|---|---|\n"
        );
        for Row { what, value, bound } in rows {
            let verdict = bound.verdict();
            let text = &bound.text;
            let _ = writeln!(self.sections, "| {what} | {value} | {text} | {verdict} |");
            match bound.met {
                Some(true) => self.met += 1,
                Some(false) => self
                    .missed
                    .push(format!("* {title}: {what}: {value}, bound {text}")),
                None => {}
            }
        }
    }

    fn page(&self) -> String {
        let bounds = self.met + self.missed.len();
        let missed = match &*self.missed {
            [] => String::new(),
            missed => format!(" Missed:\n\n{}", missed.join("\n")),
        };
        let Self {
            head,
            sections,
            met,
            ..
        } = self;
        format!("{head}\n{met} of {bounds} bounds are met.{missed}\n{sections}")
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, self.page())?)
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
