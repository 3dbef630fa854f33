//! What the stage tells: connections, disconnects, holes, verdicts; and what of it survives a
//! restart.

use std::time::{Duration, Instant};

use relay_journal::{Group, Table};

use super::marker::{LEVEL, marker};
use super::{Stage, printable};
use crate::admit::{Connected, Disconnected};
use crate::event::{Head, Kind};
use crate::intake::open::{heard_key, used_key};
use crate::notice::{NoticeDraft, NoticeKind, Verdict as Loss};
use crate::sequence::{Finding, Turn};
use crate::{Cursor, Store};

impl Stage {
    /// A subscription is connected.
    pub(in crate::intake) fn connected(&mut self, event: &Connected, group: &mut Group) {
        let time_ms = self.journal_time(event.at_ms);
        let Some(index) = self.index(&event.subscription) else {
            return;
        };
        let vouched = self.ledgers.is_vouched_for(index);
        let Some(known) = self.subscriptions.get_mut(index) else {
            return;
        };
        let opened = known.continuity.connected(event.at_ms, vouched, self.now);
        let slot = known.slot;
        (known.used_ms, self.heard) = (Some(event.at_ms), true);
        for notice in opened.notices {
            self.tell(notice);
        }
        if opened.afresh && self.dedup.counts_content() {
            self.dedup.level(slot);
            self.head.clear();
            marker(&event.subscription, LEVEL).encode(&mut self.head);
            group.push(Kind::Sighting as u8, time_ms, &self.head, &[]);
        }
    }

    /// A subscription's connection ended.
    pub(in crate::intake) fn disconnected(&mut self, event: &Disconnected) {
        let Some(index) = self.index(&event.subscription) else {
            return;
        };
        let cut = self.ledgers.across_cut(index);
        let Some(known) = self.subscriptions.get_mut(index) else {
            return;
        };
        let notices = known
            .continuity
            .disconnected(event.at_ms, event.reason, &event.detail, cut);
        for notice in notices {
            self.tell(notice);
        }
        self.ledgers.cut(index, self.now);
    }

