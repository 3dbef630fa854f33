//! The commit thread: takes what was admitted, has it judged, commits it, makes it visible, and
//! then forgets it. It sleeps while there is nothing to do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use relay_journal::{Group, Offset};
use sapi_protocol::Framed;

use super::clock::millis;
use super::keeper::{Keeper, RETRY};
use super::queue::{GROUP_BYTES, Item};
use super::retention::{self, Retention, wall_ms};
use super::stage::Stage;
use super::{Board, CloseError, Queue};
use crate::Bus;
use crate::admit::Received;
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::notice::GapLog;

/// Records of one group at most: small documents share a write as well.
const GROUP_RECORDS: usize = 8192;
/// How often what was heard goes to the store.
const SAVE: Duration = Duration::from_secs(1);
/// How often, while commits are made, the free space is looked at.
const SPACE: Duration = Duration::from_secs(5);
/// Malformed documents that could not be kept yet are held up to so many, and so many bytes.
const LETTERS: usize = 1024;
const LETTERS_BYTES: usize = 16 << 20;

/// The thread's state.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) keeper: Keeper,
    pub(super) stage: Stage,
    pub(super) retention: Retention,
    pub(super) bus: Bus,
    pub(super) dead_letters: DeadLetters,
    pub(super) gaps: GapLog,
    pub(super) queue: Arc<Queue>,
    pub(super) board: Arc<Board>,
    pub(super) window: Duration,
    pub(super) started: Instant,
    pub(super) rhythm: Rhythm,
}

/// When what is done now and then is due.
#[derive(Debug)]
pub(super) struct Rhythm {
    save: Option<Instant>,
    space: Instant,
    shown: Instant,
    letters: Vec<DeadLetter>,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            save: None,
            space: now,
            shown: now,
            letters: Vec::new(),
        }
    }
}

/// Says that the thread has ended, however it ends.
struct Alive(Arc<Board>, Arc<Queue>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.store(false, Relaxed);
        self.0.writable.store(false, Relaxed);
        self.1.stop();
        // Whoever waits for a commit waits no longer.
        self.1.committed(u64::MAX);
    }
}

type Lost = (usize, io::Error);

impl Committer {
    /// Runs until the queue is stopped and empty.
    pub(super) fn run(mut self) -> Result<(), CloseError> {
        let _alive = Alive(Arc::clone(&self.board), Arc::clone(&self.queue));
        let result = self.serve();
        // Numbers of what was not committed must not pass for seen: the next start would call it
        // recovered.
        if result.is_ok() {
            self.stage.save(&self.keeper.store);
        }
        self.gaps.close();
        if let Err(error) = self.keeper.writer.close() {
            tracing::warn!(%error, "closing the journal");
        }
        result.map_err(|(documents, source)| CloseError::Uncommitted { documents, source })
    }

    fn serve(&mut self) -> Result<(), Lost> {
        let mut spare = VecDeque::new();
        loop {
            self.board.busy_since.store(0, Relaxed);
            let mut taken = self.queue.take(self.due(), self.window, spare);
            self.busy();
            self.stage.now = Instant::now();
            let mut group = self.keeper.writer.begin();
            for queued in &mut taken.items {
                group = self.item(&mut queued.item, group)?;
            }
            self.stage.settle(Instant::now());
            let next = self.next(&group);
            self.stage.notices(&mut group, next, wall_ms());
            self.commit(group)?;
            self.keep_letters();
            self.queue.committed(taken.admitted);
            // Only now is there room for what waits: the items hold their share until here.
            taken.items.clear();
            spare = taken.items;
            self.now_and_then(Instant::now());
            if taken.stopped {
                return self.last_words();
            }
        }
    }

    /// Notices that were raised by the last commit itself.
    fn last_words(&mut self) -> Result<(), Lost> {
        let mut group = self.keeper.writer.begin();
        let next = self.next(&group);
        self.stage.notices(&mut group, next, wall_ms());
        self.commit(group)
    }

