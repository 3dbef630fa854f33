//! From a document to a record: verdict, sequence, continuity, id, head. It fills commit groups; it
//! knows neither how they are written nor who reads them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use prometheus::IntCounter;
use relay_journal::{Epoch, Group, Offset};
use sapi_protocol::{Document, Framed, Malformed, MalformedReason, MsgInfo, write_event_id};
use xxhash_rust::xxh3::xxh3_64;

use crate::continuity::Continuity;
use crate::dead_letters::{DeadLetter, Origin};
use crate::dedup::{Counts, Dedup, Slot, Verdict};
use crate::event::{Head, Kind};
use crate::intake::clock::MemoryClock;
use crate::intake::queue::GROUP_BYTES;
use crate::intake::{Across, CoreConfig};
use crate::notice::{Notice, NoticeDraft, NoticeKind, Notices, timestamp};
use crate::sequence::{Ledgers, Observed, Shown};
use crate::status::SubscriptionBoard;
use crate::storm::Storm;
use crate::{Cursor, Metrics, Store};

mod marker;
mod report;

use marker::marker;
pub(super) use marker::{is_level, read_counts};

/// One configured subscription.
#[derive(Debug)]
struct Subscription {
    name: Arc<str>,
    slot: Slot,
    continuity: Continuity,
    /// When the upstream last knew it to be used.
    used_ms: Option<u64>,
    board: Option<Arc<SubscriptionBoard>>,
    duplicates: IntCounter,
}

/// The stage. The commit thread owns it.
#[derive(Debug)]
pub(in crate::intake) struct Stage {
    tenant: String,
    epoch: Epoch,
    subscriptions: Vec<Subscription>,
    dedup: Dedup,
    dedup_short: bool,
    ledgers: Ledgers,
    /// Changed since the last save.
    heard: bool,
    notices: Notices,
    metrics: Arc<Metrics>,
    /// When what is being judged was taken: close enough for what waits for seconds.
    pub(in crate::intake) now: Instant,
    /// Journal time: the newest record's.
    last_ms: u64,
    /// Journal time without the leaps of the wall clock.
    memory_clock: MemoryClock,
    /// The last arrival that lay before journal time by far was noticed.
    behind: bool,
    head: Vec<u8>,
    id: String,
    events: u64,
    placed: Vec<Notice>,
    malformed: Vec<DeadLetter>,
    storms: HashMap<(NoticeKind, Option<Arc<str>>), Storm>,
    malformed_storm: Storm,
}

/// Arrival before journal time by more than this is a clock that fell back.
const BEHIND_MS: u64 = 300_000;

impl Stage {
    pub(in crate::intake) fn new(
        config: &CoreConfig,
        epoch: Epoch,
        dedup: Dedup,
        last_ms: u64,
        store: &Store,
        notices: Notices,
    ) -> Self {
        let boards: HashMap<_, _> = config
            .boards
            .iter()
            .map(|board| (board.snapshot().id, Arc::clone(board)))
            .collect();
        let subscription = |(name, slot): (&Arc<str>, u8)| {
            let (heard_ms, event_ms) = super::open::heard(store, name);
            Subscription {
                name: Arc::clone(name),
                slot: Slot(slot),
                continuity: Continuity::new(
                    Arc::clone(name),
                    config.cache_horizon,
                    heard_ms,
                    event_ms,
                ),
                used_ms: None,
                board: boards.get(name).map(Arc::clone),
                duplicates: counted_from_the_start(&config.metrics, name),
            }
        };
        Self {
            tenant: config.tenant.clone(),
            epoch,
            subscriptions: config.subs_ids.iter().zip(0..).map(subscription).collect(),
            dedup,
            dedup_short: false,
            ledgers: Ledgers::restore(
                config.subs_ids.clone(),
                config.dedup.across == Across::MsgInfo,
                store,
            ),
            heard: false,
            notices,
            metrics: Arc::clone(&config.metrics),
            now: Instant::now(),
            last_ms,
            memory_clock: MemoryClock::new(last_ms, Instant::now()),
            behind: false,
            head: Vec::new(),
            id: String::new(),
            events: 0,
            placed: Vec::new(),
            malformed: Vec::new(),
            storms: HashMap::new(),
            malformed_storm: Storm::default(),
        }
    }

