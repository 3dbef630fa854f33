//! Standard Webhooks signatures: secrets parsed once, a signature for each. It knows no request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standardwebhooks::Webhook;

/// The shortest key, by the specification of Standard Webhooks.
const SHORTEST: usize = 24;
/// More secrets than that are no rotation.
const MOST: usize = 5;
const PREFIX: &str = "whsec_";

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

/// What signs.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

struct Key {
    webhook: Webhook,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    pub(super) fn parse(text: &str) -> Result<Self, SecretError> {
        let secrets = text.split(|c: char| c.is_whitespace() || c == ',');
        let secrets = secrets.filter(|secret| !secret.is_empty());
        let keys = (1..).zip(secrets).map(|(number, secret)| {
            let bare = secret.strip_prefix(PREFIX).unwrap_or(secret);
            let bytes = STANDARD
                .decode(bare)
                .ok()
                .ok_or(SecretError::NotBase64(number))?;
            if bytes.len() < SHORTEST {
                return Err(SecretError::Short(number));
            }
            let webhook = Webhook::from_bytes(bytes.clone());
            let webhook = webhook.ok().ok_or(SecretError::NotBase64(number))?;
            Ok(Key { webhook, bytes })
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(SecretError::None),
            1..=MOST => Ok(Self(keys)),
            _ => Err(SecretError::Many),
        }
    }

    /// The value of `webhook-signature`; `None` without secrets.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let signatures: Vec<_> = self
            .0
            .iter()
            .map(|key| key.sign(id, timestamp, body))
            .collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }
}

impl Key {
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        // The crate signs text only; the specification signs bytes.
        self.webhook
            .sign(id, timestamp, body)
            .unwrap_or_else(|_| self.sign_bytes(id, timestamp, body))
    }

    fn sign_bytes(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = hmac_sha256::HMAC::new(&self.bytes);
        mac.update(format!("{id}.{timestamp}."));
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize()))
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
    fn bytes_that_are_no_text_are_signed_the_same_way() {
        let keys = Keys::parse(OLD).unwrap();
        let key = keys.0.first().unwrap();
        assert_eq!(key.sign("i", 7, b"text"), key.sign_bytes("i", 7, b"text"));
        assert!(key.sign("i", 7, b"\xff\xfe").starts_with("v1,"));
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
