//! Owns secrets as the configuration holds them: never shown, files read when they are needed.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A secret, or the file that holds it. Its debug print never shows the text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// As it stood in the configuration.
    Literal(String),
    /// A file, read again whenever it is needed.
    File(PathBuf),
}

impl Secret {
    /// The secret as it is now, without blanks around it, never empty.
    ///
    /// # Errors
    /// The file can't be read, or nothing is in it.
    pub(crate) fn read(&self) -> io::Result<String> {
        match self {
            Self::Literal(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)?.trim().to_owned();
                if text.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
                }
                Ok(text)
            }
        }
    }
}

impl From<Secret> for relay_upstream::Secret {
    fn from(secret: Secret) -> Self {
        match secret {
            Secret::Literal(text) => Self::literal(&text),
            Secret::File(path) => Self::file(path),
        }
    }
}

impl From<Secret> for relay_sinks::Secret {
    fn from(secret: Secret) -> Self {
        match secret {
            Secret::Literal(text) => Self::Literal(text),
            Secret::File(path) => Self::File(path),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Secret(..)"),
            Self::File(path) => write!(f, "Secret({})", path.display()),
        }
    }
}
