//! The commit thread: takes what was admitted, has it judged, and sees to it that it is committed
//! and made visible before it is forgotten. It sleeps while there is nothing to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use relay_journal::Group;
use sapi_protocol::Framed;

use super::keeper::RETRY;
use super::lane::Lane;
use super::publish::{Done, Lost, Publisher, Staged};
use super::queue::{GROUP_BYTES, Item, Queued, Taken};
use super::retention::{self, Retention, wall_ms};
use super::stage::Stage;
use super::{Board, CloseError, Queue};
use crate::Store;
use crate::admit::Received;

/// Company is waited for as long as so many commits take: then at most a fifth of the disk's time goes
/// into syncs, and an event waits no longer than that is worth.
const COMPANY: u32 = 4;
/// Records of one group at most: small documents share a write as well.
const GROUP_RECORDS: usize = 8192;
/// How often what was heard goes to the store.
const SAVE: Duration = Duration::from_secs(1);
/// How often, while commits are made, the free space is looked at.
const SPACE: Duration = Duration::from_secs(5);

/// The thread's state.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) lane: Lane,
    pub(super) stage: Stage,
    pub(super) retention: Retention,
    pub(super) queue: Arc<Queue>,
    pub(super) store: Store,
    pub(super) board: Arc<Board>,
    pub(super) window: Duration,
    pub(super) rhythm: Rhythm,
    pub(super) finished: Finished,
}

/// Items that have been staged to the last document, since the last group was handed over.
#[derive(Debug, Default)]
pub(super) struct Finished {
    items: VecDeque<Queued>,
    ticket: u64,
}

impl Finished {
    /// They go along with the group that holds their last document, so that their share of the queue
    /// is free as soon as that is durable: a large message or a full queue makes many groups.
    fn take(&mut self) -> Option<Done> {
        let items = std::mem::take(&mut self.items);
        let ticket = self.ticket;
        (!items.is_empty()).then_some(Done { items, ticket })
    }
}

/// When what is done now and then is due.
#[derive(Debug)]
pub(super) struct Rhythm {
    save: Option<Instant>,
    space: Instant,
    shown: Instant,
    /// Documents of the group that is being staged.
    documents: usize,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            save: None,
            space: now,
            shown: now,
            documents: 0,
        }
    }

    /// Whether anything of it is due.
    fn is_due(&self, now: Instant) -> bool {
        self.save.is_some_and(|due| due <= now)
            || now.saturating_duration_since(self.shown) >= SAVE
            || now.saturating_duration_since(self.space) >= SPACE
    }
}

/// Says that the thread has ended, however it ends.
struct Alive(Arc<Board>, Arc<Queue>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.end();
        self.1.stop();
        // Whoever waits for a commit waits no longer.
        self.1.committed(u64::MAX);
    }
}

impl Committer {
    /// Runs until the queue is stopped and empty.
    pub(super) fn run(mut self) -> Result<(), CloseError> {
        let _alive = Alive(Arc::clone(&self.board), Arc::clone(&self.queue));
        let result = self.serve();
        // Numbers of what was not committed must not pass for seen: the next start would call it
        // recovered.
        if result.is_ok() {
            self.stage.save(&self.store);
        }
        let publisher = self.lane.close().ok_or(CloseError::Panicked)?;
        publisher.close();
        let documents = self.queue.outstanding();
        result.map_err(|source| CloseError::Uncommitted { documents, source })
    }

    fn serve(&mut self) -> Result<(), Lost> {
        let mut emptied = VecDeque::new();
        loop {
            self.board.waits();
            let taken = self.queue.take(self.due(), self.patience(), emptied);
            self.board.stages();
            self.stage.now = Instant::now();
            let Taken {
                mut items,
                admitted,
                stopped,
            } = taken;
            let mut group = self.lane.begin();
            while let Some(queued) = items.pop_front() {
                group = self.item(&queued.item, group)?;
                self.finished.items.push_back(queued);
                self.finished.ticket = admitted - items.len() as u64;
            }
            emptied = items;
            self.stage.settle(Instant::now());
            self.stage.notices(&mut group, wall_ms());
            let staged = self.staged(group);
            if !stopped && self.queue.is_plenty() {
                self.lane.send(staged)?;
            } else {
                self.lane.publish(staged)?;
            }
            self.now_and_then(Instant::now())?;
            if stopped {
                return self.last_words();
            }
        }
    }

