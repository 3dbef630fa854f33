//! A secret of the configuration: given literally, or by a file that is read again when it is
//! needed. It never shows itself.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The configuration holds it.
    Literal(String),
    /// A file holds it; blanks and line breaks around it do not count.
    File(PathBuf),
}

impl Secret {
    /// The secret as it is now.
    ///
    /// # Errors
    /// The file can't be read, or holds nothing.
    pub fn read(&self) -> io::Result<String> {
        let text = match self {
            Self::Literal(text) => return Ok(text.clone()),
            Self::File(path) => std::fs::read_to_string(path)?,
        };
        match text.trim() {
            "" => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file holds no secret",
            )),
            text => Ok(text.to_owned()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_shows_itself() {
        assert_eq!(
            format!("{:?}", Secret::Literal("hunter2".into())),
            "Literal(..)"
        );
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::File(dir.path().join("token"));
        assert!(secret.read().is_err());
        for (text, read) in [(" one\n", Some("one")), ("two", Some("two")), (" \n", None)] {
            std::fs::write(dir.path().join("token"), text).unwrap();
            assert_eq!(secret.read().ok().as_deref(), read);
        }
    }
}
