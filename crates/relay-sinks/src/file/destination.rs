//! Where lines go: a file, or standard output.

use std::io::{self, Write as _};

use relay_core::Event;
use relay_core::cloudevents::{self, Source};
use relay_core::sink::Failure;

use super::Config;
use super::failure::failure;
use super::log_file::LogFile;

/// An encoding buffer that is larger than this is given back after use.
const BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(super) enum Destination {
    File { file: LogFile, buffer: Vec<u8> },
    Stdout { buffer: Vec<u8>, torn: bool },
}

impl Destination {
    /// Opens it in the place of what was open before. A line that a crash has torn is cut off.
    pub(super) fn open(config: &Config, before: Option<Self>) -> Result<Self, Failure> {
        if config.path.as_os_str() == "-" {
            // What was written to standard output can't be looked at again.
            let torn = matches!(before, Some(Self::Stdout { torn: true, .. }));
            return Ok(Self::Stdout {
                buffer: Vec::new(),
                torn,
            });
        }
        // First: it holds the lock on the file.
        drop(before);
        let file = LogFile::open(config).map_err(|error| failure(&error, &config.path))?;
        Ok(Self::File {
            file,
            buffer: Vec::new(),
        })
    }

    /// Writes events, each on its line. `Ok`: all of them are on the disk; otherwise none may be
    /// taken to be there.
    pub(super) fn deliver<'a>(
        &mut self,
        events: impl Iterator<Item = &'a Event>,
        source: &Source,
    ) -> Result<(), Failure> {
        match self {
            Self::File { file, buffer } => {
                let ends = encode(events, source, buffer);
                let written = file.append(buffer, &ends);
                give_back(buffer);
                written.map_err(|error| failure(&error, file.path()))
            }
            Self::Stdout { buffer, torn } => {
                encode(events, source, buffer);
                let written = print(buffer, *torn);
                *torn = written.is_err();
                give_back(buffer);
                written.map_err(|error| failure(&error, "-".as_ref()))
            }
        }
    }
}

/// Encodes lines; returns where each ends.
fn encode<'a>(
    events: impl Iterator<Item = &'a Event>,
    source: &Source,
    buffer: &mut Vec<u8>,
) -> Vec<usize> {
    buffer.clear();
    let end = |event| {
        cloudevents::ndjson(event, source, buffer);
        buffer.len()
    };
    events.map(end).collect()
}

/// Writes lines to standard output, behind a line break if the last write ended within a line.
fn print(lines: &[u8], torn: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if torn {
        out.write_all(b"\n")?;
    }
    out.write_all(lines)?;
    out.flush()
}

fn give_back(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(BUFFER);
}
