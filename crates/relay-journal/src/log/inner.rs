//! The log as its readers hold it: what is shared between them and the writer, and the questions
//! that are answered without the disk.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::ids::{Epoch, Offset};

use super::anchor::AnchorFile;
use super::error::{Finding, OpenError};
use super::files::Files;
use super::options::LogOptions;
use super::read::Hint;
use super::recovery::{self, Recovery};
use super::survey::Survey;
use super::verify::{self, Verified};
use super::view::View;
use super::volume::Volume;
use super::writer::Writer;

/// A handle to a log, for reading and trimming. Cloning gives another handle to the same log. It
/// stays good after the writer is closed, and keeps a few MB of memory whatever the size of the log.
#[derive(Clone, Debug)]
pub struct Log(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) volume: Volume,
    pub(super) epoch: Epoch,
    pub(super) identity: String,
    pub(super) view: RwLock<View>,
    pub(super) files: Files,
    pub(super) hints: Mutex<VecDeque<Hint>>,
    /// The writer's; `None` for a log that was opened read-only.
    pub(super) anchor: Option<Mutex<AnchorFile>>,
    /// Held while segments are being removed.
    pub(super) trimming: Mutex<()>,
}

impl Inner {
    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Opens the log in `dir` for writing, and makes it if there is none. One process at a time: the
    /// writer holds the lock until it is dropped.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage is no error: [`Recovery`] lists it.
    pub fn open(dir: &Path, options: LogOptions) -> Result<(Writer, Self, Recovery), OpenError> {
        recovery::open(Volume::default(), dir, options)
    }

    /// Opens the log in `dir` for reading only, also beside a running writer. It sees what was on
    /// disk, [`Log::refresh`] shows more. What a writer has written and not yet committed may be seen,
    /// and be gone after a crash.
    pub fn open_read_only(dir: &Path) -> Result<Self, OpenError> {
        let survey = Survey::of(dir, None)?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            volume: Volume::default(),
            epoch: survey.epoch.unwrap_or(Epoch(0)),
            identity: survey.identity.clone().unwrap_or_default(),
            view: RwLock::new(on_disk(&survey)),
            files: Files::default(),
            hints: Mutex::default(),
            anchor: None,
            trimming: Mutex::default(),
        })))
    }

    /// Looks again at what is on disk. For a log that was opened read-only; else without effect.
    pub fn refresh(&self) -> Result<(), OpenError> {
        if self.0.anchor.is_some() {
            return Ok(());
        }
        let known = self.0.view().clone();
        let survey = Survey::of(&self.0.dir, Some(&known))?;
        *self.0.view_mut() = on_disk(&survey);
        Ok(())
    }

    /// The name of this log's numbering.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// Whose log it is.
    pub fn identity(&self) -> &str {
        &self.0.identity
    }

    /// The oldest offset that is kept; [`Log::next`] if there is none.
    pub fn first(&self) -> Offset {
        self.0.view().first()
    }

    /// The offset that the next record will have.
    pub fn next(&self) -> Offset {
        self.0.view().next
    }

    /// The last offset that is durable. After a recovery it may be further away from [`Log::next`]
    /// than one.
    pub fn last(&self) -> Offset {
        self.0.view().last
    }

    /// The bytes on disk, preallocated ones included, the reserve not.
    pub fn bytes(&self) -> u64 {
        self.0.view().bytes()
    }

    /// The time of the oldest record that is kept.
    pub fn oldest_time_ms(&self) -> Option<u64> {
        self.0
            .view()
            .segments
            .iter()
            .find_map(|segment| segment.times)
            .map(|(first, _)| first)
    }

    /// The time before which no record is committed any more: that of the last one, also if it is
    /// damaged or trimmed. `None`: there never was one.
    pub fn last_time_ms(&self) -> Option<u64> {
        let view = self.0.view();
        (view.last > Offset(0)).then_some(view.last_time)
    }

    /// Reads everything in `dir`, also beside a running writer, and names each place of damage.
    pub fn verify(dir: &Path, finding: impl FnMut(Finding)) -> Result<Verified, OpenError> {
        verify::verify(dir, finding)
    }
}

/// The view of a reader that has no part in writing: nothing lies ahead of what it sees.
fn on_disk(survey: &Survey) -> View {
    let mut view = survey.view();
    if view
        .segments
        .iter()
        .any(|segment| segment.first < segment.next)
    {
        view.next = view.last.next();
    }
    view
}
