//! The lane: a thread on which one group is committed while the next is staged. Strictly in order,
//! one group ahead; it knows neither documents nor what a commit does.
//!
//! The publisher goes along with the group and comes back with what became of it: whoever holds it
//! is the only one who writes. While little arrives nothing is sent: a commit on the spot is earlier.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use relay_journal::Group;

use super::Queue;
use super::publish::{Lost, Publisher, Staged};

type Outcome = Result<(), Lost>;

/// The lane, in the commit thread's hand.
#[derive(Debug)]
pub(super) struct Lane {
    /// `None` while a group is under way.
    home: Option<Box<Publisher>>,
    /// Where the next group begins: behind all that was handed over, committed or not.
    follows: Group,
    queue: Arc<Queue>,
    to: SyncSender<(Box<Publisher>, Staged)>,
    back: Receiver<(Box<Publisher>, Outcome)>,
    thread: JoinHandle<()>,
}

/// Tells the queue that the lane is free, however a commit ends.
struct Landing<'a>(&'a Queue);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.landed();
    }
}

impl Lane {
    /// Starts the lane's thread.
    pub(super) fn start(mut publisher: Publisher) -> io::Result<Self> {
        let queue = Arc::clone(&publisher.queue);
        let follows = publisher.keeper.writer.begin();
        let (to, jobs) = sync_channel::<(Box<Publisher>, Staged)>(1);
        let (done, back) = sync_channel(1);
        let seen = Arc::clone(&queue);
        let run = move || {
            while let Ok((mut publisher, staged)) = jobs.recv() {
                let landing = Landing(&seen);
                let outcome = publisher.publish(staged);
                if done.send((publisher, outcome)).is_err() {
                    return;
                }
                drop(landing);
            }
        };
        let thread = std::thread::Builder::new().name("lane".into()).spawn(run)?;
        Ok(Self {
            home: Some(Box::new(publisher)),
            follows,
            queue,
            to,
            back,
            thread,
        })
    }

    /// Begins a group, behind what is under way.
    pub(super) fn begin(&self) -> Group {
        self.follows.after()
    }

    /// The publisher, unless a group is under way.
    pub(super) fn home(&self) -> Option<&Publisher> {
        self.home.as_deref()
    }

    /// Publishes a group on the spot, after what is under way.
    pub(super) fn publish(&mut self, staged: Staged) -> Result<(), Lost> {
        let publisher = self.land()?;
        let follows = staged.group.after();
        publisher.publish(staged)?;
        self.follows = follows;
        Ok(())
    }

    /// Sends a group on its way, after what is under way.
    pub(super) fn send(&mut self, staged: Staged) -> Result<(), Lost> {
        self.land()?;
        self.follows = staged.group.after();
        if let Some(publisher) = self.home.take() {
            self.queue.departed();
            if self.to.send((publisher, staged)).is_err() {
                // Its thread has panicked: the next to wait for it will say so.
                self.queue.landed();
            }
        }
        Ok(())
    }

    /// Waits until nothing is under way.
    pub(super) fn land(&mut self) -> Result<&mut Publisher, Lost> {
        let publisher = match self.home.take() {
            Some(publisher) => publisher,
            None => self.receive()?,
        };
        Ok(self.home.insert(publisher))
    }

    fn receive(&mut self) -> Result<Box<Publisher>, Lost> {
        let Ok((publisher, outcome)) = self.back.recv() else {
            // It ends only with this lane, or by a panic: this thread ends in the same way.
            std::panic::resume_unwind(Box::new("the lane's thread has panicked"));
        };
        match outcome {
            Ok(()) => Ok(publisher),
            Err(lost) => {
                self.home = Some(publisher);
                Err(lost)
            }
        }
    }

    /// Ends the thread, and gives the publisher back. `None`: it went down with the thread.
    pub(super) fn close(self) -> Option<Publisher> {
        let Self {
            home, to, thread, ..
        } = self;
        drop(to);
        thread.join().ok()?;
        home.map(|publisher| *publisher)
    }
}
