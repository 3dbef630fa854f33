//! Dead letters: copies of what could not be parsed and of what a sink's peer refused for good, in
//! a bounded log of their own. It knows neither how a document is parsed nor how one is delivered.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use relay_journal::{Log, LogOptions, Offset, OpenError, ReadError, Record, TrimPolicy, Writer};
use serde::{Deserialize, Serialize, Serializer};

use crate::Metrics;
use crate::notice::{Page, timestamp};
use crate::storm::Storm;

mod counts;
mod original;
mod refused;
#[cfg(test)]
mod tests;

use counts::Counts;
pub(crate) use original::Original;
use original::Stored;
pub(crate) use refused::Refused;

/// The record kind of a dead letter in its log.
const LETTER: u8 = 1;
/// The record kind of places whose letters are kept no more: `u64` each, little endian.
const REMOVED: u8 = 2;
const CHUNK: usize = 1 << 20;
/// A page of letters holds no more bytes than this, but one letter at least.
const PAGE_BYTES: usize = 8 << 20;
/// The label of what could not be parsed.
const UPSTREAM: &str = "upstream";

/// What dead letters may take.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetterConfig {
    /// How long they are kept.
    pub retention_age: Duration,
    /// How much of the disk they may take.
    pub retention_bytes: u64,
}

/// Where a dead letter comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It arrived and could not be parsed.
    Upstream,
    /// It was delivered and refused for good.
    Sink,
}

/// A dead letter (PRODUCT section 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place among the dead letters; 0 until it is kept.
    #[serde(skip_deserializing)]
    pub id: u64,
    /// When it was kept; set by [`DeadLetters::put`] to now where it lies in the past of the last.
    pub at: Timestamp,
    /// Where it comes from.
    pub origin: Origin,
    /// The sink that refused it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sink: Option<String>,
    /// The subscription that brought it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subscription: Option<String>,
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_id: Option<String>,
    /// The event's cursor.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cursor: Option<String>,
    /// Why, in words; never holds a secret.
    pub reason: String,
    /// The bytes that are kept.
    #[serde(
        rename = "bytes_base64",
        serialize_with = "in_base64",
        skip_deserializing
    )]
    pub bytes: Bytes,
    /// How many there were.
    pub size: u64,
    /// Whether `bytes` are fewer than that.
    pub truncated: bool,
}

fn in_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

impl DeadLetter {
    /// The letter as it is written: without its bytes, which are the record's payload.
    fn head(&self, at: Timestamp) -> Self {
        let bytes = Bytes::new();
        Self {
            at,
            bytes,
            ..self.clone()
        }
    }

    /// The label of its origin: the sink's name, or `upstream`.
    fn label(&self) -> &str {
        match self.origin {
            Origin::Upstream => UPSTREAM,
            Origin::Sink => self.sink.as_deref().unwrap_or_default(),
        }
    }

    fn read(record: &Record) -> Option<Self> {
        if record.kind() != LETTER {
            return None;
        }
        let head: Self = serde_json::from_slice(record.head()).ok()?;
        // A copy: the record shares its buffer with its whole chunk.
        Some(Self {
            id: record.offset().0,
            bytes: Bytes::copy_from_slice(record.payload()),
            ..head
        })
    }
}

impl Counts {
    /// Takes in what a record of the log says.
    fn take(&mut self, record: &Record) {
        if record.kind() == REMOVED {
            for place in refused::places(record.payload()) {
                self.remove(place);
            }
        } else if let Some(letter) = DeadLetter::read(record) {
            self.add(letter.label(), letter.id);
        }
    }
}

#[derive(Debug)]
struct Kept {
    writer: Option<Writer>,
    counts: Counts,
    last_ms: u64,
    dropping: Storm,
    untrimmed: Storm,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    kept: Mutex<Kept>,
    config: DeadLetterConfig,
    metrics: Arc<Metrics>,
}

/// The dead letters. Cloning gives another handle to the same ones.
#[derive(Clone, Debug)]
pub struct DeadLetters(Arc<Inner>);

