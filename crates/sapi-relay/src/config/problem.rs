//! Owns what is wrong with a configuration and how that is said; it knows no key.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A configuration file, and the line of the key (from 1; 0 where there is none).
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One thing that is wrong: where, what, and what to do. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands; `None` where no file was given at all.
    pub(crate) place: Option<Place>,
    /// The dotted key; empty where the whole file is meant.
    pub(crate) key: String,
    /// The value as it was written, where it is short and no secret.
    pub(crate) value: Option<String>,
    /// What is wrong.
    pub(crate) fault: String,
    /// What is allowed, or what to do.
    pub(crate) remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}", self.fault)?;
        if !self.remedy.is_empty() {
            write!(f, "\n    {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order in which it was found; never empty as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "the configuration has {count} problem{plural}:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Collects problems while the sections are read, so that all of them are reported at once.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Collector {
    /// Something that must be mended. The same problem is kept once.
    pub(crate) fn error(&self, problem: Problem) {
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&problem) {
            errors.push(problem);
        }
    }

    /// Something that works, but hardly as intended.
    pub(crate) fn warning(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
    }

    /// What is wrong so far.
    pub(crate) fn so_far(&self) -> Result<(), Problems> {
        let errors = self.errors.borrow();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problems(errors.clone()))
        }
    }

    /// The warnings, or every error.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, Problems> {
        let errors = self.errors.into_inner();
        if errors.is_empty() {
            Ok(self.warnings.into_inner())
        } else {
            Err(Problems(errors))
        }
    }
}
