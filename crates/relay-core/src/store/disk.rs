//! The state's database in the writer's hand. One that has failed refuses everything until it is
//! opened again, so it is; what is to be written is the store's business.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use relay_journal::{Change, State, StateError};

#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// `None` after a failure.
    state: Option<State>,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let path = path.to_owned();
        let state = Some(open(&path)?.0);
        Ok(Self { path, state })
    }

    /// As after a write that failed.
    #[cfg(test)]
    pub(super) fn fail(&mut self) {
        self.state = None;
    }

    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Writes changes, or everything if the file had to be put aside meanwhile.
    pub(super) fn put(
        &mut self,
        changes: Vec<Change>,
        everything: impl FnOnce() -> Vec<Change>,
    ) -> Result<(), StateError> {
        let mut changes = changes;
        let state = if let Some(state) = self.state.take() {
            state
        } else {
            let (state, is_new) = open(&self.path)?;
            if is_new {
                changes = everything();
            }
            state
        };
        // redb panics over some damage; and what panicked is dropped like what failed.
        let written = catch_unwind(AssertUnwindSafe(|| state.put(&changes).map(|()| state)));
        let panicked = |_| Err(StateError::Io(io::Error::other("the database panicked")));
        self.state = Some(written.unwrap_or_else(panicked)?);
        Ok(())
    }
}

/// Opens the file, and says whether that made it anew.
fn open(path: &Path) -> Result<(State, bool), StateError> {
    let is_missing = !path.exists();
    let state = State::open(path)?;
    if let Some(aside) = state.set_aside() {
        tracing::error!(
            aside = %aside.display(),
            "the state file was damaged and has been put aside: what is known of it is written anew"
        );
    }
    let is_new = is_missing || state.set_aside().is_some();
    Ok((state, is_new))
}
