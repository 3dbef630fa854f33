//! Owns the text form of a fault, `NAME[=ARG]`, and its checks against the tables.

use std::{fmt, str::FromStr};

use super::{Fault, Takes};

/// The argument a fault is on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg {
    /// None.
    Nothing,
    /// A number.
    Number(u64),
    /// Text or a word.
    Text(String),
}

impl Arg {
    /// The number, 0 where there is none.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Nothing | Self::Text(_) => 0,
        }
    }

    /// The text, empty where there is none.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Nothing | Self::Number(_) => "",
        }
    }
}

/// A fault to switch on: its name and its checked argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpec {
    pub(super) fault: &'static Fault,
    pub(super) arg: Arg,
}

/// Text that names no fault, or not with that argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFault {
    /// No fault has this name.
    #[error("no fault is called {0:?} (`sapi-sim faults` lists them)")]
    Unknown(String),
    /// The fault takes something else.
    #[error("{name} takes {takes}")]
    Argument {
        /// The fault's name.
        name: &'static str,
        /// What it takes instead.
        takes: String,
    },
}

impl FaultSpec {
    /// The fault's name.
    pub fn name(&self) -> &'static str {
        self.fault.name
    }
}

impl FromStr for FaultSpec {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let (name, given) = match text.split_once('=') {
            Some((name, arg)) => (name, Some(arg)),
            None => (text, None),
        };
        let fault = find(name)?;
        let arg = match (fault.takes, given) {
            (Takes::Nothing, None) => Some(Arg::Nothing),
            (Takes::Number(default), None) => Some(Arg::Number(default)),
            (Takes::Number(_), Some(text)) => text.parse().ok().map(Arg::Number),
            (Takes::Text(_), Some(text)) if !text.is_empty() => Some(Arg::Text(text.to_owned())),
            (Takes::Choice(words), Some(word)) if words.contains(&word) => {
                Some(Arg::Text(word.to_owned()))
            }
            (Takes::Nothing | Takes::Text(_) | Takes::Choice(_), _) => None,
        };
        let arg = arg.ok_or_else(|| BadFault::Argument {
            name: fault.name,
            takes: fault.takes.to_string(),
        })?;
        Ok(Self { fault, arg })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arg {
            Arg::Nothing => f.write_str(self.fault.name),
            Arg::Number(number) => write!(f, "{}={number}", self.fault.name),
            Arg::Text(text) => write!(f, "{}={text}", self.fault.name),
        }
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no argument"),
            Self::Number(default) => write!(f, "a whole number ({default} where it is left out)"),
            Self::Text(name) => write!(f, "text: {name}"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// The fault of that name.
pub(super) fn find(name: &str) -> Result<&'static Fault, BadFault> {
    super::all()
        .find(|fault| fault.name == name)
        .ok_or_else(|| BadFault::Unknown(name.to_owned()))
}
