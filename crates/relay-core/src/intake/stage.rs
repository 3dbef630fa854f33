//! From a document to a record: verdict, sequence, continuity, id, head. It fills commit groups; it
//! knows neither how they are written nor who reads them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use prometheus::IntCounter;
use relay_journal::{Epoch, Group, Offset, Table};
use sapi_protocol::{Document, Format, Malformed, event_id};
use xxhash_rust::xxh3::xxh3_64;

use crate::admit::{Connected, Disconnected};
use crate::continuity::Continuity;
use crate::dead_letters::{DeadLetter, Origin};
use crate::dedup::{Counts, Dedup, SLOTS, Slot, Verdict};
use crate::event::{Head, Kind};
use crate::intake::CoreConfig;
use crate::intake::clock::millis;
use crate::notice::{Notice, NoticeDraft, NoticeKind, Notices, Verdict as Loss, timestamp};
use crate::sequence::{Finding, Ledgers, Turn};
use crate::status::SubscriptionBoard;
use crate::{Cursor, Metrics, Store};

/// The class of a marker: the subscription starts level with the others.
const LEVEL: &str = "level";

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
pub(super) struct Stage {
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
    /// Journal time: the newest record's.
    last_ms: u64,
    /// The last arrival that lay before journal time by far was noticed.
    behind: bool,
    head: Vec<u8>,
    id: String,
    events: u64,
    placed: Vec<Notice>,
    malformed: Vec<DeadLetter>,
}

/// Arrival before journal time by more than this is a clock that fell back.
const BEHIND_MS: u64 = 300_000;

