//! Standard Webhooks signatures: secrets parsed once, a signature for each. It knows no request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{Context, HMAC_SHA256, Key};

/// The shortest key, by the specification of Standard Webhooks.
const SHORTEST: usize = 24;
/// More secrets than that are no rotation.
const MOST: usize = 5;
const PREFIX: &str = "whsec_";
/// `v1,` and the base64 of 32 bytes.
const SIGNATURE: usize = 3 + 44;

/// Why secrets can't sign. Never holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none.
    #[error("there is no secret in it")]
    None,
    /// Too many.
    #[error("there are more than {MOST} secrets in it")]
    Many,
    /// Not base64.
    #[error("secret {0} is not `whsec_` and base64")]
    NotBase64(usize),
    /// Guessable.
    #[error("secret {0} has fewer than {SHORTEST} bytes")]
    Short(usize),
}

/// Checks one secret, or several with blanks, commas or line breaks between them.
///
/// # Errors
/// See [`SecretError`].
pub fn check_secrets(text: &str) -> Result<(), SecretError> {
    Keys::parse(text).map(drop)
}

/// The secrets in a text, each as it stands there and without its prefix.
pub(super) fn secrets(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let secrets = text.split(|c: char| c.is_whitespace() || c == ',');
    let secrets = secrets.filter(|secret| !secret.is_empty());
    secrets.map(|secret| (secret, secret.strip_prefix(PREFIX).unwrap_or(secret)))
}

/// What signs. Each key holds the hash of its own bytes already.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    pub(super) fn parse(text: &str) -> Result<Self, SecretError> {
        let keys = (1..).zip(secrets(text)).map(|(number, (_secret, bare))| {
            let bytes = STANDARD
                .decode(bare)
                .ok()
                .ok_or(SecretError::NotBase64(number))?;
            if bytes.len() < SHORTEST {
                return Err(SecretError::Short(number));
            }
            Ok(Key::new(HMAC_SHA256, &bytes))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(SecretError::None),
            1..=MOST => Ok(Self(keys)),
            _ => Err(SecretError::Many),
        }
    }

    /// The value of `webhook-signature`; `None` without secrets. It signs bytes, as the specification does,
    /// where they lie: the crate of Standard Webhooks signs text only, and copies it.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let head = format!("{id}.{timestamp}.");
        let mut signatures = String::with_capacity(self.0.len() * (SIGNATURE + 1));
        for key in &self.0 {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            let mut context = Context::with_key(key);
            context.update(head.as_bytes());
            context.update(body);
            signatures.push_str("v1,");
            STANDARD.encode_string(context.sign(), &mut signatures);
        }
        Some(signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn it_signs_as_the_specification_shows() {
        // The example of the Standard Webhooks libraries.
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let keys = Keys::parse(OLD).unwrap();
        let signature = keys.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(
            signature.as_deref(),
            Some("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=")
        );
    }

    #[test]
    fn each_secret_signs_while_they_are_rotated() {
        let one = |secret| {
            Keys::parse(secret)
                .unwrap()
                .sign("evt_1", 5, b"body")
                .unwrap()
        };
        for text in [
            format!("{NEW}\n{OLD}\n"),
            format!("{NEW},{OLD}"),
            format!(" {NEW} , {OLD}"),
        ] {
            let both = Keys::parse(&text).unwrap().sign("evt_1", 5, b"body");
            assert_eq!(both.unwrap(), format!("{} {}", one(NEW), one(OLD)));
        }
    }

    #[test]
    fn it_signs_as_the_crate_does_and_bytes_that_are_no_text_as_well() {
        let keys = Keys::parse(OLD).unwrap();
        let theirs = standardwebhooks::Webhook::new(OLD).unwrap();
        for body in ["", "text", &"é".repeat(1_000)] {
            let theirs = theirs.sign("evt_1", 1_649_367_553, body.as_bytes());
            let own = keys.sign("evt_1", 1_649_367_553, body.as_bytes());
            assert_eq!(own.unwrap(), theirs.unwrap());
        }
        // `printf 'i.7.\xff\xfe' | openssl dgst -sha256 -mac HMAC -macopt hexkey:... -binary | base64`
        let own = keys.sign("i", 7, b"\xff\xfe");
        assert_eq!(
            own.unwrap(),
            "v1,uStNaaqvwUkmR2Rwycop8cNYAkXhmtLMka0JCv57K+Y="
        );
    }

    #[test]
    fn what_is_no_secret_is_named_without_showing_it() {
        let check = |text: &str| check_secrets(text).unwrap_err();
        assert_eq!(check(" \n"), SecretError::None);
        assert_eq!(check(&format!("{OLD} hunter2!")), SecretError::NotBase64(2));
        assert_eq!(check("whsec_aHVudGVyMg=="), SecretError::Short(1));
        assert_eq!(check(&[OLD; 6].join(",")), SecretError::Many);
        assert_eq!(format!("{:?}", Keys::parse(OLD).unwrap()), "Keys(1)");
    }
}
