//! Opening: locks, whose journal it is, what is remembered of committed events, and the thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay_journal::{
    Log, LogOptions, Offset, ReadError, Record, Recovery, StateError, Table, Writer, free_bytes,
};
use tokio::sync::watch;

use super::clock::millis;
use super::keeper::{Keeper, Parts};
use super::lane::Lane;
use super::publish::Publisher;
use super::retention::{Retention, wall_ms};
use super::stage::{self, Stage};
use super::thread::{Committer, Finished, Rhythm};
use super::{Board, CloseError, Core, CoreConfig, Intake, Queue, StopOnDrop};
use crate::admit::Gate;
use crate::cursor::Cursor;
use crate::dead_letters::DeadLetters;
use crate::dedup::{Dedup, SLOTS, Slot};
use crate::event::{Head, Kind};
use crate::notice::{GapLog, Notice, NoticeDraft, NoticeKind, Notices};
use crate::store::StoreThread;
use crate::storm::Storm;
use crate::{Bus, Store};

/// What is read back at once.
const CHUNK: usize = 4 << 20;
/// So much is taken from the reserve to start on a full volume: state, dead letters and gaps.
const ROOM_TO_START: u64 = 4 << 20;
/// Subscriptions that the upstream allows a tenant.
const ALLOWED: usize = 3;

