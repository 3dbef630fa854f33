//! Writes man pages and shell completions of both programs, from the definitions of their command
//! lines. An example, so that neither program carries the generators:
//!
//! ```sh
//! cargo run -p sapi-relay --example manual .cache/manual
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

#[path = "../src/cli.rs"]
mod relay;
#[path = "../../sapi-sim/src/cli.rs"]
#[expect(dead_code, reason = "only the definition is wanted, nobody parses")]
mod sim;

/// Where the packages want completions: bash by the program's name, zsh with a `_` before it.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.context("give the folder to write to")?;
    write(&folder).with_context(|| format!("writing to {}", folder.display()))
}

/// `man1/*.1` and `completions/*`.
fn write(folder: &Path) -> io::Result<()> {
    let (pages, completions) = (folder.join("man1"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    for define in [relay::Cli::command, sim::Cli::command] {
        let (mut program, name) = (define(), define().get_name().to_owned());
        for shell in SHELLS {
            clap_complete::generate_to(shell, &mut program, &name, &completions)?;
        }
        // Anew, since those have built it: without `help`, whose pages would say nothing.
        let mut program = define().disable_help_subcommand(true);
        program.build();
        let source = format!("{name} {}", program.get_version().unwrap_or_default());
        page(&program, &source, &pages)?;
    }
    Ok(())
}

/// The page of a command, and those of its subcommands.
fn page(command: &Command, source: &str, folder: &Path) -> io::Result<()> {
    // Built, a subcommand's name of display has its parents' before it: sapi-relay-journal-info.
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut file = fs::File::create(folder.join(format!("{name}.1")))?;
    let man = Man::new(command.clone()).title(name.to_uppercase());
    let man = man.source(source).manual("sapi-relay");
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    man.render_synopsis_section(&mut file)?;
    man.render_description_section(&mut file)?;
    man.render_options_section(&mut file)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut file)?;
    }
    if let Some(notes) = command.get_after_help() {
        verbatim(&mut file, &notes.to_string())?;
    }
    let mut subcommands = command.get_subcommands();
    subcommands.try_for_each(|subcommand| page(subcommand, source, folder))
}

/// What help prints below everything, its lines as they are: examples in columns, exit codes.
fn verbatim(out: &mut impl Write, notes: &str) -> io::Result<()> {
    writeln!(out, ".SH NOTES\n.nf")?;
    for line in notes.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that begins with a dot or a quote would be a command of roff's.
        writeln!(out, "\\&{line}")?;
    }
    writeln!(out, ".fi")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a command and of all below it, each with its parents' before it.
    fn names(command: &Command, parents: &str, found: &mut Vec<String>) {
        let name = format!("{parents}{}", command.get_name());
        for subcommand in command.get_subcommands() {
            names(subcommand, &format!("{name}-"), found);
        }
        found.push(name);
    }

    #[test]
    fn every_command_has_a_page_and_completions() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |path: String| fs::read_to_string(folder.path().join(path)).unwrap();
        let mut pages = 0;
        for (program, known) in [
            (relay::Cli::command(), "sapi-relay-sink-seek"),
            (sim::Cli::command(), "sapi-sim-faults"),
        ] {
            let mut all = Vec::new();
            names(&program, "", &mut all);
            assert!(all.iter().any(|name| name == known), "{all:?}");
            pages += all.len();
            let program = program.get_name();
            let completions = [
                read(format!("completions/{program}.bash")),
                read(format!("completions/_{program}")),
                read(format!("completions/{program}.fish")),
            ];
            for name in all {
                let page = read(format!("man1/{name}.1"));
                let title = format!("\n.TH {} 1", name.to_uppercase());
                assert!(page.contains(&title), "{page}");
                let last = name.rsplit('-').next().unwrap();
                for completion in &completions {
                    assert!(completion.contains(last), "{last}: {completion}");
                }
            }
        }
        let written = fs::read_dir(folder.path().join("man1")).unwrap();
        assert_eq!(written.count(), pages, "no page but those");
    }

    #[test]
    fn notes_are_shown_as_help_shows_them() {
        let mut page = Vec::new();
        verbatim(&mut page, ".dot\n  two -- columns \\").unwrap();
        let page = String::from_utf8(page).unwrap();
        let expected = ".SH NOTES\n.nf\n\\&.dot\n\\&  two \\-\\- columns \\e\n.fi\n";
        assert_eq!(page, expected);
    }
}
