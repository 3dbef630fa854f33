//! `relay-bench`: drives the release binary with pre-encoded load and writes what it measured to
//! `docs/BENCHMARKS.md`, each figure beside its bound. It judges nothing: it is no test.
//!
//! ```text
//! relay-bench [--quick] [SCENARIO...]
//! ```

mod bare;
mod client;
mod machine;
mod memory;
mod process;
mod report;
mod scenarios;
mod source;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::report::Report;
use crate::scenarios::{SCENARIOS, Scenario};

/// What a scenario is given.
#[derive(Debug)]
pub(crate) struct Bench {
    /// A tenth of the events, for trying things out.
    quick: bool,
    /// Where journals are written: a real disk.
    disk: PathBuf,
}

impl Bench {
    /// So many events, or a tenth of it.
    fn events(&self, count: u64) -> u64 {
        if self.quick { count / 10 } else { count }
    }

    /// A fresh folder for a journal.
    fn journal(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("journal")
            .tempdir_in(&self.disk)
            .context("a folder for the journal")
    }
}

fn main() -> Result<()> {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    if let Some(unknown) = arguments
        .iter()
        .find(|name| SCENARIOS.iter().all(|s| s.name != **name))
    {
        let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        anyhow::bail!("no scenario {unknown:?}; there are: {}", known.join(", "));
    }
    let wanted =
        |scenario: &&Scenario| arguments.is_empty() || arguments.iter().any(|n| n == scenario.name);

    let disk = std::env::current_exe()?
        .parent()
        .context("a folder beside the program")?
        .join("bench-journals");
    std::fs::create_dir_all(&disk)?;
    let machine = Machine::look(&disk)?;
    println!("{machine}\n");
    let bench = Bench {
        quick,
        disk: disk.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut report = Report::new(&machine);
    for scenario in SCENARIOS.iter().filter(wanted) {
        println!("## {}", scenario.title);
        let rows = runtime
            .block_on((scenario.run)(&bench))
            .with_context(|| format!("scenario {}", scenario.name))?;
        for row in &rows {
            println!("  {row}");
        }
        println!();
        report.add(scenario, rows);
    }
    std::fs::remove_dir_all(&disk)?;
    // A part, or a quick run, is for trying things out: the page is of one whole run.
    if arguments.is_empty() && !quick {
        report.write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/BENCHMARKS.md").as_ref())?;
    }
    Ok(())
}
