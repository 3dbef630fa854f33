//! What becomes of a staged group: it is committed, published, listed and acknowledged, in this
//! order. It does not know how a group is staged, nor on which thread it runs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use relay_journal::Group;

use super::keeper::Keeper;
use super::queue::Queued;
use super::{Board, Queue};
use crate::Bus;
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::notice::{GapLog, Notice};
use crate::storm::Storm;
use crate::traces::{Step, Traces, since_ms};

/// Malformed documents that could not be kept yet are held up to so many, and so many bytes.
const LETTERS: usize = 1024;
const LETTERS_BYTES: usize = 16 << 20;

/// Why what was admitted could not be made durable.
pub(super) type Lost = io::Error;

/// A group, and what is to be done once it is durable.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) group: Group,
    /// How many documents were staged into it, whether they became records or not.
    pub(super) documents: usize,
    /// How many of its records are events.
    pub(super) events: u64,
    /// The notices among its records.
    pub(super) placed: Vec<Notice>,
    /// What arrived with it and could not be parsed.
    pub(super) malformed: Vec<DeadLetter>,
    /// What it ends: nothing, where more of the same items follows in the next group.
    pub(super) done: Option<Done>,
}

/// Items that have been staged to the last document.
#[derive(Debug)]
pub(super) struct Done {
    /// They hold their share of the queue until they are durable.
    pub(super) items: VecDeque<Queued>,
    /// Their ticket.
    pub(super) ticket: u64,
}

/// The publisher. It is where the commit is: with the commit thread, or on the lane.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) keeper: Keeper,
    pub(super) bus: Bus,
    pub(super) dead_letters: DeadLetters,
    pub(super) gaps: GapLog,
    pub(super) queue: Arc<Queue>,
    pub(super) board: Arc<Board>,
    pub(super) traces: Traces,
    /// Malformed documents that could not be kept yet.
    pub(super) letters: Vec<DeadLetter>,
    pub(super) unkept: Storm,
}

impl Publisher {
    /// Makes a group durable, visible and acknowledged, however long it takes.
    pub(super) fn publish(&mut self, staged: Staged) -> Result<(), Lost> {
        let Staged {
            group,
            documents,
            events,
            placed,
            malformed,
            done,
        } = staged;
        if !group.is_empty() {
            self.board.commits();
            let committed = self.keeper.commit(group)?;
            let published = self.bus.publish(committed);
            if let Some(batch) = published.filter(|_| self.traces.is_on()) {
                self.traces.tell(batch.events(), Step::Committed, |event| {
                    since_ms(event.received_at_ms())
                });
            }
            let metrics = &self.keeper.metrics;
            metrics.journal_appended_events_total.inc_by(events);
            metrics
                .bus_memory_bytes
                .set(i64::try_from(self.bus.memory_bytes()).unwrap_or(i64::MAX));
        }
        if documents > 0 {
            self.queue.durable(documents);
        }
        self.gaps.append(placed);
        self.keep_letters(malformed);
        if let Some(now_ms) = self.keeper.ages.take() {
            self.gaps.age(now_ms);
            self.dead_letters.age(now_ms);
        }
        self.board.committed();
        if let Some(Done { items, ticket }) = done {
            self.queue.committed(ticket);
            // Only now is there room for what waits.
            drop(items);
        }
        Ok(())
    }

    /// Keeps what could not be parsed. What can't be kept now is tried again, up to a bound.
    fn keep_letters(&mut self, mut malformed: Vec<DeadLetter>) {
        let letters = &mut self.letters;
        letters.append(&mut malformed);
        if letters.is_empty() {
            return;
        }
        match self.dead_letters.put_blocking(letters) {
            Ok(()) => {
                letters.clear();
                self.unkept.clear();
            }
            Err(error) => {
                let dropped = excess(letters);
                letters.drain(..dropped);
                self.keeper
                    .metrics
                    .dead_letters_dropped_total
                    .inc_by(dropped as u64);
                if let Some(times) = self.unkept.strike() {
                    tracing::error!(%error, dropped, times, "what could not be parsed could not be kept; it is tried again");
                }
            }
        }
    }

    /// Whether something is to be tried again although nothing new has come.
    pub(super) fn tries_again(&self) -> bool {
        self.keeper.in_trouble() || !self.letters.is_empty() || self.gaps.is_pending()
    }

    /// Closes the logs.
    pub(super) fn close(self) {
        self.gaps.close();
        if let Err(error) = self.keeper.writer.close() {
            tracing::warn!(%error, "closing the journal");
        }
    }
}

/// How many of the oldest letters are beyond what is held.
fn excess(letters: &[DeadLetter]) -> usize {
    let mut bytes = 0;
    let held = letters.iter().rev().take(LETTERS).take_while(|letter| {
        bytes += letter.bytes.len();
        bytes <= LETTERS_BYTES
    });
    letters.len() - held.count()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::dead_letters::Origin;
    use crate::notice::timestamp;

    fn letter(bytes: usize) -> DeadLetter {
        DeadLetter {
            id: 0,
            at: timestamp(0),
            origin: Origin::Upstream,
            sink: None,
            subscription: None,
            event_id: None,
            cursor: None,
            reason: String::new(),
            bytes: Bytes::from(vec![0; bytes]),
            size: bytes as u64,
            truncated: false,
        }
    }

    #[test]
    fn letters_that_wait_are_bounded_by_number_and_by_bytes() {
        assert_eq!(excess(&[]), 0);
        assert_eq!(excess(&vec![letter(1); LETTERS + 3]), 3);
        let mut letters = vec![letter(8 << 20); 3];
        assert_eq!(excess(&letters), 1);
        letters.push(letter(1));
        assert_eq!(excess(&letters), 2, "the newest are held");
    }
}