    /// The index of a subscription, `None` for one that is not configured.
    pub(in crate::intake) fn index(&self, subscription: &str) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|known| *known.name == *subscription)
    }

    /// Makes room in a group for documents that are about to be staged.
    pub(in crate::intake) fn make_room(&self, group: &mut Group, documents: &[Framed]) {
        let heads = documents.len() * self.head.len();
        let bytes: usize = documents
            .iter()
            .map(|framed| match framed {
                Framed::Document(document) => document.bytes().len(),
                Framed::Malformed(_) => 0,
            })
            .sum();
        group.reserve(documents.len(), (heads + bytes).min(GROUP_BYTES));
    }

    /// A document arrived; it becomes the group's next record, or none.
    pub(in crate::intake) fn document(
        &mut self,
        subscription: Option<usize>,
        document: &Document,
        at_ms: u64,
        group: &mut Group,
    ) {
        fetch(document.bytes());
        let info = document.msg_info();
        let labels = document.labels();
        let heartbeat = labels.is_heartbeat();
        if let Some(index) = subscription {
            self.observe(index, document, &info, heartbeat, at_ms);
        }
        if heartbeat {
            return;
        }
        let time_ms = self.journal_time(at_ms);
        let known = subscription.and_then(|index| self.subscriptions.get(index));
        let name = known.map_or_else(|| Arc::from(""), |known| Arc::clone(&known.name));
        let slot = known.map_or(Slot::OTHERS, |known| known.slot);
        let content = document.content_hash();
        self.id.clear();
        let complete = write_event_id(&mut self.id, &self.tenant, &info);
        let id_hash = complete.then(|| id_hash(&self.id));
        let memory_ms = self.memory_clock.at(time_ms, self.now);
        let verdict = self.dedup.admit(id_hash, content, slot, memory_ms);
        if matches!(verdict, Verdict::Duplicate | Verdict::Sighted(_)) {
            known.inspect(|known| known.duplicates.inc());
            if let Verdict::Sighted(counts) = verdict {
                self.sighting(&name, id_hash, content, counts, time_ms, group);
            }
            return;
        }
        let next = group.next();
        self.identify(complete, verdict, content, &name, next);
        let head = Head {
            format: document.format(),
            id_hash: id_hash.unwrap_or(0),
            content_hash: content,
            sequence: info.sequence,
            timestamp: info.timestamp,
            id: &self.id,
            subscription: &name,
            class: &labels.class,
            event_type: &labels.event_type,
            key: &labels.key,
            media: &labels.media,
            instance: info.instance.as_deref().unwrap_or_default(),
        };
        self.head.clear();
        head.encode(&mut self.head);
        let placed = group.push(Kind::Event as u8, time_ms, &self.head, document.bytes());
        debug_assert_eq!(placed, next, "the id of an event may hold its cursor");
        self.events += 1;
    }

    /// What a document says of the numbering and of the connection, a heartbeat as well.
    fn observe(
        &mut self,
        index: usize,
        document: &Document,
        info: &MsgInfo<'_>,
        heartbeat: bool,
        at_ms: u64,
    ) {
        let now = self.now;
        let numbered = info.instance.as_deref().zip(info.sequence);
        let observed = numbered.and_then(|(instance, sequence)| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "half of the hash is plenty"
            )]
            let content = document.content_hash() as u64;
            let shown = Shown {
                sequence,
                timestamp: info.timestamp,
                heartbeat,
                content,
            };
            self.ledgers.observe(index, instance, shown, at_ms, now)
        });
        self.heard = true;
        let Some(known) = self.subscriptions.get_mut(index) else {
            return;
        };
        known.continuity.document(at_ms, !heartbeat, observed, now);
        if observed == Some(Observed::Restarted) {
            let instance = printable(info.instance.as_deref().unwrap_or_default());
            let text = format!("the numbering of {instance} began anew: no loss by itself");
            let draft = NoticeDraft::new(NoticeKind::SequenceRestarted, text);
            let draft = draft.subscription(&known.name);
            self.tell(draft.between(info.timestamp, None));
        }
    }

    /// Makes what stands in the buffer the event's id (PRODUCT section 4). `complete`: it is the id
    /// that msgInfo gives, else it is empty.
    fn identify(
        &mut self,
        complete: bool,
        verdict: Verdict,
        content: u128,
        name: &Arc<str>,
        next: Offset,
    ) {
        match (complete, verdict) {
            (true, Verdict::New) => {}
            (true, Verdict::Conflict) => {
                let known = self.id.len();
                // Writing to a text can't fail, here and below.
                write!(self.id, ":{:016x}", content >> 64).ok();
                let id = self.id.get(..known).unwrap_or_default();
                let text = format!("{id} came with other content: delivered as {}", self.id);
                let draft = NoticeDraft::new(NoticeKind::DuplicateConflict, printable(&text));
                self.tell(draft.subscription(name));
            }
            (complete, _) => {
                if !complete {
                    self.metrics
                        .events_without_id_total
                        .with_label_values(&[&**name])
                        .inc();
                }
                let cursor = Cursor {
                    epoch: self.epoch,
                    offset: next,
                };
                self.id.clear();
                write!(self.id, "{}:@{cursor}", self.tenant).ok();
            }
        }
    }

    /// Something arrived that is no document: a dead letter.
    pub(in crate::intake) fn malformed(
        &mut self,
        subscription: &str,
        malformed: Malformed,
        at_ms: u64,
    ) {
        let reason = malformed.reason.as_str();
        self.metrics
            .malformed_total
            .with_label_values(&[subscription, reason])
            .inc();
        if let Some(times) = self.malformed_storm.strike() {
            let size = malformed.size;
            tracing::warn!(
                subscription,
                reason,
                size,
                times,
                "a document could not be parsed: its bytes are kept with the dead letters"
            );
        }
        self.malformed.push(DeadLetter {
            id: 0,
            at: timestamp(at_ms),
            origin: Origin::Upstream,
            sink: None,
            subscription: Some(subscription.to_owned()),
            event_id: None,
            cursor: None,
            reason: reason.to_owned(),
            bytes: malformed.bytes,
            size: malformed.size,
            truncated: malformed.truncated,
        });
    }

    /// A suppressed sighting becomes a record as well, so that the counts survive a restart.
    fn sighting(
        &mut self,
        subscription: &str,
        id_hash: Option<u64>,
        content: u128,
        counts: Counts,
        time_ms: u64,
        group: &mut Group,
    ) {
        self.head.clear();
        let marker = marker(subscription, "sighting");
        Head {
            id_hash: id_hash.unwrap_or(0),
            content_hash: content,
            ..marker
        }
        .encode(&mut self.head);
        let names = self.subscriptions.iter().map(|known| &*known.name);
        let payload = marker::write_counts(names, counts);
        group.push(
            Kind::Sighting as u8,
            time_ms,
            &self.head,
            payload.as_bytes(),
        );
    }

    /// Journal time of something that arrived: never before what is in the journal.
    fn journal_time(&mut self, at_ms: u64) -> u64 {
        let behind = at_ms.saturating_add(BEHIND_MS) < self.last_ms;
        if behind && !self.behind {
            let text = "the wall clock stands before the journal's newest record: journal time stands still until it has caught up";
            let draft = NoticeDraft::new(NoticeKind::Clock, text);
            self.tell(draft.between(Some(at_ms), Some(self.last_ms)));
        }
        self.behind = behind;
        self.last_ms = self.last_ms.max(at_ms);
        self.last_ms
    }

    /// What was pushed since the last call: the number of events.
    pub(in crate::intake) fn take_events(&mut self) -> u64 {
        std::mem::take(&mut self.events)
    }

    /// Notices that were pushed since the last call.
    pub(in crate::intake) fn take_placed(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.placed)
    }

    /// What could not be parsed since the last call.
    pub(in crate::intake) fn take_malformed(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.malformed)
    }
}

