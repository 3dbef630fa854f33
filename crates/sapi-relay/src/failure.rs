//! Owns how the program ends when it can't do what it was asked: an exit code and what is said.

use std::fmt;

/// Why the program ends, and with which code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
    remedy: Option<String>,
}

/// `health`: the relay is not alive. The code that container engines ask for.
pub(crate) const NOT_ALIVE: u8 = 1;
/// Wrong usage of the command line (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// Anything that has no code of its own (`EX_SOFTWARE`).
pub(crate) const SOFTWARE: u8 = 70;
/// The journal is in use by another process (`EX_TEMPFAIL`).
pub(crate) const LOCKED: u8 = 75;
/// Wrong configuration (`EX_CONFIG`).
pub(crate) const CONFIG: u8 = 78;

impl Failure {
    /// A failure with a code.
    pub(crate) fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
            remedy: None,
        }
    }

    /// Wrong usage.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, anyhow::Error::msg(text.into()))
    }

    /// The same, with what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What happened, and what to do about it.
    pub(crate) fn parts(self) -> (String, String) {
        (format!("{:#}", self.error), self.remedy.unwrap_or_default())
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Whether it is only that whoever reads our output has gone away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        let mut causes = self.error.chain();
        causes.any(|cause| cause.downcast_ref().is_some_and(broken))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n    {remedy}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(SOFTWARE, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(SOFTWARE, error)
    }
}

impl From<crate::config::Problems> for Failure {
    fn from(problems: crate::config::Problems) -> Self {
        Self::new(CONFIG, problems)
    }
}
