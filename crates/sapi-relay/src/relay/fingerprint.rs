//! Owns the fingerprint of what a sink connects to: when it changes, a block is tried anew.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::config::Secret;

/// A hash in the making. It does not show what went in, and keeps parts apart.
#[derive(Clone, Default)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Takes a part in.
    pub(super) fn text(self, part: &str) -> Self {
        self.bytes(b't', part.as_bytes())
    }

    /// Takes a secret in, as it is now; a file that can't be read counts as another.
    pub(super) fn secret(self, secret: &Secret) -> Self {
        let read = secret.read().unwrap_or_default();
        self.bytes(b's', read.as_bytes())
    }

    fn bytes(mut self, kind: u8, part: &[u8]) -> Self {
        self.0.update([kind]);
        self.0
            .update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(part);
        self
    }

    /// The fingerprint, as text.
    pub(super) fn encode(self) -> String {
        let hash: [u8; 32] = self.0.finalize().into();
        let (half, _) = hash.split_at(16);
        URL_SAFE_NO_PAD.encode(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_parts_apart_and_shows_none() {
        let of = |parts: &[&str]| {
            let print = parts
                .iter()
                .fold(Fingerprint::default(), |print, part| print.text(part));
            print.encode()
        };
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        let secret = Fingerprint::default()
            .secret(&Secret::Literal("hunter2".into()))
            .encode();
        assert_ne!(secret, of(&["hunter2"]));
        assert_eq!(secret.len(), 22);
    }
}