impl DeadLetters {
    /// Opens their log, and counts what it holds.
    pub(crate) fn open(
        dir: &Path,
        tenant: &str,
        config: DeadLetterConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let options = LogOptions {
            segment_bytes: (config.retention_bytes / 16).clamp(1 << 20, 16 << 20),
            segment_age: (config.retention_age / 8)
                .max(Duration::from_hours(1).min(config.retention_age)),
            identity: tenant.to_owned(),
            reserve_bytes: 0,
        };
        let (writer, log, _) = Log::open(dir, options)?;
        let mut kept = Kept {
            writer: Some(writer),
            counts: Counts::default(),
            last_ms: 0,
            dropping: Storm::default(),
            untrimmed: Storm::default(),
        };
        let mut from = log.first();
        loop {
            let records = read(&log, from, CHUNK).map_err(|source| OpenError::Io {
                path: dir.to_owned(),
                source,
            })?;
            let Some(last) = records.last() else { break };
            (from, kept.last_ms) = (last.offset().next(), last.time_ms());
            for record in &records {
                kept.counts.take(record);
            }
        }
        let letters = Self(Arc::new(Inner {
            log,
            kept: Mutex::new(kept),
            config,
            metrics,
        }));
        let kept = &letters.0.metrics.dead_letters;
        drop(kept.with_label_values(&[UPSTREAM]));
        letters.show(&letters.lock());
        Ok(letters)
    }

    /// Keeps letters. They are durable when it returns `Ok`, in order, all or none of them.
    ///
    /// # Errors
    /// They could not be written; none of them is kept.
    pub async fn put(&self, letters: Vec<DeadLetter>) -> io::Result<()> {
        let this = self.clone();
        let put = tokio::task::spawn_blocking(move || this.put_blocking(&letters));
        put.await.map_err(io::Error::other)?
    }

    /// As [`DeadLetters::put`], for a thread that may block.
    pub(crate) fn put_blocking(&self, letters: &[DeadLetter]) -> io::Result<()> {
        self.write(letters.iter().map(|letter| (letter, None)))
    }

    fn write<'a>(
        &self,
        letters: impl Iterator<Item = (&'a DeadLetter, Option<Original>)>,
    ) -> io::Result<()> {
        let mut kept = self.lock();
        let mut last_ms = kept.last_ms;
        let writer = kept
            .writer
            .as_mut()
            .ok_or_else(|| io::Error::other("the dead letters are closed"))?;
        let mut group = writer.begin();
        let mut placed = Vec::new();
        for (letter, original) in letters {
            last_ms = last_ms.max(u64::try_from(letter.at.as_millisecond()).unwrap_or(0));
            let stored = Stored {
                letter: letter.head(timestamp(last_ms)),
                original,
            };
            let head = serde_json::to_vec(&stored).map_err(io::Error::other)?;
            let place = group.push(LETTER, last_ms, &head, &letter.bytes);
            placed.push((letter.label(), place.0));
        }
        if placed.is_empty() {
            return Ok(());
        }
        writer.commit(group).map_err(|error| error.into_parts().1)?;
        kept.last_ms = last_ms;
        for (label, place) in placed {
            kept.counts.add(label, place);
        }
        self.trim(&mut kept, None);
        self.show(&kept);
        Ok(())
    }

    /// The letters after a place, oldest first, at most `limit` and some megabytes; of one sink (or
    /// `upstream`) only.
    ///
    /// # Errors
    /// They could not be read.
    pub async fn list(
        &self,
        sink: Option<&str>,
        after: Option<u64>,
        limit: usize,
    ) -> io::Result<Page<DeadLetter>> {
        let (this, sink) = (self.clone(), sink.map(str::to_owned));
        let list =
            tokio::task::spawn_blocking(move || this.list_blocking(sink.as_deref(), after, limit));
        list.await.map_err(io::Error::other)?
    }

