//! Which dead letters are kept, and how many by origin: right while the oldest are dropped and single
//! ones are delivered after all. Pure.

use std::collections::BTreeMap;

/// Letters of one origin in consecutive places, from its key in the map to `last`.
#[derive(Clone, Copy, Debug)]
struct Run {
    label: usize,
    last: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    labels: Vec<String>,
    totals: Vec<u64>,
    runs: BTreeMap<u64, Run>,
}

impl Counts {
    /// A letter is kept at a place behind all others.
    pub(super) fn add(&mut self, label: &str, place: u64) {
        let known = self.labels.iter().position(|known| known == label);
        let label = known.unwrap_or_else(|| {
            self.labels.push(label.to_owned());
            self.totals.push(0);
            self.labels.len() - 1
        });
        self.change(label, |total| total + 1);
        if let Some(mut run) = self.runs.last_entry()
            && run.get().label == label
            && run.get().last + 1 == place
        {
            run.get_mut().last = place;
        } else {
            self.runs.insert(place, Run { label, last: place });
        }
    }

    /// Whether a letter is kept at a place.
    pub(super) fn holds(&self, place: u64) -> bool {
        self.run_of(place).is_some()
    }

    /// The last place that holds a letter.
    pub(super) fn last(&self) -> Option<u64> {
        self.runs.last_key_value().map(|(_, run)| run.last)
    }

    /// A letter is kept no more; whether it was.
    pub(super) fn remove(&mut self, place: u64) -> bool {
        let Some((first, Run { label, last })) = self.run_of(place) else {
            return false;
        };
        self.runs.remove(&first);
        if first < place {
            let before = Run {
                label,
                last: place - 1,
            };
            self.runs.insert(first, before);
        }
        if place < last {
            self.runs.insert(place + 1, Run { label, last });
        }
        self.change(label, |total| total.saturating_sub(1));
        true
    }

    /// Everything before `first` is gone; returns how many letters that were.
    pub(super) fn trim(&mut self, first: u64) -> u64 {
        let mut dropped = 0;
        while let Some((begin, Run { label, last })) = self.first_before(first) {
            self.runs.remove(&begin);
            let gone = last.min(first - 1) - begin + 1;
            if last >= first {
                self.runs.insert(first, Run { label, last });
            }
            self.change(label, |total| total.saturating_sub(gone));
            dropped += gone;
        }
        dropped
    }

    pub(super) fn get(&self, label: &str) -> u64 {
        let label = self.labels.iter().position(|known| known == label);
        label
            .and_then(|label| self.totals.get(label))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        let labels = self.labels.iter().map(String::as_str);
        labels.zip(self.totals.iter().copied())
    }

    fn run_of(&self, place: u64) -> Option<(u64, Run)> {
        let (first, run) = self.runs.range(..=place).next_back()?;
        (place <= run.last).then_some((*first, *run))
    }

    fn first_before(&self, place: u64) -> Option<(u64, Run)> {
        let (first, run) = self.runs.range(..place).next()?;
        Some((*first, *run))
    }

    fn change(&mut self, label: usize, to: impl FnOnce(u64) -> u64) {
        if let Some(total) = self.totals.get_mut(label) {
            *total = to(*total);
        }
    }
}
