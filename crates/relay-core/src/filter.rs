//! Type globs (PRODUCT section 3): which events a consumer wants. It looks at class and type alone,
//! and does not know what a notice is: whether those are wanted is the consumer's own question.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use xxhash_rust::xxh3::Xxh3;

use crate::Event;

mod glob;
#[cfg(test)]
mod tests;

use glob::Glob;

/// More globs than this are a mistake, or an attack.
const MAX_GLOBS: usize = 256;
/// Verdicts remembered; more types than that only cost time.
const SLOTS: usize = 256;

/// Which events pass. Cloning gives another handle to the same filter and to what it remembers.
#[derive(Clone, Debug)]
pub struct Filter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// An event passes if it passes each of them.
    sets: Vec<Globs>,
    seed: u64,
    /// A hash of (class, type) in the upper 63 bits, the verdict in the lowest; 0 is empty. The hash
    /// is seeded, so that nobody can make one type pass for another, and 63 bits hold chance off.
    verdicts: Box<[AtomicU64]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Globs {
    wanted: Vec<Glob>,
    unwanted: Vec<Glob>,
}

impl Globs {
    fn pass(&self, event_type: &str, path: &str) -> bool {
        let met = |glob: &Glob| glob.matches(if glob.has_class() { path } else { event_type });
        (self.wanted.is_empty() || self.wanted.iter().any(met)) && !self.unwanted.iter().any(met)
    }
}

/// A glob that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing to match.
    #[error("type glob {0:?} is empty: write a type such as AgentStatusChange, or * for all")]
    Empty(String),
    /// A list in one text.
    #[error("type glob {0:?} holds a comma: write one glob for each type")]
    Comma(String),
    /// Longer than any type.
    #[error("type glob {0:?}... is longer than {max} characters", max = glob::MAX_LENGTH)]
    TooLong(String),
    /// Too many of them.
    #[error("{0} type globs: at most {MAX_GLOBS} are allowed")]
    TooMany(usize),
}

impl Default for Filter {
    /// Everything passes.
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Filter {
    /// A filter of globs. An event passes if some positive glob matches, or none is given, and no
    /// glob that begins with `!` does.
    ///
    /// # Errors
    /// The first glob that can't be used, by name.
    pub fn parse<S: AsRef<str>>(globs: &[S]) -> Result<Self, FilterError> {
        if globs.len() > MAX_GLOBS {
            return Err(FilterError::TooMany(globs.len()));
        }
        let mut set = Globs::default();
        for text in globs {
            let text = text.as_ref().trim();
            match text.strip_prefix('!') {
                Some(unwanted) => set.unwanted.push(Glob::parse(unwanted, text)?),
                None => set.wanted.push(Glob::parse(text, text)?),
            }
        }
        Ok(Self::of(vec![set]))
    }

    /// The same, of globs separated by commas; an empty text lets everything pass.
    ///
    /// # Errors
    /// As [`Filter::parse`].
    pub fn parse_list(text: &str) -> Result<Self, FilterError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::parse(&text.split(',').collect::<Vec<_>>())
    }

    /// What passes both filters: an allow-list and a wish.
    pub fn and(&self, other: &Self) -> Self {
        let sets = self.0.sets.iter().chain(&other.0.sets);
        Self::of(sets.cloned().collect())
    }

    fn of(sets: Vec<Globs>) -> Self {
        let mut distinct: Vec<Globs> = Vec::new();
        for set in sets {
            if set != Globs::default() && !distinct.contains(&set) {
                distinct.push(set);
            }
        }
        let slots = if distinct.is_empty() { 0 } else { SLOTS };
        Self(Arc::new(Inner {
            sets: distinct,
            seed: RandomState::new().hash_one(0),
            verdicts: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    /// Whether everything passes.
    pub fn is_open(&self) -> bool {
        self.0.sets.is_empty()
    }

    /// Whether an event passes. Some tens of nanoseconds, whatever the globs.
    pub fn passes(&self, event: &Event) -> bool {
        if self.is_open() {
            return true;
        }
        let head = event.head();
        self.matches(head.class, head.event_type)
    }

    /// Whether events of a class and type pass.
    pub fn matches(&self, class: &str, event_type: &str) -> bool {
        let mut hasher = Xxh3::with_seed(self.0.seed);
        hasher.update(class.as_bytes());
        hasher.update(&[0]);
        hasher.update(event_type.as_bytes());
        let hash = hasher.digest() | 1;
        let slot = usize::try_from(hash >> 32).unwrap_or(0) % SLOTS;
        let Some(slot) = self.0.verdicts.get(slot) else {
            return true;
        };
        let remembered = slot.load(Relaxed);
        if remembered | 1 == hash {
            return remembered & 1 == 1;
        }
        let verdict = self.judge(class, event_type);
        slot.store(if verdict { hash } else { hash & !1 }, Relaxed);
        verdict
    }

    fn judge(&self, class: &str, event_type: &str) -> bool {
        let path = format!("{class}/{event_type}").to_lowercase();
        let event_type = event_type.to_lowercase();
        self.0.sets.iter().all(|set| set.pass(&event_type, &path))
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.sets == other.0.sets
    }
}

impl Eq for Filter {}

/// The filters that consumers use at present: equal ones are one, and so is what they remember.
#[derive(Clone, Debug, Default)]
pub struct Filters(Arc<Mutex<Vec<Weak<Inner>>>>);

impl Filters {
    /// The filter that is in use already and equal to this one, or this one.
    pub fn share(&self, filter: Filter) -> Filter {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|weak| weak.strong_count() > 0);
        let mut equal = known.iter().filter_map(Weak::upgrade).map(Filter);
        if let Some(shared) = equal.find(|known| *known == filter) {
            return shared;
        }
        known.push(Arc::downgrade(&filter.0));
        filter
    }
}
