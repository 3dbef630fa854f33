//! What keeps hostile input from filling the journal with notices: a bucket per kind and subject,
//! beyond which notices are merged into one. Pure: it is told the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{NoticeDraft, NoticeKind};

/// How many notices of one kind about one thing are journaled at once.
pub(super) const BURST: u32 = 64;
/// Beyond that, one is journaled in so long.
pub(super) const REFILL: Duration = Duration::from_secs(1);
/// Subjects that are told apart; beyond them, all share a bucket a kind.
const SUBJECTS: usize = 1024;

type Subject = (NoticeKind, Option<Arc<str>>, Option<Arc<str>>);

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled_at: Instant,
    held: Option<(NoticeDraft, u64)>,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled_at);
        let refills = u32::try_from(passed.as_millis() / REFILL.as_millis())
            .unwrap_or(BURST)
            .min(BURST);
        if self.tokens + refills >= BURST {
            (self.tokens, self.refilled_at) = (BURST, now);
        } else {
            self.tokens += refills;
            self.refilled_at += REFILL * refills;
        }
    }

    fn token(&mut self) -> bool {
        let any = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        any
    }
}

#[derive(Debug, Default)]
pub(super) struct Limiter {
    ready: Vec<NoticeDraft>,
    buckets: HashMap<Subject, Bucket>,
}

impl Limiter {
    /// Takes a notice in: for at once, or merged with its like.
    pub(super) fn offer(&mut self, draft: NoticeDraft, now: Instant) {
        let mut subject = (draft.kind, draft.subscription.clone(), draft.sink.clone());
        if self.buckets.len() >= SUBJECTS && !self.buckets.contains_key(&subject) {
            subject = (draft.kind, None, None);
        }
        let full = || Bucket {
            tokens: BURST,
            refilled_at: now,
            held: None,
        };
        let bucket = self.buckets.entry(subject).or_insert_with(full);
        bucket.refill(now);
        if bucket.held.is_none() && bucket.token() {
            self.ready.push(draft);
        } else {
            bucket.held = Some(match bucket.held.take() {
                None => (draft, 0),
                Some((held, merged)) => (merge(&held, draft), merged + 1),
            });
        }
    }

    /// What may be journaled by now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<NoticeDraft> {
        let mut ready = std::mem::take(&mut self.ready);
        for bucket in self
            .buckets
            .values_mut()
            .filter(|bucket| bucket.held.is_some())
        {
            bucket.refill(now);
            if bucket.token() {
                ready.extend(bucket.held.take().map(|(held, merged)| spell(held, merged)));
            }
        }
        ready
    }

    /// When [`Limiter::take`] has something to give.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.buckets.values().filter(|bucket| bucket.held.is_some());
        held.map(|bucket| bucket.refilled_at + REFILL).min()
    }
}

/// One notice for two: the span of both, the sum of what is missing, the later words.
fn merge(held: &NoticeDraft, newer: NoticeDraft) -> NoticeDraft {
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
    let first = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    NoticeDraft {
        from: first(held.from, newer.from),
        until: held.until.max(newer.until),
        missing: sum(held.missing, newer.missing),
        ..newer
    }
}

fn spell(mut held: NoticeDraft, merged: u64) -> NoticeDraft {
    if merged > 0 {
        held.text = format!("{} (and {merged} more of this kind)", held.text);
    }
    held
}
