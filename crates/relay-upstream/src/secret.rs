//! A secret that is a text or a file; it never shows itself, and knows nothing of what it opens.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// A secret: literal, or a file that is read again at each use.
///
/// Clones are one secret: what [`Secret::replace`] changes in one is changed in all. `Debug` and
/// `Display` show that there is one, and which file holds it, never the text.
#[derive(Clone)]
pub struct Secret(Arc<RwLock<Source>>);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Literal(Arc<str>),
    File(PathBuf),
}

/// A secret file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It could not be read.
    #[error("reading the secret file {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the secret file {} is empty", .0.display())]
    Empty(PathBuf),
}

impl Secret {
    /// A literal secret; blanks around it do not count.
    pub fn literal(text: &str) -> Self {
        Self::new(Source::Literal(text.trim().into()))
    }

    /// A secret in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(path.into()))
    }

    /// Takes the place of the old one in every clone, at the next use: a reload of the configuration.
    pub fn replace(&self, with: &Self) {
        let source = with.source();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// The text, without blanks around it. A file is read now: it may have changed.
    pub async fn read(&self) -> Result<Arc<str>, SecretError> {
        let path = match self.source() {
            Source::Literal(text) => return Ok(text),
            Source::File(path) => path,
        };
        match tokio::fs::read_to_string(&path).await {
            Err(source) => Err(SecretError::Read { path, source }),
            Ok(text) if text.trim().is_empty() => Err(SecretError::Empty(path)),
            Ok(text) => Ok(text.trim().into()),
        }
    }

    fn new(source: Source) -> Self {
        Self(Arc::new(RwLock::new(source)))
    }

    fn source(&self) -> Source {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Source::Literal(_) => f.write_str("(secret)"),
            Source::File(path) => write!(f, "(secret in {})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_anew_and_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret = Secret::file(&path);
        assert!(matches!(secret.read().await, Err(SecretError::Read { .. })));
        std::fs::write(&path, " one\r\n").unwrap();
        assert_eq!(&*secret.read().await.unwrap(), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(&*secret.read().await.unwrap(), "two");
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(secret.read().await, Err(SecretError::Empty(_))));
    }

    #[tokio::test]
    async fn a_replaced_secret_is_replaced_in_every_clone() {
        let secret = Secret::literal("old");
        let clone = secret.clone();
        secret.replace(&Secret::literal("new"));
        assert_eq!(&*clone.read().await.unwrap(), "new");
        clone.replace(&clone.clone());
        assert_eq!(secret, Secret::literal("new"));
    }

    #[test]
    fn it_is_never_shown() {
        let secret = Secret::literal("hunter2");
        assert!(!format!("{secret:?} {secret} {secret:#?}").contains("hunter2"));
    }
}
