//! How many dead letters there are by origin, kept right while the oldest are dropped. Pure.

use std::collections::{BTreeMap, VecDeque};

/// Letters that follow each other and have one origin.
#[derive(Debug)]
struct Run {
    label: usize,
    last: u64,
    count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    labels: Vec<String>,
    totals: BTreeMap<usize, u64>,
    runs: VecDeque<Run>,
}

impl Counts {
    pub(super) fn add(&mut self, label: &str, place: u64) {
        let known = self.labels.iter().position(|known| known == label);
        let label = known.unwrap_or_else(|| {
            self.labels.push(label.to_owned());
            self.labels.len() - 1
        });
        *self.totals.entry(label).or_default() += 1;
        match self.runs.back_mut().filter(|run| run.label == label) {
            Some(run) => (run.last, run.count) = (place, run.count + 1),
            None => self.runs.push_back(Run {
                label,
                last: place,
                count: 1,
            }),
        }
    }

    /// Everything before `first` is gone; returns how many letters that were.
    pub(super) fn trim(&mut self, first: u64) -> u64 {
        let mut dropped = 0;
        while let Some(run) = self.runs.front_mut() {
            // Places within a run may have holes where damage was skipped: at most all are left.
            let left = if run.last < first {
                0
            } else {
                run.count.min(run.last - first + 1)
            };
            dropped += run.count - left;
            if let Some(total) = self.totals.get_mut(&run.label) {
                *total -= run.count - left;
            }
            run.count = left;
            if left > 0 {
                break;
            }
            self.runs.pop_front();
        }
        dropped
    }

    pub(super) fn get(&self, label: &str) -> u64 {
        let label = self.labels.iter().position(|known| known == label);
        label
            .and_then(|label| self.totals.get(&label))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.totals
            .iter()
            .filter_map(|(label, count)| Some((self.labels.get(*label)?.as_str(), *count)))
    }
}
