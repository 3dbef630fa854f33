//! Who the relay is to a NATS server. Secrets are read at each connect.

use std::path::PathBuf;

use async_nats::AuthError;
use nkeys::KeyPair;

use crate::Secret;

/// The credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// None.
    Nobody,
    /// A user and a password.
    User(String, Secret),
    /// A token.
    Token(Secret),
    /// A file of a user's JWT and the seed of its key (`.creds`).
    Creds(PathBuf),
    /// The seed of a user's key (`SU...`).
    Nkey(Secret),
}

/// Credentials as they are now, ready to sign.
pub(super) enum Ready {
    Nobody,
    User(String, String),
    Token(String),
    Creds(String, KeyPair),
    Nkey(KeyPair),
}

impl Auth {
    /// The keys of the configuration that are meant, for people.
    pub(super) fn keys(&self) -> &'static str {
        match self {
            Self::Nobody => "user and password, token, creds_file or nkey",
            Self::User(..) => "user and password (or password_file)",
            Self::Token(_) => "token (or token_file)",
            Self::Creds(_) => "creds_file",
            Self::Nkey(_) => "nkey (or nkey_file)",
        }
    }

    /// Reads the secrets. Blocks on files. An error never holds one.
    pub(super) fn read(&self) -> Result<Ready, String> {
        let read = |secret: &Secret| {
            let text = secret.read();
            text.map_err(|error| format!("{secret:?}: {error}"))
        };
        match self {
            Self::Nobody => Ok(Ready::Nobody),
            Self::User(user, password) => Ok(Ready::User(user.clone(), read(password)?)),
            Self::Token(token) => Ok(Ready::Token(read(token)?)),
            Self::Nkey(seed) => Ok(Ready::Nkey(key(&read(seed)?)?)),
            Self::Creds(path) => {
                let named = |error: String| format!("{}: {error}", path.display());
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| named(error.to_string()))?;
                let (jwt, seed) = parts(&text).map_err(named)?;
                Ok(Ready::Creds(jwt.to_owned(), key(seed).map_err(named)?))
            }
        }
    }
}

impl Ready {
    /// The answer to a server's challenge.
    pub(super) fn answer(&self, nonce: &[u8]) -> Result<async_nats::Auth, AuthError> {
        let mut auth = async_nats::Auth::new();
        match self {
            Self::Nobody => {}
            Self::User(user, password) => {
                auth.username = Some(user.clone());
                auth.password = Some(password.clone());
            }
            Self::Token(token) => auth.token = Some(token.clone()),
            Self::Creds(jwt, key) => {
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
            }
            Self::Nkey(key) => {
                auth.nkey = Some(key.public_key());
                auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
            }
        }
        Ok(auth)
    }
}

fn key(seed: &str) -> Result<KeyPair, String> {
    // The library's error may hold what it was given.
    KeyPair::from_seed(seed).map_err(|_seed| "is no seed of an nkey (SU...)".to_owned())
}

/// The JWT and the seed: the lines below the two headings of a `.creds` file.
fn parts(text: &str) -> Result<(&str, &str), String> {
    let below = |heading: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| line.starts_with("---") && line.contains(heading))?;
        lines.find(|line| !line.is_empty())
    };
    let jwt = below("BEGIN NATS USER JWT");
    let seed = below("BEGIN USER NKEY SEED");
    jwt.zip(seed)
        .ok_or_else(|| "is no credentials file: it has no user JWT or no nkey seed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    #[test]
    fn a_creds_file_is_read_anew_each_time_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.creds");
        let auth = Auth::Creds(path.clone());
        assert!(auth.read().is_err());
        std::fs::write(&path, "-----BEGIN NATS USER JWT-----\neyJ0\n").unwrap();
        assert!(auth.read().err().unwrap().contains("no credentials file"));
        let seed = |seed: &str| {
            format!(
                "-----BEGIN NATS USER JWT-----\neyJ0.x-_y\n------END NATS USER JWT------\n\n****\n\
                 -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\n"
            )
        };
        std::fs::write(&path, seed("SUWRONG")).unwrap();
        let error = auth.read().err().unwrap();
        assert!(!error.contains("SUWRONG"), "{error}");
        std::fs::write(&path, seed(SEED)).unwrap();
        let answer = auth.read().unwrap().answer(b"nonce").unwrap();
        assert_eq!(answer.jwt.as_deref(), Some("eyJ0.x-_y"));
        let key = KeyPair::from_seed(SEED).unwrap();
        key.verify(b"nonce", &answer.signature.unwrap()).unwrap();
    }

    #[test]
    fn an_nkey_shows_its_public_half_only() {
        let auth = Auth::Nkey(Secret::Literal(SEED.into()));
        let answer = auth.read().unwrap().answer(b"nonce").unwrap();
        assert!(answer.nkey.unwrap().starts_with('U'));
        assert!(!format!("{auth:?}").contains(SEED));
    }
}