    /// How many are kept of a sink, or of `upstream`.
    pub fn count(&self, sink: &str) -> u64 {
        self.lock().counts.get(sink)
    }

    fn list_blocking(
        &self,
        sink: Option<&str>,
        after: Option<u64>,
        limit: usize,
    ) -> io::Result<Page<DeadLetter>> {
        let (mut items, mut bytes): (Vec<DeadLetter>, usize) = (Vec::new(), 0);
        let wanted = |letter: &DeadLetter| sink.is_none_or(|sink| sink == letter.label());
        let cut = self.walk(after, |record| {
            let Some(letter) = DeadLetter::read(record).filter(wanted) else {
                return true;
            };
            let full = items.len() >= limit || bytes + letter.bytes.len() > PAGE_BYTES;
            if full && !items.is_empty() {
                return false;
            }
            bytes += letter.bytes.len();
            items.push(letter);
            true
        })?;
        let next = items.last().map(|letter| letter.id).filter(|_| cut);
        Ok(Page { items, next })
    }

    /// Shows each record of a kept letter after a place, until told to stop; whether it was.
    fn walk(&self, after: Option<u64>, mut more: impl FnMut(&Record) -> bool) -> io::Result<bool> {
        let mut from =
            Offset(after.map_or(0, |after| after.saturating_add(1))).max(self.0.log.first());
        loop {
            let records = read(&self.0.log, from, CHUNK)?;
            let Some(last) = records.last() else {
                return Ok(false);
            };
            from = last.offset().next();
            for record in &records {
                let kept = self.lock().counts.holds(record.offset().0);
                if kept && !more(record) {
                    return Ok(true);
                }
            }
        }
    }

    /// Closes the log; letters can't be kept any more, but listed.
    pub(crate) fn close(&self) {
        let writer = self.lock().writer.take();
        if let Some(Err(error)) = writer.map(Writer::close) {
            tracing::warn!(%error, "closing the dead letters");
        }
    }

    /// Drops what is older than its retention; also when nothing more is kept. `now_ms`: the clock
    /// that retention goes by.
    pub(crate) fn age(&self, now_ms: u64) {
        let mut kept = self.lock();
        if let Some(Err(error)) = kept.writer.as_mut().map(Writer::roll_if_old) {
            tracing::warn!(%error, "the segment of the dead letters could not be closed");
        }
        let age_ms = u64::try_from(self.0.config.retention_age.as_millis()).unwrap_or(u64::MAX);
        self.trim(&mut kept, Some(now_ms.saturating_sub(age_ms)));
        self.show(&kept);
    }

    fn trim(&self, kept: &mut Kept, older_than_ms: Option<u64>) {
        let policy = TrimPolicy {
            passed: Offset(u64::MAX),
            older_than_ms,
            max_bytes: Some(self.0.config.retention_bytes),
        };
        match self.0.log.trim(&policy) {
            Ok(trimmed) if trimmed.segments > 0 => {
                let dropped = kept.counts.trim(trimmed.first.0);
                self.0.metrics.dead_letters_dropped_total.inc_by(dropped);
                if let Some(times) = kept.dropping.strike() {
                    tracing::warn!(
                        dropped,
                        times,
                        "the oldest dead letters were dropped by their retention"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(times) = kept.untrimmed.strike() {
                    tracing::warn!(%error, times, "the dead letters could not be trimmed");
                }
            }
        }
    }

    fn show(&self, kept: &Kept) {
        for (label, count) in kept.counts.all() {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.0
                .metrics
                .dead_letters
                .with_label_values(&[label])
                .set(count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records from a place on, past what is gone or damaged; empty at the end.
fn read(log: &Log, mut from: Offset, bytes: usize) -> io::Result<Vec<Record>> {
    loop {
        match log.read(from, bytes) {
            Ok(records) => return Ok(records),
            Err(ReadError::Trimmed { first: next } | ReadError::Damaged { next }) => from = next,
            Err(ReadError::Io(error)) => return Err(error),
        }
    }
}