impl Stage {
    pub(super) fn new(
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
                duplicates: config
                    .metrics
                    .duplicates_total
                    .with_label_values(&[&**name]),
            }
        };
        Self {
            tenant: config.tenant.clone(),
            epoch,
            subscriptions: config.subs_ids.iter().zip(0..).map(subscription).collect(),
            dedup,
            dedup_short: false,
            ledgers: Ledgers::restore(config.subs_ids.clone(), store),
            heard: false,
            notices,
            metrics: Arc::clone(&config.metrics),
            last_ms,
            behind: false,
            head: Vec::new(),
            id: String::new(),
            events: 0,
            placed: Vec::new(),
            malformed: Vec::new(),
        }
    }

    /// The index of a subscription, `None` for one that is not configured.
    pub(super) fn index(&self, subscription: &str) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|known| *known.name == *subscription)
    }

    /// A document arrived; it becomes a record at `next`, or none.
    pub(super) fn document(
        &mut self,
        subscription: Option<usize>,
        document: &Document,
        at_ms: u64,
        group: &mut Group,
        next: Offset,
    ) {
        let heartbeat = document.is_heartbeat();
        let info = document.msg_info();
        if let Some(index) = subscription {
            let observed =
                info.instance
                    .as_deref()
                    .zip(info.sequence)
                    .and_then(|(instance, sequence)| {
                        self.ledgers.observe(
                            index,
                            instance,
                            sequence,
                            info.timestamp,
                            at_ms,
                            Instant::now(),
                        )
                    });
            self.heard = true;
            if let Some(known) = self.subscriptions.get_mut(index) {
                known
                    .continuity
                    .document(at_ms, !heartbeat, observed, Instant::now());
            }
        }
        if heartbeat {
            return;
        }
        let time_ms = self.journal_time(at_ms);
        let known = subscription.and_then(|index| self.subscriptions.get(index));
        #[expect(clippy::cast_possible_truncation, reason = "four")]
        let slot = known.map_or(Slot(SLOTS as u8 - 1), |known| known.slot);
        let name = known.map_or_else(|| Arc::from(""), |known| Arc::clone(&known.name));
        let content = document.content_hash();
        let id = event_id(&self.tenant, &info);
        let id_hash = id.as_deref().map(id_hash);
        let verdict = self.dedup.admit(id_hash, content, slot, time_ms);
        let own = |id: &mut String, tenant: &str, epoch| {
            // Writing to a text can't fail.
            write!(
                id,
                "{tenant}:@{}",
                Cursor {
                    epoch,
                    offset: next
                }
            )
            .ok();
        };
        self.id.clear();
        match (&verdict, id) {
            (Verdict::Duplicate, _) => {
                known.inspect(|known| known.duplicates.inc());
                return;
            }
            (Verdict::Sighted(counts), _) => {
                known.inspect(|known| known.duplicates.inc());
                return self.sighting(&name, id_hash, content, *counts, time_ms, group);
            }
            (Verdict::Conflict, Some(id)) => {
                write!(self.id, "{id}:{:016x}", content >> 64).ok();
                let text = format!("{id} came with other content: delivered as {}", self.id);
                self.notices.raise(
                    NoticeDraft::new(NoticeKind::DuplicateConflict, text).subscription(&name),
                );
            }
            (Verdict::New, Some(id)) => self.id.push_str(&id),
            (Verdict::New | Verdict::Conflict | Verdict::Again, _) => {
                own(&mut self.id, &self.tenant, self.epoch)
            }
        }
        self.head.clear();
        let head = Head {
            format: document.format(),
            id_hash: id_hash.unwrap_or(0),
            content_hash: content,
            sequence: info.sequence,
            timestamp: info.timestamp,
            id: &self.id,
            subscription: &name,
            class: &document.class(),
            event_type: &document.event_type(),
            key: &document.key(),
            media: &document.media(),
            instance: info.instance.as_deref().unwrap_or_default(),
        };
        head.encode(&mut self.head);
        let placed = group.push(Kind::Event as u8, time_ms, &self.head, document.bytes());
        debug_assert_eq!(placed, next, "the id of an event may hold its cursor");
        self.events += 1;
    }

    /// Something arrived that is no document: a dead letter.
    pub(super) fn malformed(&mut self, subscription: &str, malformed: Malformed, at_ms: u64) {
        let reason = malformed.reason.as_str();
        self.metrics
            .malformed_total
            .with_label_values(&[subscription, reason])
            .inc();
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

    /// A subscription is connected.
    pub(super) fn connected(&mut self, event: &Connected, group: &mut Group) {
        let time_ms = self.journal_time(event.at_ms);
        let Some(known) = self
            .index(&event.subscription)
            .and_then(|at| self.subscriptions.get_mut(at))
        else {
            return;
        };
        let opened = known.continuity.connected(event.at_ms);
        let slot = known.slot;
        (known.used_ms, self.heard) = (Some(event.at_ms), true);
        tracing::info!(subscription = %event.subscription, afresh = opened.afresh, "connected");
        for notice in opened.notices {
            self.notices.raise(notice);
        }
        if opened.afresh && self.dedup.counts_content() {
            self.dedup.level(slot);
            self.head.clear();
            marker(&event.subscription, LEVEL).encode(&mut self.head);
            group.push(Kind::Sighting as u8, time_ms, &self.head, &[]);
        }
    }

    /// A subscription's connection ended.
    pub(super) fn disconnected(&mut self, event: &Disconnected) {
        let Some(index) = self.index(&event.subscription) else {
            return;
        };
        let missing = self.ledgers.missing_across_cut(index);
        let Some(known) = self.subscriptions.get_mut(index) else {
            return;
        };
        let notices =
            known
                .continuity
                .disconnected(event.at_ms, event.reason, &event.detail, missing);
        tracing::info!(
            subscription = %event.subscription, reason = event.reason.as_str(), detail = event.detail, "disconnected"
        );
        for notice in notices {
            self.notices.raise(notice);
        }
        self.ledgers.cut(index);
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
        let names = self
            .subscriptions
            .iter()
            .map(|known| &*known.name)
            .chain([""]);
        let mut payload = String::new();
        for (name, count) in names.zip(counts.0) {
            writeln!(payload, "{name}={count}").ok();
        }
        group.push(
            Kind::Sighting as u8,
            time_ms,
            &self.head,
            payload.as_bytes(),
        );
    }

    /// Says what has become due: holes, verdicts, a memory that is too small.
    pub(super) fn settle(&mut self, now: Instant) {
        for finding in self.ledgers.settle(now) {
            self.finding(&finding);
        }
        for index in 0..self.subscriptions.len() {
            let missing = self.ledgers.missing_across_cut(index);
            let Some(known) = self.subscriptions.get_mut(index) else {
                continue;
            };
            let Some(notice) = known.continuity.settle(now, missing) else {
                continue;
            };
            tracing::info!(
                subscription = %known.name, verdict = notice.verdict.map(Loss::as_str), missing, "{}", notice.text
            );
            self.notices.raise(notice);
        }
    }

    fn finding(&self, finding: &Finding) {
        let Some(known) = self.subscriptions.get(finding.subscription) else {
            return;
        };
        let (hole, kind) = match finding.turn {
            Turn::Filled(hole) => (hole, NoticeKind::SequenceFilled),
            Turn::Open(hole) if hole.unverified => (hole, NoticeKind::SequenceUnverified),
            Turn::Open(hole) => (hole, NoticeKind::SequenceGap),
        };
        let (first, last) = (hole.first, hole.last);
        let instance: String = finding
            .instance
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        let numbers = if first == last {
            format!("number {first}")
        } else {
            format!("numbers {first} to {last}")
        };
        let (text, verdict) = match kind {
            NoticeKind::SequenceFilled => (
                format!("{numbers} of {instance}, held for missing, came after all"),
                None,
            ),
            NoticeKind::SequenceUnverified => (
                format!(
                    "{numbers} of {instance} were not seen across a restart of the relay; heartbeats take numbers too"
                ),
                Some(Loss::Unverified),
            ),
            kind => {
                debug_assert_eq!(kind, NoticeKind::SequenceGap, "the only other one");
                let label = [&*known.name];
                self.metrics
                    .sequence_gaps_total
                    .with_label_values(&label)
                    .inc();
                self.metrics
                    .sequence_missing_total
                    .with_label_values(&label)
                    .inc_by(hole.len());
                known.board.as_ref().inspect(|board| board.gap());
                tracing::warn!(subscription = %known.name, instance, first, last, "a hole in the numbering stayed open");
                (
                    format!("{numbers} of {instance} are missing"),
                    Some(Loss::PossibleLoss),
                )
            }
        };
        let some = |ms: u64| (ms > 0).then_some(ms);
        let draft = NoticeDraft::new(kind, text)
            .subscription(&known.name)
            .missing(hole.len());
        let draft = draft.between(some(hole.from_ms), some(hole.until_ms));
        self.notices.raise(NoticeDraft { verdict, ..draft });
    }

    /// When [`Stage::settle`] has something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        let verdicts = self
            .subscriptions
            .iter()
            .filter_map(|known| known.continuity.due());
        verdicts
            .chain(self.ledgers.due())
            .chain(self.notices.due())
            .min()
    }

    /// Puts the notices that are ready into the group; `next` is the group's next offset.
    pub(super) fn notices(&mut self, group: &mut Group, mut next: Offset, wall_ms: u64) {
        for draft in self.notices.take(Instant::now()) {
            let time_ms = self.journal_time(wall_ms);
            let id = format!(
                "notice:{}",
                Cursor {
                    epoch: self.epoch,
                    offset: next
                }
            );
            let notice = draft.place(id, time_ms);
            let body = serde_json::to_vec(&notice).unwrap_or_default();
            self.head.clear();
            let about = notice.subscription.as_deref().unwrap_or_default();
            let key = notice
                .subscription
                .as_deref()
                .or(notice.sink.as_deref())
                .unwrap_or(notice.kind.as_str());
            let head = Head {
                id: &notice.id,
                event_type: notice.kind.as_str(),
                key,
                ..marker(about, "notice")
            };
            head.encode(&mut self.head);
            next = group
                .push(Kind::Notice as u8, time_ms, &self.head, &body)
                .next();
            self.placed.push(notice);
        }
    }

    /// Journal time of something that arrived: never before what is in the journal.
    fn journal_time(&mut self, at_ms: u64) -> u64 {
        let behind = at_ms.saturating_add(BEHIND_MS) < self.last_ms;
        if behind && !self.behind {
            let text = "the wall clock stands before the journal's newest record: journal time stands still until it has caught up";
            self.notices.raise(
                NoticeDraft::new(NoticeKind::Clock, text).between(Some(at_ms), Some(self.last_ms)),
            );
        }
        self.behind = behind;
        self.last_ms = self.last_ms.max(at_ms);
        self.last_ms
    }

    /// What was pushed since the last call: the number of events.
    pub(super) fn take_events(&mut self) -> u64 {
        std::mem::take(&mut self.events)
    }

    /// Notices that were pushed since the last call.
    pub(super) fn take_placed(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.placed)
    }

    /// What could not be parsed since the last call.
    pub(super) fn take_malformed(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.malformed)
    }

    /// Whether [`Stage::save`] has something to save.
    pub(super) fn unsaved(&self) -> bool {
        self.heard
    }

    /// Hands to the store what must survive a restart: the last numbers, when each subscription was
    /// last heard; and shows what the memory of ids takes.
    pub(super) fn save(&mut self, store: &Store) {
        self.heard = false;
        self.ledgers.save(store);
        for known in &self.subscriptions {
            let (heard_ms, event_ms) = known.continuity.heard();
            if let Some(used_ms) = known.used_ms {
                let used = used_ms.max(heard_ms.unwrap_or(0)).to_le_bytes().to_vec();
                store.set(Table::SubsIds, &super::open::used_key(&known.name), used);
            }
            let Some(heard_ms) = heard_ms else { continue };
            let value = [heard_ms, event_ms.unwrap_or(0)]
                .map(u64::to_le_bytes)
                .concat();
            store.set(Table::Facts, &super::open::heard_key(&known.name), value);
        }
        let (reach_ms, short) = self.dedup.reach();
        self.metrics
            .dedup_memory_bytes
            .set(i64::try_from(self.dedup.bytes()).unwrap_or(i64::MAX));
        self.metrics
            .dedup_horizon_seconds
            .set(std::time::Duration::from_millis(reach_ms).as_secs_f64());
        if short && !self.dedup_short {
            let text = format!(
                "the memory of ids holds {} s, less than its horizon: raise dedup.memory",
                reach_ms / 1000
            );
            tracing::warn!("{text}");
            self.notices
                .raise(NoticeDraft::new(NoticeKind::DedupHorizon, text));
        }
        self.dedup_short = short;
    }
}

