//! What an endpoint's answers are cleaned of before they are shown: the secrets that it was sent, in
//! the forms in which endpoints send them back. It knows no answer.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use sapi_protocol::parse_basic;

use super::signature::secrets;

/// What is shorter stands in texts by chance.
const SHORTEST: usize = 4;
/// Segments of a path that are shorter are words more often than secrets.
const SHORTEST_SEGMENT: usize = 8;

/// Texts that are never shown.
#[derive(Default)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// Hides the path and the query of a url, as it stands there and decoded, whole and in parts:
    /// endpoints name what they were asked for, some within a JSON text that escapes its slashes.
    pub(super) fn url(&mut self, url: &Url) {
        let path = url.path();
        self.both(path.trim_end_matches('/'));
        for segment in path.split('/') {
            if segment.len() >= SHORTEST_SEGMENT {
                self.both(segment);
            }
        }
        self.both(url.query().unwrap_or_default());
        for (_, value) in url.query_pairs() {
            self.text(&value);
        }
        for pair in url.query().unwrap_or_default().split('&') {
            self.text(pair.split_once('=').map_or(pair, |(_, value)| value));
        }
    }

    /// Hides a header's value, and the credentials in it: what follows a scheme, and the password
    /// of Basic.
    pub(super) fn header(&mut self, value: &str) {
        self.text(value);
        if let Some((_scheme, credentials)) = value.trim().split_once(' ') {
            self.text(credentials.trim());
        }
        if let Some(basic) = parse_basic(value) {
            self.text(&basic.password);
        }
    }

    /// Hides signing secrets, each with its prefix and without.
    pub(super) fn signing(&mut self, text: &str) {
        for (secret, bare) in secrets(text) {
            self.text(secret);
            self.text(bare);
        }
    }

    /// A text with nothing in it that is hidden.
    pub(super) fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.0.iter().filter(|secret| text.contains(*secret));
        found.fold(Cow::Borrowed(text), |text, secret| {
            Cow::Owned(text.replace(secret, "***"))
        })
    }

    fn both(&mut self, encoded: &str) {
        self.text(encoded);
        self.text(&percent_decode_str(encoded).decode_utf8_lossy());
    }

    /// The longest stand first: what is left of one that holds another would show.
    fn text(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            let at = self.0.partition_point(|other| other.len() > secret.len());
            self.0.insert(at, secret.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_hidden_whole_and_in_parts() {
        let mut hidden = Hidden::default();
        let url = "https://hooks.example.com/hooks/T0/s3cr3t%2Bpath/?token=hunter2%21";
        hidden.url(&Url::parse(url).unwrap());
        for (said, shown) in [
            (
                "Cannot POST /hooks/T0/s3cr3t%2Bpath/?token=hunter2%21",
                "Cannot POST ***/?***",
            ),
            (r#"{"path":"/hooks/T0/s3cr3t+path"}"#, r#"{"path":"***"}"#),
            (r"\/hooks\/T0\/s3cr3t%2Bpath", r"\/hooks\/T0\/***"),
            ("no token hunter2!", "no token ***"),
            ("no token hunter2%21", "no token ***"),
            ("a hook of hooks.example.com", "a hook of hooks.example.com"),
        ] {
            assert_eq!(hidden.mask(said), shown);
        }
        let mut plain = Hidden::default();
        plain.url(&Url::parse("https://example.com").unwrap());
        assert_eq!(plain.mask("https://example.com/"), "https://example.com/");
    }

    #[test]
    fn credentials_are_hidden_without_their_scheme() {
        let mut hidden = Hidden::default();
        hidden.header("Bearer sk-abc");
        hidden.header("Basic dXNlcjpodW50ZXIy");
        hidden.header("hunter3");
        for secret in ["sk-abc", "dXNlcjpodW50ZXIy", "hunter2", "hunter3"] {
            assert_eq!(hidden.mask(&format!("no {secret}.")), "no ***.");
        }
    }

    #[test]
    fn signing_secrets_are_hidden_one_by_one() {
        let mut hidden = Hidden::default();
        hidden.signing("whsec_QUFBQQ==,whsec_QkJCQg==\nQ0NDQw==");
        for secret in ["whsec_QUFBQQ==", "QkJCQg==", "Q0NDQw=="] {
            assert_eq!(hidden.mask(&format!("not {secret}")), "not ***");
        }
    }
}
