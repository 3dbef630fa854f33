//! Owns the tools that look into a journal on disk without a relay: `journal info | verify | export`.
//! They take no lock and change nothing.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use relay_core::filter::Filter;
use relay_core::{Bus, Cursor, Event, From, Kind, Limit, Offset, ReadError, cloudevents};
use relay_journal::Log;

use crate::cli::{self, Export};
use crate::config::write_size;
use crate::failure::{Failure, SOFTWARE};
use crate::output::{say, stdout, table};

/// Runs one of the tools.
pub(crate) async fn run(command: cli::Journal) -> Result<(), Failure> {
    match command {
        cli::Journal::Info(args) => info(&args.dir),
        cli::Journal::Verify(args) => verify(&args.dir),
        cli::Journal::Export(args) => export(args).await,
    }
}

fn open(dir: &Path) -> Result<Log, Failure> {
    let log = Log::open_read_only(dir).with_context(|| format!("no journal in {}", dir.display()));
    let log = log.and_then(|log| match log.identity() {
        "" => Err(anyhow::anyhow!("no journal in {}", dir.display())),
        _ => Ok(log),
    });
    log.map_err(|error| Failure::from(error).remedy("--dir is the folder that journal.dir names"))
}

fn info(dir: &Path) -> Result<(), Failure> {
    let log = open(dir)?;
    let time = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), at);
    let newest = log.read(log.last(), 1).ok();
    let newest = newest.and_then(|records| records.first().map(relay_journal::Record::time_ms));
    let (first, last) = (log.first(), log.last());
    let count = last.0.saturating_add(1).saturating_sub(first.0);
    let cursor = |offset| {
        Cursor {
            epoch: log.epoch(),
            offset,
        }
        .to_string()
    };
    let rows = [
        ("folder", dir.display().to_string()),
        ("tenant", log.identity().to_owned()),
        ("epoch", log.epoch().to_string()),
        ("records", count.to_string()),
        (
            "first",
            if count == 0 {
                "-".into()
            } else {
                cursor(first)
            },
        ),
        ("last", if count == 0 { "-".into() } else { cursor(last) }),
        ("oldest", time(log.oldest_time_ms())),
        ("newest", time(newest)),
        ("on disk", write_size(log.bytes())),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let mut out = stdout();
    table(&mut out, &rows)?;
    out.flush()?;
    Ok(())
}

fn verify(dir: &Path) -> Result<(), Failure> {
    open(dir)?;
    let mut findings = 0_u64;
    let mut failed = None;
    let mut out = stdout();
    let verified = Log::verify(dir, |finding| {
        findings += 1;
        let place = format!(
            "{}: byte {}, offset {}",
            finding.segment.display(),
            finding.byte,
            finding.offset
        );
        failed = failed
            .take()
            .or(writeln!(out, "{place}: {}", finding.what).err());
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let verified = verified.with_context(|| format!("reading {}", dir.display()))?;
    let (records, segments, size) = (
        verified.records,
        verified.segments,
        write_size(verified.bytes),
    );
    writeln!(
        out,
        "{records} records in {segments} segments ({size}) read"
    )?;
    if verified.torn_bytes > 0 {
        let torn = verified.torn_bytes;
        writeln!(
            out,
            "{torn} bytes at the end are a write that is under way, or was interrupted: no damage"
        )?;
    }
    out.flush()?;
    if findings == 0 {
        return Ok(());
    }
    let error = anyhow::anyhow!("{findings} places of the journal are damaged");
    Err(Failure::new(SOFTWARE, error).remedy("readers skip them with a notice; the rest is whole"))
}

async fn export(args: Export) -> Result<(), Failure> {
    let log = open(&args.journal.dir)?;
    let filter =
        Filter::parse(&args.types).map_err(|error| Failure::usage(format!("--types: {error}")))?;
    let source = cloudevents::Source::new(log.identity(), log.epoch());
    let bus = Bus::new(log, 0);
    let until = Until::new(args.until, &bus)?;
    if let From::After(cursor) = args.from
        && cursor.epoch != bus.epoch()
    {
        let text = format!(
            "the cursor {cursor} is of another journal; this one's begin with {}",
            bus.epoch()
        );
        return Err(Failure::usage(text));
    }
    let (mut reader, unmet) = bus.reader(args.from).await.context("reading the journal")?;
    if let Some(unmet) = unmet {
        say(&format!("not all of it is there: {unmet:?}"));
    }
    let limit = Limit {
        events: 10_000,
        bytes: 1 << 20,
    };
    let (mut out, mut line) = (stdout(), Vec::new());
    loop {
        let batch = match reader.ready_batch(limit).await {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(ReadError::Skipped(skipped)) => {
                say(&format!(
                    "offsets {} to {} can't be read",
                    skipped.from, skipped.to
                ));
                continue;
            }
            Err(error) => {
                return Err(anyhow::Error::from(error)
                    .context("reading the journal")
                    .into());
            }
        };
        for event in batch.events() {
            if until.is_passed(event) {
                out.flush()?;
                return Ok(());
            }
            let wanted = match event.kind() {
                Kind::Notice => args.notices,
                Kind::Event | Kind::Sighting => filter.passes(event),
            };
            if wanted {
                line.clear();
                cloudevents::structured(event, &source, &mut line);
                line.push(b'\n');
                out.write_all(&line)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Where an export ends.
enum Until {
    End,
    /// This one included.
    Offset(Offset),
    /// Exclusive.
    Time(u64),
}

impl Until {
    fn new(until: Option<From>, bus: &Bus) -> Result<Self, Failure> {
        match until {
            None | Some(From::Now) => Ok(Self::End),
            Some(From::Time(ms)) => Ok(Self::Time(ms)),
            Some(From::After(cursor)) if cursor.epoch == bus.epoch() => {
                Ok(Self::Offset(cursor.offset))
            }
            Some(From::After(cursor)) => Err(Failure::usage(format!(
                "the cursor {cursor} is of another journal"
            ))),
            Some(From::Earliest) => Err(Failure::usage("--until earliest leaves nothing")),
        }
    }

    fn is_passed(&self, event: &Event) -> bool {
        match self {
            Self::End => false,
            Self::Offset(last) => event.offset() > *last,
            Self::Time(ms) => event.received_at_ms() >= *ms,
        }
    }
}

/// Unix milliseconds for people.
fn at(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}