/// Why intake could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the journal open.
    #[error("the journal {dir} is in use by another process{}", pid.map(|pid| format!(" ({pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other process, where that is known.
        pid: Option<u32>,
    },
    /// The journal is another tenant's.
    #[error(
        "the journal {dir} belongs to tenant {found}, not to {expected}: choose another journal.dir"
    )]
    ForeignTenant {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who is configured.
        expected: String,
    },
    /// More subscriptions than the upstream allows, with those that were used a short while ago:
    /// the upstream still counts them.
    #[error(
        "{} subscription ids are configured, and {} were used within upstream.cache_horizon: {}. \
         The upstream allows three: keep an id that was used, or wait until it is forgotten",
        configured.len(), remembered.len(), remembered.join(", ")
    )]
    TooManySubscriptions {
        /// Those of the configuration.
        configured: Vec<String>,
        /// Others that were used within the cache horizon.
        remembered: Vec<String>,
    },
    /// The journal could not be opened.
    #[error("opening the {what}")]
    Log {
        /// Journal, dead letters or list of gaps.
        what: &'static str,
        /// Why.
        #[source]
        source: relay_journal::OpenError,
    },
    /// The state could not be opened.
    #[error("opening the state")]
    State(#[from] StateError),
    /// Something else could not be read or written.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What is open before the thread starts.
struct Opened {
    writer: Writer,
    log: Log,
    recovery: Recovery,
    store: Store,
    store_thread: StoreThread,
    gaps: GapLog,
    dead_letters: DeadLetters,
    reserve: u64,
    /// The volume is full: some of the reserve was needed to start at all.
    short: bool,
}

pub(super) fn open(config: &CoreConfig) -> Result<Core, OpenError> {
    let mut opened = open_files(config)?;
    let mut dedup = Dedup::new(
        config.dedup.horizon,
        config.dedup.memory,
        config.dedup.across,
    );
    let last_listed = opened.gaps.last_id();
    let remembered = remember(&opened.log, config, &mut dedup, last_listed)?;
    opened.gaps.append(remembered.missed);
    let queue = Arc::new(Queue::new());
    let gaps = opened.gaps.list();
    let notices = Notices::new(Arc::clone(&queue), gaps, Arc::clone(&config.metrics));
    for finding in &opened.recovery.damage {
        let (file, byte) = (finding.segment.display(), finding.byte);
        let text = format!(
            "the journal is damaged at {file} byte {byte}: {:?}",
            finding.what
        );
        tracing::error!("{text}");
        notices.raise(NoticeDraft::new(NoticeKind::JournalDamaged, text));
    }
    // Opening the log does not read what is sealed; what is remembered was read now.
    for (from, to) in remembered.damaged {
        let text = format!("the journal is damaged: its records {from} to {to} can't be read");
        tracing::error!("{text}");
        notices.raise(NoticeDraft::new(NoticeKind::JournalDamaged, text));
    }
    start(config, opened, dedup, remembered.last_ms, notices, queue)
}

/// Starts the commit thread over what is open.
fn start(
    config: &CoreConfig,
    opened: Opened,
    dedup: Dedup,
    last_ms: Option<u64>,
    notices: Notices,
    queue: Arc<Queue>,
) -> Result<Core, OpenError> {
    let Opened {
        writer,
        log,
        recovery,
        store,
        store_thread,
        gaps,
        dead_letters,
        reserve,
        short,
    } = opened;
    let bus = Bus::new(log.clone(), config.bus_memory);
    let board = Arc::new(Board::running());
    let (gate, gate_seen) = watch::channel(Gate::Open);
    let (epoch, since_ms) = (log.epoch(), last_ms.unwrap_or(0));
    let stage = Stage::new(config, epoch, dedup, since_ms, &store, notices.clone());
    let mut keeper = Keeper::new(Parts {
        writer,
        log,
        store: store.clone(),
        notices: notices.clone(),
        metrics: Arc::clone(&config.metrics),
        queue: Arc::clone(&queue),
        board: Arc::clone(&board),
        gate,
        dir: config.dir.clone(),
        reserve,
    });
    // On a full disk it starts as it would go on: with the upstream kept away.
    if short {
        keeper.full();
    }
    let stop = StopOnDrop(Arc::clone(&queue));
    let intake = Intake::new(&queue, gate_seen, &board);
    let retention = Retention::new(config.journal, last_ms, &keeper);
    keeper.ages = Some(retention.now_ms());
    let publisher = Publisher {
        keeper,
        bus: bus.clone(),
        dead_letters: dead_letters.clone(),
        gaps,
        queue: Arc::clone(&queue),
        board: Arc::clone(&board),
        traces: config.traces.clone(),
        letters: Vec::new(),
        unkept: Storm::default(),
    };
    let committer = Committer {
        lane: Lane::start(publisher).map_err(not_started)?,
        stage,
        retention,
        queue,
        store: store.clone(),
        board,
        window: config.journal.commit_window,
        rhythm: Rhythm::new(Instant::now()),
        finished: Finished::default(),
    };
    let thread = spawn(committer)?;
    Ok(Core {
        bus,
        intake,
        notices,
        dead_letters,
        store,
        recovery,
        thread,
        store_thread,
        _dropped: stop,
    })
}

fn spawn(committer: Committer) -> Result<JoinHandle<Result<(), CloseError>>, OpenError> {
    let thread = std::thread::Builder::new().name("commit".into());
    thread.spawn(|| committer.run()).map_err(not_started)
}

fn not_started(source: io::Error) -> OpenError {
    let what = "starting the threads that commit";
    OpenError::Io { what, source }
}

fn open_files(config: &CoreConfig) -> Result<Opened, OpenError> {
    let dir = &config.dir;
    let io = |what| move |source| OpenError::Io { what, source };
    fs::create_dir_all(dir).map_err(io("making the journal's directory"))?;
    let space = free_bytes(dir).map_err(io("asking for the free space of the journal's volume"))?;
    let reserve = config.journal.reserve.min(space.total / 10);
    let options = LogOptions {
        segment_bytes: (config.journal.retention_bytes / 8).clamp(1 << 20, 64 << 20),
        segment_age: (config.journal.retention_age / 8).max(Duration::from_mins(10)),
        identity: config.tenant.clone(),
        reserve_bytes: reserve,
    };
    let (mut writer, log, recovery) =
        Log::open(dir, options).map_err(|error| refused(dir, error))?;
    let short = make_room_beside(&mut writer, dir);
    let (store, store_thread) = Store::open(&dir.join("state.redb"))?;
    if !recovery.created && log.last() > Offset(0) && store.is_empty() {
        tracing::error!("the state beside the journal is lost: cursors, pauses and halts of sinks");
        let (epoch, offset) = (log.epoch(), log.last());
        store.was_lost(Cursor { epoch, offset });
    }
    let (epoch, offset) = (log.epoch(), log.first());
    if store.may_have_lost(Cursor { epoch, offset }) {
        store.expect_any();
    }
    check_subscriptions(config, &store)?;
    let other = |what| move |source| OpenError::Log { what, source };
    let gaps = GapLog::open(&dir.join("gaps"), &config.tenant).map_err(other("list of gaps"))?;
    let metrics = Arc::clone(&config.metrics);
    let dead_letters = DeadLetters::open(
        &dir.join("dead-letters"),
        &config.tenant,
        config.dead_letters,
        metrics,
    );
    let dead_letters = dead_letters.map_err(other("dead letters"))?;
    Ok(Opened {
        writer,
        log,
        recovery,
        store,
        store_thread,
        gaps,
        dead_letters,
        reserve,
        short,
    })
}

/// On a full volume, what is opened beside the journal is opened in the reserve.
/// Says whether it is needed.
fn make_room_beside(writer: &mut Writer, dir: &Path) -> bool {
    let is_short = || free_bytes(dir).is_ok_and(|space| space.available < ROOM_TO_START);
    let mut used = false;
    while is_short() && writer.use_reserve().is_ok_and(|freed| freed > 0) {
        used = true;
    }
    used
}

fn refused(dir: &Path, error: relay_journal::OpenError) -> OpenError {
    use relay_journal::OpenError as Refused;
    match error {
        Refused::Locked { pid } => OpenError::Locked {
            dir: dir.to_owned(),
            pid,
        },
        Refused::Identity { found, expected } => OpenError::ForeignTenant {
            dir: dir.to_owned(),
            found,
            expected,
        },
        source @ (Refused::NewerFormat { .. } | Refused::Io { .. }) => OpenError::Log {
            what: "journal",
            source,
        },
    }
}

/// Ids that were used within the cache horizon count: the upstream still knows them.
fn check_subscriptions(config: &CoreConfig, store: &Store) -> Result<(), OpenError> {
    let oldest = wall_ms().saturating_sub(millis(config.cache_horizon));
    let remembered: Vec<_> = store
        .all(Table::SubsIds)
        .into_iter()
        .filter_map(|(key, value)| {
            let id = key.strip_prefix(USED)?;
            let recent = word(&value).is_some_and(|used_ms| used_ms >= oldest);
            let other = config.subs_ids.iter().all(|configured| **configured != *id);
            (recent && other).then(|| id.to_owned())
        })
        .collect();
    if remembered.is_empty() || config.subs_ids.len() + remembered.len() <= ALLOWED {
        return Ok(());
    }
    let configured = config.subs_ids.iter().map(ToString::to_string).collect();
    Err(OpenError::TooManySubscriptions {
        configured,
        remembered,
    })
}

/// What the records of the last horizon say.
#[derive(Default)]
struct Remembered {
    /// Journal time.
    last_ms: Option<u64>,
    /// The notices that a crash kept out of the list of gaps.
    missed: Vec<Notice>,
    /// What could not be read, first and last.
    damaged: Vec<(Offset, Offset)>,
}

/// Rebuilds the memory of ids from the records of the last horizon.
fn remember(
    log: &Log,
    config: &CoreConfig,
    dedup: &mut Dedup,
    last_listed: Option<String>,
) -> Result<Remembered, OpenError> {
    let Some(last_ms) = log.last_time_ms() else {
        return Ok(Remembered::default());
    };
    // Notices of a quiet night are no reason to forget what came before it.
    let newest_ms = newest_event_ms(log)?.unwrap_or(last_ms);
    let listed = last_listed.and_then(|id| id.strip_prefix("notice:")?.parse::<Cursor>().ok());
    let listed = listed
        .filter(|cursor| cursor.epoch == log.epoch())
        .map_or(Offset(0), |cursor| cursor.offset);
    let mut from = log.offset_at(newest_ms.saturating_sub(millis(config.dedup.horizon)));
    let (mut missed, mut damaged) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut count = 0;
    loop {
        let records = read(log, from, CHUNK, |from, to| damaged.push((from, to)))?;
        let Some(last) = records.last() else { break };
        from = last.offset().next();
        count += records.len();
        for record in &records {
            restore(record, config, dedup);
            if record.kind() == Kind::Notice as u8 && record.offset() > listed {
                missed.extend(serde_json::from_slice::<Notice>(record.payload()));
            }
        }
    }
    tracing::info!(records = count, elapsed = ?started.elapsed(), "remembered what was committed");
    Ok(Remembered {
        last_ms: Some(last_ms),
        missed,
        damaged,
    })
}

/// The time of the newest event, looked for from the end.
fn newest_event_ms(log: &Log) -> Result<Option<u64>, OpenError> {
    let (mut end, mut span) = (log.next(), 256);
    while end > log.first() {
        let start = Offset(end.0.saturating_sub(span)).max(log.first());
        let (mut from, mut newest) = (start, None);
        while from < end {
            let records = read(log, from, CHUNK, |_, _| {})?;
            let Some(last) = records.last() else { break };
            from = last.offset().next();
            let events = records
                .iter()
                .filter(|record| record.kind() == Kind::Event as u8);
            newest = events.map(Record::time_ms).last().or(newest);
        }
        if newest.is_some() {
            return Ok(newest);
        }
        (end, span) = (start, span * 4);
    }
    Ok(None)
}

fn restore(record: &Record, config: &CoreConfig, dedup: &mut Dedup) {
    let Some(kind) = Kind::of(record) else { return };
    let Some(head) = Head::decode(record.head()) else {
        return;
    };
    let id = (head.id_hash != 0).then_some(head.id_hash);
    let slot = slot(&config.subs_ids, head.subscription);
    match kind {
        Kind::Notice => {}
        Kind::Event => dedup.restore(id, head.content_hash, slot, record.time_ms()),
        Kind::Sighting if stage::is_level(&head) => dedup.level(slot),
        Kind::Sighting => {
            let counts = stage::read_counts(record.payload(), &config.subs_ids);
            dedup.restore_sighting(id, head.content_hash, slot, counts, record.time_ms());
        }
    }
}

/// A subscription's slot; one that is no longer configured shares the last.
fn slot(names: &[Arc<str>], subscription: &str) -> Slot {
    let index = names
        .iter()
        .position(|known| **known == *subscription)
        .unwrap_or(SLOTS);
    Slot(u8::try_from(index.min(SLOTS - 1)).unwrap_or(0))
}

/// Records from an offset on, past what is `damaged`, first and last; empty at the end.
fn read(
    log: &Log,
    mut from: Offset,
    bytes: usize,
    mut damaged: impl FnMut(Offset, Offset),
) -> Result<Vec<Record>, OpenError> {
    loop {
        match log.read(from, bytes) {
            Ok(records) => return Ok(records),
            Err(ReadError::Trimmed { first: next }) => from = next,
            Err(ReadError::Damaged { next }) => {
                damaged(from, Offset(next.0.saturating_sub(1)));
                from = next;
            }
            Err(ReadError::Io(source)) => {
                return Err(OpenError::Io {
                    what: "reading the journal",
                    source,
                });
            }
        }
    }
}

/// The prefix of the keys under which the upstream's ids are kept, with when they were last used.
const USED: &str = "upstream/";

/// The key of a subscription's last use.
pub(super) fn used_key(subscription: &str) -> String {
    format!("{USED}{subscription}")
}

/// The key of when a subscription was last heard.
pub(super) fn heard_key(subscription: &str) -> String {
    format!("heard/{subscription}")
}

/// When a subscription was last heard, and its last event, as an earlier run saved it.
pub(super) fn heard(store: &Store, subscription: &str) -> (Option<u64>, Option<u64>) {
    let saved = store.get(Table::Facts, &heard_key(subscription));
    let words = saved.and_then(|bytes| {
        let ([heard, event], []) = bytes.as_chunks() else {
            return None;
        };
        Some((u64::from_le_bytes(*heard), u64::from_le_bytes(*event)))
    });
    let some = |ms: u64| (ms > 0).then_some(ms);
    words.map_or((None, None), |(heard, event)| (some(heard), some(event)))
}

fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}