    /// Says what has become due: holes, verdicts, a memory that is too small.
    pub(in crate::intake) fn settle(&mut self, now: Instant) {
        for finding in self.ledgers.settle(now) {
            self.heard = true;
            self.finding(&finding);
        }
        for index in 0..self.subscriptions.len() {
            let Some(known) = self.subscriptions.get_mut(index) else {
                continue;
            };
            if known.continuity.due().is_none_or(|due| due > now) {
                continue;
            }
            let cut = self.ledgers.across_cut(index);
            let hold = self.ledgers.hold(index);
            let Some(notice) = known.continuity.settle(now, cut, hold) else {
                continue;
            };
            self.tell(notice);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let about = finding.subscriptions.iter();
        let about: Vec<_> = about
            .filter_map(|index| self.subscriptions.get(*index))
            .collect();
        let (Turn::Open(hole) | Turn::Filled(hole)) = finding.turn;
        let draft = match finding.turn {
            Turn::Filled(_) => {
                let mut text = format!("{}, held for missing, came after all", numbers(finding));
                if hole.filled < hole.len() {
                    text = format!("{} of {text}", hole.filled);
                }
                NoticeDraft::new(NoticeKind::SequenceFilled, text)
            }
            Turn::Open(_) if hole.unverified => {
                let were = if hole.len() == 1 { "was" } else { "were" };
                let text = format!(
                    "{} {were} not seen across a restart of the relay; heartbeats take numbers too",
                    numbers(finding)
                );
                NoticeDraft::new(NoticeKind::SequenceUnverified, text).verdict(Loss::Unverified)
            }
            Turn::Open(_) => {
                for known in &about {
                    let label = [&*known.name];
                    let metrics = &self.metrics;
                    metrics.sequence_gaps_total.with_label_values(&label).inc();
                    metrics
                        .sequence_missing_total
                        .with_label_values(&label)
                        .inc_by(hole.len());
                    known.board.as_ref().inspect(|board| board.gap());
                }
                let are = if hole.len() == 1 { "is" } else { "are" };
                let mut text = format!("{} {are} missing", numbers(finding));
                if let [first, rest @ ..] = about.as_slice()
                    && !rest.is_empty()
                {
                    let rest = rest.iter().map(|known| &*known.name);
                    let names = std::iter::once(&*first.name).chain(rest);
                    let names = names.collect::<Vec<_>>().join(", ");
                    text = format!("{text} on every subscription that shares its numbers: {names}");
                }
                NoticeDraft::new(NoticeKind::SequenceGap, text).verdict(Loss::PossibleLoss)
            }
        };
        let some = |ms: u64| (ms > 0).then_some(ms);
        let missing = match finding.turn {
            Turn::Open(_) => hole.len(),
            Turn::Filled(_) => hole.filled,
        };
        let draft = draft
            .missing(missing)
            .between(some(hole.from_ms), some(hole.until_ms));
        // What is missing on all of them is about none of them.
        let draft = match about.as_slice() {
            [one] => draft.subscription(&one.name),
            _ => draft,
        };
        self.tell(draft);
    }

    /// Raises a notice, and logs it: the first of its kind about a subscription, then every power of
    /// two.
    pub(super) fn tell(&mut self, draft: NoticeDraft) {
        let about = (draft.kind, draft.subscription.clone());
        if let Some(times) = self.storms.entry(about).or_default().strike() {
            log(&draft, times);
        }
        self.notices.raise(draft);
    }

    /// When [`Stage::settle`] has something to say.
    pub(in crate::intake) fn due(&self) -> Option<Instant> {
        let verdicts = self
            .subscriptions
            .iter()
            .filter_map(|known| known.continuity.due());
        verdicts
            .chain(self.ledgers.due())
            .chain(self.notices.due())
            .min()
    }

    /// Puts the notices that are ready into the group.
    pub(in crate::intake) fn notices(&mut self, group: &mut Group, wall_ms: u64) {
        for draft in self.notices.take(Instant::now()) {
            let time_ms = self.journal_time(wall_ms);
            let id = format!(
                "notice:{}",
                Cursor {
                    epoch: self.epoch,
                    offset: group.next()
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
            group.push(Kind::Notice as u8, time_ms, &self.head, &body);
            self.placed.push(notice);
        }
    }

    /// Whether [`Stage::save`] has something to save.
    pub(in crate::intake) fn unsaved(&self) -> bool {
        self.heard
    }

    /// Hands to the store what must survive a restart: the last numbers, when each subscription was
    /// last heard; and shows what the memory of ids takes.
    pub(in crate::intake) fn save(&mut self, store: &Store) {
        self.heard = false;
        self.ledgers.save(store);
        for known in &self.subscriptions {
            let (heard_ms, event_ms) = known.continuity.heard();
            if let Some(used_ms) = known.used_ms {
                let used = used_ms.max(heard_ms.unwrap_or(0)).to_le_bytes().to_vec();
                store.set(Table::SubsIds, &used_key(&known.name), used);
            }
            let Some(heard_ms) = heard_ms else { continue };
            let value = [heard_ms, event_ms.unwrap_or(0)]
                .map(u64::to_le_bytes)
                .concat();
            store.set(Table::Facts, &heard_key(&known.name), value);
        }
        let (reach_ms, short) = self.dedup.reach();
        self.metrics
            .dedup_memory_bytes
            .set(i64::try_from(self.dedup.bytes()).unwrap_or(i64::MAX));
        self.metrics
            .dedup_horizon_seconds
            .set(Duration::from_millis(reach_ms).as_secs_f64());
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

/// A notice as a line of the log, at the level of its consequence.
fn log(draft: &NoticeDraft, times: u64) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                subscription = draft.subscription.as_deref(),
                kind = draft.kind.as_str(),
                verdict = draft.verdict.map(Loss::as_str),
                missing = draft.missing,
                times,
                "{}",
                draft.text
            )
        };
    }
    match draft.kind {
        NoticeKind::CertainLoss | NoticeKind::PossibleLoss | NoticeKind::SequenceGap => {
            line!(error);
        }
        NoticeKind::DuplicateConflict | NoticeKind::Clock => line!(warn),
        // The subscription itself says it, with the cause and what it does next.
        NoticeKind::Connected | NoticeKind::Disconnected => line!(debug),
        NoticeKind::Recovered
        | NoticeKind::SequenceFilled
        | NoticeKind::SequenceUnverified
        | NoticeKind::SequenceRestarted
        | NoticeKind::DedupHorizon
        | NoticeKind::Skipped
        | NoticeKind::CursorReset
        | NoticeKind::SinkStopped
        | NoticeKind::DiskFull
        | NoticeKind::DiskRecovered
        | NoticeKind::JournalFailed
        | NoticeKind::JournalDamaged => line!(info),
    }
}

/// Which numbers a finding is about, in words.
fn numbers(finding: &Finding) -> String {
    let (Turn::Open(hole) | Turn::Filled(hole)) = finding.turn;
    let instance = printable(&finding.instance);
    if hole.first == hole.last {
        return format!("number {} of {instance}", hole.first);
    }
    format!("numbers {} to {} of {instance}", hole.first, hole.last)
}
