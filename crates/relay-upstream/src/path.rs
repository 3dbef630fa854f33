//! Which of the two documented paths the upstream accepts, and how that is remembered.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sapi_protocol::PathStyle;

use crate::PathChoice;

type Load = dyn Fn() -> Option<PathStyle> + Send + Sync;
type Save = dyn Fn(PathStyle) + Send + Sync;

/// Where the accepted path style is remembered across restarts: the caller's business.
#[derive(Clone)]
pub struct PathMemory {
    load: Arc<Load>,
    save: Arc<Save>,
}

impl PathMemory {
    /// A memory behind two functions. Neither may block.
    pub fn new(
        load: impl Fn() -> Option<PathStyle> + Send + Sync + 'static,
        save: impl Fn(PathStyle) + Send + Sync + 'static,
    ) -> Self {
        Self {
            load: Arc::new(load),
            save: Arc::new(save),
        }
    }

    /// No memory beyond this run: the next begins with the bare path again.
    pub fn none() -> Self {
        let cell = Arc::new(Mutex::new(None));
        let load = Arc::clone(&cell);
        Self::new(
            move || *load.lock().unwrap_or_else(PoisonError::into_inner),
            move |style| *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(style),
        )
    }
}

impl fmt::Debug for PathMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathMemory")
    }
}

/// Asks for one style after the other, as `path_style` allows.
#[derive(Debug)]
pub(crate) struct PathSearch {
    choice: PathChoice,
    memory: PathMemory,
    style: PathStyle,
    /// The other one was refused since the last success.
    other_refused: bool,
    /// It was accepted: what others find no longer counts.
    is_accepted: bool,
}

impl PathSearch {
    pub(crate) fn new(choice: PathChoice, memory: PathMemory) -> Self {
        let style = match choice {
            PathChoice::Only(style) => style,
            PathChoice::Auto => PathStyle::Bare,
        };
        Self {
            choice,
            memory,
            style,
            other_refused: false,
            is_accepted: false,
        }
    }

    /// What to ask for now. Until it has its own answer, it learns from the other subscriptions.
    pub(crate) fn style(&mut self) -> PathStyle {
        let is_open = self.choice == PathChoice::Auto && !self.is_accepted && !self.other_refused;
        if let (true, Some(style)) = (is_open, (self.memory.load)()) {
            self.style = style;
        }
        self.style
    }

    /// The upstream said 404: whether the other style is worth an attempt at once.
    pub(crate) fn not_found(&mut self) -> bool {
        if self.choice != PathChoice::Auto {
            return false;
        }
        self.style = match self.style {
            PathStyle::Bare => PathStyle::Suffixed,
            PathStyle::Suffixed => PathStyle::Bare,
        };
        self.other_refused = !self.other_refused;
        self.other_refused
    }

    /// The upstream accepted it.
    pub(crate) fn accepted(&mut self) {
        self.other_refused = false;
        self.is_accepted = true;
        if self.choice == PathChoice::Auto && (self.memory.load)() != Some(self.style) {
            (self.memory.save)(self.style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(cell: &Arc<Mutex<Option<PathStyle>>>) -> PathMemory {
        let (load, save) = (Arc::clone(cell), Arc::clone(cell));
        PathMemory::new(
            move || *load.lock().unwrap(),
            move |style| *save.lock().unwrap() = Some(style),
        )
    }

    #[test]
    fn bare_first_then_suffixed_and_that_is_remembered() {
        let cell = Arc::new(Mutex::new(None));
        let mut search = PathSearch::new(PathChoice::Auto, memory(&cell));
        assert_eq!(search.style(), PathStyle::Bare);
        assert!(search.not_found());
        assert_eq!(search.style(), PathStyle::Suffixed);
        search.accepted();
        assert_eq!(*cell.lock().unwrap(), Some(PathStyle::Suffixed));
        let mut again = PathSearch::new(PathChoice::Auto, memory(&cell));
        assert_eq!(again.style(), PathStyle::Suffixed);
    }

    #[test]
    fn subscriptions_learn_from_each_other() {
        let memory = PathMemory::none();
        let mut first = PathSearch::new(PathChoice::Auto, memory.clone());
        let mut second = PathSearch::new(PathChoice::Auto, memory);
        assert!(first.not_found());
        first.accepted();
        assert_eq!(second.style(), PathStyle::Suffixed);
        // The upstream moved: what is remembered is refused, the other is tried.
        assert!(second.not_found());
        assert_eq!(second.style(), PathStyle::Bare);
        second.accepted();
        assert_eq!(
            (first.style(), second.style()),
            (PathStyle::Suffixed, PathStyle::Bare)
        );
    }

    #[test]
    fn two_refusals_are_a_refusal_and_the_next_round_tries_both_again() {
        let mut search = PathSearch::new(PathChoice::Auto, PathMemory::none());
        assert!(search.not_found());
        assert!(!search.not_found());
        assert_eq!(search.style(), PathStyle::Bare);
        assert!(search.not_found());
    }

    #[test]
    fn a_fixed_style_stays() {
        let only = PathChoice::Only(PathStyle::Suffixed);
        let mut search = PathSearch::new(only, PathMemory::none());
        assert!(!search.not_found());
        assert_eq!(search.style(), PathStyle::Suffixed);
    }
}