/// Makes the counters of a subscription, so that the first of each shows as an increase; returns that
/// of the duplicates.
fn counted_from_the_start(metrics: &Metrics, subscription: &str) -> IntCounter {
    let label = &[subscription];
    drop(metrics.events_without_id_total.with_label_values(label));
    drop(metrics.sequence_gaps_total.with_label_values(label));
    drop(metrics.sequence_missing_total.with_label_values(label));
    for reason in MalformedReason::ALL {
        let labels = &[subscription, reason.as_str()];
        drop(metrics.malformed_total.with_label_values(labels));
    }
    metrics.duplicates_total.with_label_values(label)
}

/// What a processor fetches at once.
const LINE: usize = 64;
/// Documents are fetched up to here; beyond it their copy runs ahead of itself.
const FETCHED: usize = 4096;

/// Fetches a document's bytes all together. They lie in another processor's cache, or in memory: looked
/// at one field after the other, each would be waited for by itself.
fn fetch(bytes: &[u8]) {
    let lines = bytes.iter().take(FETCHED).step_by(LINE);
    std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
}

/// The hash of an id; never 0, which stands for "no id".
fn id_hash(id: &str) -> u64 {
    xxh3_64(id.as_bytes()).max(1)
}

/// A text from outside, fit for a line of a log.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(512).collect()
}
