//! Owns standard output as commands use it: lines, written in large pieces, flushed when asked.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Stdout, Write};

/// Standard output, buffered. A reader that has gone is an error, which ends the command quietly.
pub(crate) fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(64 * 1024, io::stdout())
}

/// Says something on standard error; nothing else can be done if that is gone.
pub(crate) fn say(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Aligns rows below their headings; the last column is as wide as it is.
pub(crate) fn table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String can't fail.
            write!(line, "{cell:<width$}  ").ok();
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
