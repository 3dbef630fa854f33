//! Which dead letters are kept, and how many by origin: right while the oldest are dropped and single
//! ones are delivered after all. Pure.
//!
//! Two bytes a letter: small letters come by the million, and their origins may take turns.

use std::collections::VecDeque;

/// Places of a chunk.
const CHUNK: usize = 4096;
/// No letter is at a place.
const NONE: u16 = 0;

/// Consecutive places, and which origin's letter is at each: its index plus one.
#[derive(Debug)]
struct Chunk {
    first: u64,
    origins: Vec<u16>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.first + self.origins.len() as u64
    }

    fn get_mut(&mut self, place: u64) -> Option<&mut u16> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.origins.get_mut(index)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    labels: Vec<String>,
    totals: Vec<u64>,
    chunks: VecDeque<Chunk>,
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
        // More origins than that share the last.
        let origin = u16::try_from(label + 1).unwrap_or(u16::MAX);
        self.change(origin, |total| total + 1);
        let goes_on = |chunk: &&mut Chunk| {
            let index = place.checked_sub(chunk.first);
            index.is_some_and(|index| index < CHUNK as u64) && place >= chunk.end()
        };
        if let Some(chunk) = self.chunks.back_mut().filter(goes_on) {
            while chunk.end() < place {
                chunk.origins.push(NONE);
            }
            chunk.origins.push(origin);
        } else {
            let mut origins = Vec::with_capacity(CHUNK);
            origins.push(origin);
            self.chunks.push_back(Chunk {
                first: place,
                origins,
            });
        }
    }

    /// Whether a letter is kept at a place.
    pub(super) fn holds(&self, place: u64) -> bool {
        let chunk = self.chunks.get(self.chunk_of(place));
        let index = chunk.and_then(|chunk| place.checked_sub(chunk.first));
        let index = index.and_then(|index| usize::try_from(index).ok());
        let origin = chunk.zip(index);
        origin.is_some_and(|(chunk, index)| chunk.origins.get(index).is_some_and(|it| *it != NONE))
    }

    /// The last place that holds a letter.
    pub(super) fn last(&self) -> Option<u64> {
        let places = self.chunks.iter().rev().filter_map(|chunk| {
            let index = chunk.origins.iter().rposition(|origin| *origin != NONE)?;
            Some(chunk.first + index as u64)
        });
        places.into_iter().next()
    }

    /// A letter is kept no more; whether it was.
    pub(super) fn remove(&mut self, place: u64) -> bool {
        let index = self.chunk_of(place);
        let chunk = self.chunks.get_mut(index);
        let Some(origin) = chunk.and_then(|chunk| chunk.get_mut(place)) else {
            return false;
        };
        let origin = std::mem::replace(origin, NONE);
        self.change(origin, |total| total.saturating_sub(1));
        origin != NONE
    }

    /// Everything before `first` is gone; returns how many letters that were.
    pub(super) fn trim(&mut self, first: u64) -> u64 {
        let mut dropped = 0;
        while let Some(chunk) = self.chunks.front_mut().filter(|chunk| chunk.first < first) {
            let gone = usize::try_from(first - chunk.first).unwrap_or(usize::MAX);
            let gone = gone.min(chunk.origins.len());
            let origins: Vec<u16> = chunk.origins.drain(..gone).collect();
            chunk.first = first;
            if chunk.origins.is_empty() {
                self.chunks.pop_front();
            }
            for origin in origins.into_iter().filter(|origin| *origin != NONE) {
                self.change(origin, |total| total.saturating_sub(1));
                dropped += 1;
            }
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

    /// What it takes in memory, about.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let chunks = self.chunks.iter();
        let chunks = chunks.map(|chunk| size_of::<Chunk>() + 2 * chunk.origins.capacity());
        chunks.sum()
    }

    /// The index of the chunk that a place is in, if it is in any.
    fn chunk_of(&self, place: u64) -> usize {
        let behind = self.chunks.partition_point(|chunk| chunk.first <= place);
        behind.saturating_sub(1)
    }

    fn change(&mut self, origin: u16, to: impl FnOnce(u64) -> u64) {
        let index = usize::from(origin).checked_sub(1);
        if let Some(total) = index.and_then(|index| self.totals.get_mut(index)) {
            *total = to(*total);
        }
    }
}
