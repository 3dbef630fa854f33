//! What was admitted and not yet committed: bounded in bytes, many sessions in, the commit thread
//! out. It knows nothing of what it holds but its size.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::admit::{Connected, Disconnected, Received, Stopped};

/// What may be admitted and not committed, in bytes; a larger message takes all of it.
const CAPACITY: u32 = 4 << 20;
/// A group of so many documents is worth committing without waiting for more.
pub(super) const GROUP_DOCUMENTS: usize = 512;
/// A group of so many bytes is worth committing without waiting for more.
pub(super) const GROUP_BYTES: usize = 1 << 20;

/// What a session told.
#[derive(Debug)]
pub(super) enum Item {
    Connected(Connected),
    Received(Received),
    Disconnected(Disconnected),
    /// The commit thread panics: what nothing else can make it do.
    #[cfg(any(test, feature = "testing"))]
    Panic,
}

/// An item and its share of the capacity, given back when the item's commit is done.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) item: Item,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Queued>,
    documents: usize,
    bytes: usize,
    /// When the oldest item was admitted.
    oldest: Option<Instant>,
    admitted: u64,
    /// Documents that were admitted and are not durable.
    outstanding: usize,
    nudged: bool,
    stopped: bool,
    /// A group is being committed while the next may be staged.
    under_way: bool,
    /// The commit thread waits, for anything or for a full group.
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    No,
    Anything,
    /// For a full group, for as long as the window lasts.
    Company,
    /// For a full group, for as long as a commit is under way.
    Landing,
}

impl State {
    fn plenty(&self) -> bool {
        self.documents >= GROUP_DOCUMENTS || self.bytes >= GROUP_BYTES
    }
}

/// What the commit thread takes at once.
#[derive(Debug)]
pub(super) struct Taken {
    /// In the order of admission.
    pub(super) items: VecDeque<Queued>,
    /// Everything up to this ticket is in `items` or was taken before.
    pub(super) admitted: u64,
    /// Nothing will be admitted any more.
    pub(super) stopped: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// For who waits until the disk may be tried again.
    paused: Condvar,
    room: Arc<Semaphore>,
    committed: watch::Sender<u64>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (committed, _) = watch::channel(0);
        let room = Arc::new(Semaphore::new(CAPACITY as usize));
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            paused: Condvar::new(),
            room,
            committed,
        }
    }

    /// Waits for room, first come first served. A message beyond the capacity waits for all of it.
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Stopped> {
        let bytes = u32::try_from(bytes).unwrap_or(CAPACITY).min(CAPACITY);
        Arc::clone(&self.room)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_closed| Stopped)
    }

    pub(super) fn push(
        &self,
        item: Item,
        permit: OwnedSemaphorePermit,
        bytes: usize,
        documents: usize,
    ) -> Result<(), Stopped> {
        let mut state = self.lock();
        if state.stopped {
            return Err(Stopped);
        }
        state.items.push_back(Queued {
            item,
            _permit: permit,
        });
        state.documents += documents;
        state.outstanding += documents;
        state.bytes += bytes;
        state.admitted += 1;
        state.oldest.get_or_insert_with(Instant::now);
        let wake = match state.waiting {
            Waiting::No => false,
            Waiting::Anything => true,
            // What is no document is rare and worth a commit of its own.
            Waiting::Company => state.plenty() || documents == 0,
            Waiting::Landing => state.plenty(),
        };
        if wake {
            state.waiting = Waiting::No;
            drop(state);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// The commit thread has something to do that is not in the queue.
    pub(crate) fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        if matches!(state.waiting, Waiting::Anything | Waiting::Company) {
            state.waiting = Waiting::No;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Admits nothing more.
    pub(super) fn stop(&self) {
        self.room.close();
        self.lock().stopped = true;
        self.ready.notify_one();
        self.paused.notify_all();
    }

    /// Whether what is queued is worth a commit of its own.
    pub(super) fn is_plenty(&self) -> bool {
        self.lock().plenty()
    }

    /// A group is under way: until it is committed, nothing is gained by taking less than plenty.
    pub(super) fn departed(&self) {
        self.lock().under_way = true;
    }

    /// What was under way is committed, or has failed for good.
    pub(super) fn landed(&self) {
        let mut state = self.lock();
        state.under_way = false;
        if state.waiting == Waiting::Landing {
            state.waiting = Waiting::No;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// How many tickets are committed, and the last one given.
    pub(super) fn progress(&self) -> (watch::Receiver<u64>, u64) {
        (self.committed.subscribe(), self.lock().admitted)
    }

    /// So many documents have become durable, or need not.
    pub(super) fn durable(&self, documents: usize) {
        let mut state = self.lock();
        state.outstanding = state.outstanding.saturating_sub(documents);
    }

    /// How many documents were admitted and are not durable.
    pub(super) fn outstanding(&self) -> usize {
        self.lock().outstanding
    }

    /// Everything up to a ticket is durable.
    pub(super) fn committed(&self, ticket: u64) {
        self.committed.send_if_modified(|committed| {
            let more = ticket > *committed;
            *committed = ticket.max(*committed);
            more
        });
    }

    /// Waits for something to do, until `due`; then, while a group is not full, until its oldest
    /// document has waited for `window`.
    ///
    /// The window counts only under load, when something was queued already. While a commit is under
    /// way its end is waited for, or a full group; then what there is, perhaps nothing, is taken.
    pub(super) fn take(
        &self,
        due: Option<Instant>,
        window: Duration,
        spare: VecDeque<Queued>,
    ) -> Taken {
        let mut state = self.lock();
        let under_way = state.under_way;
        if under_way && !state.plenty() && !state.stopped {
            state.waiting = Waiting::Landing;
            let waits = |state: &mut State| state.waiting == Waiting::Landing && !state.stopped;
            state = wait(&self.ready, state, None, waits);
        }
        if let Some(oldest) = state.oldest.filter(|_| !state.plenty() && !state.stopped) {
            let left = window.saturating_sub(oldest.elapsed());
            state.waiting = Waiting::Company;
            let waits = |state: &mut State| state.waiting == Waiting::Company && !state.stopped;
            state = wait(&self.ready, state, Some(left), waits);
        } else if state.oldest.is_none() && !under_way {
            state.waiting = Waiting::Anything;
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            let waits =
                |state: &mut State| state.oldest.is_none() && !state.nudged && !state.stopped;
            state = wait(&self.ready, state, left, waits);
        }
        state.waiting = Waiting::No;
        (state.documents, state.bytes, state.oldest, state.nudged) = (0, 0, None, false);
        let items = std::mem::replace(&mut state.items, spare);
        Taken {
            items,
            admitted: state.admitted,
            stopped: state.stopped,
        }
    }

    /// Waits for a time, or until the queue is stopped; says whether it is.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.lock();
        wait(&self.paused, state, Some(time), |state| !state.stopped).stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    time: Option<Duration>,
    waits: impl FnMut(&mut State) -> bool,
) -> MutexGuard<'a, State> {
    match time {
        None => condition
            .wait_while(state, waits)
            .unwrap_or_else(PoisonError::into_inner),
        Some(time) => {
            let waited = condition.wait_timeout_while(state, time, waits);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}