    fn item(&mut self, item: &mut Item, mut group: Group) -> Result<Group, Lost> {
        match item {
            Item::Connected(event) => self.stage.connected(event, &mut group),
            Item::Disconnected(event) => self.stage.disconnected(event),
            Item::Received(received) => return self.received(received, group),
        }
        Ok(group)
    }

    fn received(&mut self, received: &mut Received, mut group: Group) -> Result<Group, Lost> {
        let subscription = self.stage.index(&received.subscription);
        for framed in std::mem::take(&mut received.documents) {
            match framed {
                Framed::Document(document) => {
                    if group.bytes() + document.bytes().len() > GROUP_BYTES
                        || group.len() >= GROUP_RECORDS
                    {
                        self.commit(group)?;
                        group = self.keeper.writer.begin();
                    }
                    let next = self.next(&group);
                    self.stage
                        .document(subscription, &document, received.at_ms, &mut group, next);
                }
                Framed::Malformed(malformed) => {
                    self.stage
                        .malformed(&received.subscription, malformed, received.at_ms);
                }
            }
        }
        Ok(group)
    }

    /// The offset that the next record of the group gets.
    fn next(&self, group: &Group) -> Offset {
        Offset(self.keeper.log.next().0 + group.len() as u64)
    }

    fn commit(&mut self, group: Group) -> Result<(), Lost> {
        if group.is_empty() {
            return Ok(());
        }
        let committed = self.keeper.commit(group)?;
        // A message of hours makes many groups: each is progress.
        self.busy();
        self.bus.publish(committed.records);
        let metrics = &self.keeper.metrics;
        metrics
            .journal_appended_events_total
            .inc_by(self.stage.take_events());
        metrics
            .bus_memory_bytes
            .set(i64::try_from(self.bus.memory_bytes()).unwrap_or(i64::MAX));
        self.gaps.append(self.stage.take_placed());
        Ok(())
    }

    /// From now on the thread works on something.
    fn busy(&self) {
        let now = millis(self.started.elapsed()).max(1);
        self.board.busy_since.store(now, Relaxed);
    }

    /// Keeps what could not be parsed. What can't be kept now is tried again, up to a bound.
    fn keep_letters(&mut self) {
        let letters = &mut self.rhythm.letters;
        letters.append(&mut self.stage.take_malformed());
        if letters.is_empty() {
            return;
        }
        match self.dead_letters.put_blocking(letters) {
            Ok(()) => letters.clear(),
            Err(error) => {
                let dropped = excess(letters);
                letters.drain(..dropped);
                self.keeper
                    .metrics
                    .dead_letters_dropped_total
                    .inc_by(dropped as u64);
                tracing::error!(%error, dropped, "what could not be parsed could not be kept; it is tried again");
            }
        }
    }

    fn now_and_then(&mut self, now: Instant) {
        if self.rhythm.save.is_some_and(|due| due <= now) {
            self.rhythm.save = None;
            self.stage.save(&self.keeper.store);
        } else if self.rhythm.save.is_none() && self.stage.unsaved() {
            self.rhythm.save = Some(now + SAVE);
        }
        if self.retention.due() <= now {
            self.retention.look(&mut self.keeper, now);
        }
        if now.saturating_duration_since(self.rhythm.shown) >= SAVE {
            self.rhythm.shown = now;
            retention::show(&self.keeper);
            if self.retention.outgrown(&self.keeper) {
                self.retention.trim(&self.keeper);
            }
            self.keeper.look_for_room();
        }
        if now.saturating_duration_since(self.rhythm.space) >= SPACE {
            self.rhythm.space = now;
            self.keeper.watch_space();
        }
    }

    fn due(&self) -> Option<Instant> {
        let again = self.keeper.in_trouble() || !self.rhythm.letters.is_empty();
        let again = again.then(|| Instant::now() + RETRY);
        let dues = [
            Some(self.retention.due()),
            self.rhythm.save,
            self.stage.due(),
            again,
        ];
        dues.into_iter().flatten().min()
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
