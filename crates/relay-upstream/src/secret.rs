//! A secret that is a text or a file; it never shows itself, and knows nothing of what it opens.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A secret: literal, or a file that is read again at each use.
///
/// `Debug` and `Display` show that there is one, and which file holds it, never the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

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
        Self(Source::Literal(text.trim().into()))
    }

    /// A secret in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The text, without blanks around it. A file is read now: it may have changed.
    pub async fn read(&self) -> Result<Arc<str>, SecretError> {
        let path = match &self.0 {
            Source::Literal(text) => return Ok(Arc::clone(text)),
            Source::File(path) => path,
        };
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|source| SecretError::Read {
            path: path.clone(),
            source,
        })?;
        match text.trim() {
            "" => Err(SecretError::Empty(path.clone())),
            text => Ok(text.into()),
        }
    }

    /// Whether it can change while the relay runs.
    pub fn is_file(&self) -> bool {
        matches!(self.0, Source::File(_))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
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

    #[test]
    fn it_is_never_shown() {
        let secret = Secret::literal("hunter2");
        assert!(!format!("{secret:?} {secret} {secret:#?}").contains("hunter2"));
    }
}
