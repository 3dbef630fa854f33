//! HTTP Basic credentials as SAPI takes them, written and read; keeps no secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// User and password of a Basic `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    /// What stands before the first colon.
    pub user: String,
    /// What stands after it.
    pub password: String,
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The value of the `Authorization` header for a token.
///
/// A token comes in two shapes. Usually it is a password (32 hexadecimal digits). Some pages of the
/// vendor describe one that is `base64(user:password)` already, and it goes out as it is. It is taken
/// for the second shape only if it decodes, as standard base64, to printable ASCII with a colon, with
/// a password behind it and before it a user name of letters, digits and `._@+-`. A password that
/// does so by chance is one in ten billion, and a run of hexadecimal digits is always a password.
pub fn basic_header(username: &str, token: &str) -> String {
    let token = token.trim();
    if is_ready(token) {
        return format!("Basic {token}");
    }
    format!("Basic {}", STANDARD.encode(format!("{username}:{token}")))
}

/// Reads the value of an `Authorization` header; `None` if it is not Basic, or not UTF-8 inside.
pub fn parse_basic(header: &str) -> Option<BasicCredentials> {
    let (scheme, value) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = decode(value.trim())?;
    let (user, password) = text.split_once(':')?;
    Some(BasicCredentials {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

fn is_ready(token: &str) -> bool {
    if token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    let Some(text) = decode(token) else {
        return false;
    };
    let Some((user, password)) = text.split_once(':') else {
        return false;
    };
    let user_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    !user.is_empty()
        && user.bytes().all(user_byte)
        && !password.is_empty()
        && password.bytes().all(|byte| byte.is_ascii_graphic())
}

fn decode(value: &str) -> Option<String> {
    let unpadded = value.trim_end_matches('=');
    if value.len() - unpadded.len() > 2 {
        return None;
    }
    String::from_utf8(STANDARD_NO_PAD.decode(unpadded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_encoded_with_its_user() {
        let header = basic_header("acmecorp01", "0123456789abcdef0123456789abcdef");
        let read = parse_basic(&header).unwrap();
        assert_eq!(read.user, "acmecorp01");
        assert_eq!(read.password, "0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn a_ready_token_goes_out_as_it_is() {
        let token = STANDARD.encode("acmecorp01:secret");
        assert_eq!(basic_header("other", &token), format!("Basic {token}"));
        let bare = token.trim_end_matches('=');
        assert_eq!(basic_header("other", bare), format!("Basic {bare}"));
        assert_eq!(
            parse_basic(&format!("bAsIc  {bare}")).unwrap().user,
            "acmecorp01"
        );
    }

    #[test]
    fn what_only_looks_ready_is_a_password() {
        for token in [
            "eght_abcdefg",
            "Zm9v",
            &STANDARD.encode("no colon"),
            &STANDARD.encode(":x"),
            &STANDARD.encode("u:"),
        ] {
            let read = parse_basic(&basic_header("user", token)).unwrap();
            assert_eq!(
                (read.user.as_str(), read.password.as_str()),
                ("user", token)
            );
        }
    }

    #[test]
    fn a_password_may_hold_colons_and_other_schemes_are_none() {
        let header = format!("Basic {}", STANDARD.encode("u:a:b:"));
        assert_eq!(parse_basic(&header).unwrap().password, "a:b:");
        for header in ["Bearer abc", "Basic", "Basic !!!!", "Basic dXNlcg==", ""] {
            assert_eq!(parse_basic(header), None, "{header}");
        }
    }

    #[test]
    fn a_debug_print_shows_no_password() {
        let shown = format!(
            "{:?}",
            parse_basic(&basic_header("user", "hunter2!")).unwrap()
        );
        assert!(shown.contains("user") && !shown.contains("hunter2"));
    }
}
