//! States that survive a restart: paused, halted, disabled. Kept under the sink's name, with the
//! fingerprint of the destination that they are about.

use relay_journal::Table;
use serde::{Deserialize, Serialize};

use super::handle::Shared;
use crate::status::{SinkError, SinkState};

#[derive(Debug, Serialize, Deserialize)]
struct Held {
    state: String,
    fingerprint: String,
    #[serde(default)]
    error: Option<Error>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Error {
    at_ms: u64,
    text: String,
    remedy: String,
}

impl Shared {
    /// The state that an earlier run left, with its error. What was disabled is forgotten when the
    /// destination is another one now.
    pub(super) fn held(&self) -> Option<(SinkState, Option<SinkError>)> {
        let bytes = self
            .context
            .store
            .get(Table::SinkStates, &self.config.name)?;
        let held: Held = serde_json::from_slice(&bytes).ok()?;
        let states = [SinkState::Paused, SinkState::Halted, SinkState::Disabled];
        let state = states
            .into_iter()
            .find(|state| state.as_str() == held.state)?;
        if state == SinkState::Disabled && held.fingerprint != self.config.fingerprint {
            self.release();
            return None;
        }
        let error = held.error.map(
            |Error {
                 at_ms,
                 text,
                 remedy,
             }| SinkError {
                at_ms,
                text,
                remedy,
            },
        );
        Some((state, error))
    }

    /// Keeps a state. Durable after the store's next write.
    pub(super) fn hold(&self, state: SinkState) {
        let error = self.row().last_error.clone();
        let error = error.map(
            |SinkError {
                 at_ms,
                 text,
                 remedy,
             }| Error {
                at_ms,
                text,
                remedy,
            },
        );
        let held = Held {
            state: state.as_str().to_owned(),
            fingerprint: self.config.fingerprint.clone(),
            error,
        };
        // A struct of texts and numbers always has a JSON form.
        let bytes = serde_json::to_vec(&held).unwrap_or_default();
        self.context
            .store
            .set(Table::SinkStates, &self.config.name, bytes);
        self.update(|row| row.state = state);
    }

    /// Forgets it.
    pub(super) fn release(&self) {
        self.context
            .store
            .remove(Table::SinkStates, &self.config.name);
    }
}