    /// Notices that were raised by the last commit itself.
    fn last_words(&mut self) -> Result<(), Lost> {
        let mut group = self.lane.begin();
        self.stage.notices(&mut group, wall_ms());
        let staged = self.staged(group);
        self.lane.publish(staged)
    }

    /// A group, with what the stage has to say of it.
    fn staged(&mut self, group: Group) -> Staged {
        Staged {
            group,
            documents: std::mem::take(&mut self.rhythm.documents),
            events: self.stage.take_events(),
            placed: self.stage.take_placed(),
            malformed: self.stage.take_malformed(),
            done: self.finished.take(),
        }
    }

    fn item(&mut self, item: &Item, mut group: Group) -> Result<Group, Lost> {
        match item {
            Item::Connected(event) => self.stage.connected(event, &mut group),
            Item::Disconnected(event) => self.stage.disconnected(event),
            Item::Received(received) => return self.received(received, group),
            #[cfg(any(test, feature = "testing"))]
            Item::Panic => std::panic::resume_unwind(Box::new("told to")),
        }
        Ok(group)
    }

    fn received(&mut self, received: &Received, mut group: Group) -> Result<Group, Lost> {
        let subscription = self.stage.index(&received.subscription);
        // They are let go where the commit is: that is work as well.
        let documents = &received.documents;
        self.stage.make_room(&mut group, documents);
        for framed in documents {
            match framed {
                Framed::Document(document) => {
                    if group.bytes() + document.bytes().len() > GROUP_BYTES
                        || group.len() >= GROUP_RECORDS
                    {
                        let staged = self.staged(group);
                        self.lane.send(staged)?;
                        // A message of hours makes many groups: each is progress.
                        self.board.stages();
                        group = self.lane.begin();
                    }
                    self.stage
                        .document(subscription, document, received.at_ms, &mut group);
                }
                Framed::Malformed(malformed) => {
                    self.stage
                        .malformed(&received.subscription, malformed.clone(), received.at_ms);
                }
            }
            self.rhythm.documents += 1;
        }
        Ok(group)
    }

    fn now_and_then(&mut self, now: Instant) -> Result<(), Lost> {
        let Self {
            lane,
            stage,
            retention,
            rhythm,
            ..
        } = self;
        if rhythm.save.is_none() && stage.unsaved() {
            rhythm.save = Some(now + SAVE);
        }
        if !rhythm.is_due(now) && retention.due() > now {
            return Ok(());
        }
        // What was heard must not be saved before it is durable, and only one may write.
        let keeper = &mut lane.land()?.keeper;
        if rhythm.save.is_some_and(|due| due <= now) {
            rhythm.save = None;
            stage.save(&self.store);
        }
        if retention.due() <= now {
            retention.look(keeper, now);
        }
        if now.saturating_duration_since(rhythm.shown) >= SAVE {
            rhythm.shown = now;
            retention::show(keeper);
            if retention.outgrown(keeper) {
                retention.trim(keeper);
            }
            keeper.look_for_room();
        }
        if now.saturating_duration_since(rhythm.space) >= SPACE {
            rhythm.space = now;
            keeper.watch_space();
        }
        Ok(())
    }

    /// How long a group waits for company under load: as long as is allowed, and as pays.
    fn patience(&self) -> Duration {
        let last = self.board.last_commit_us.load(Relaxed);
        self.window.min(Duration::from_micros(last) * COMPANY)
    }

    fn due(&self) -> Option<Instant> {
        let again = self.lane.home().is_some_and(Publisher::tries_again);
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