/// The hash of an id; never 0, which stands for "no id".
fn id_hash(id: &str) -> u64 {
    xxh3_64(id.as_bytes()).max(1)
}

/// The head of a record that is no event.
fn marker<'a>(subscription: &'a str, class: &'a str) -> Head<'a> {
    Head {
        format: Format::Json,
        id_hash: 0,
        content_hash: 0,
        sequence: None,
        timestamp: None,
        id: "",
        subscription,
        class,
        event_type: "",
        key: "",
        media: "",
        instance: "",
    }
}

/// What a sighting's record says of the counts.
pub(super) fn read_counts(payload: &[u8], names: &[Arc<str>]) -> Counts {
    let mut counts = Counts::default();
    for line in str::from_utf8(payload).unwrap_or_default().lines() {
        let Some((name, count)) = line.rsplit_once('=') else {
            continue;
        };
        let index = names
            .iter()
            .position(|known| **known == *name)
            .unwrap_or(SLOTS - 1);
        let count = count.parse().unwrap_or(0);
        if let Some(known) = counts.0.get_mut(index) {
            *known = count.max(*known);
        }
    }
    counts
}

/// The class of a record that says: the subscription starts level.
pub(super) fn is_level(head: &Head<'_>) -> bool {
    head.class == LEVEL
}

/// Milliseconds of a horizon, for reading back.
pub(super) fn horizon_ms(config: &CoreConfig) -> u64 {
    millis(config.dedup.horizon)
}
