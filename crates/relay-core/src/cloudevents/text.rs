//! Text as CloudEvents and its bindings want it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but RFC 3986's unreserved characters.
pub(super) const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the HTTP binding (3.1.3.2) has encoded: blanks, `"`, `%`, and all beyond printable ASCII.
pub(super) const NOT_IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Whether CloudEvents forbids a character in a String attribute (1.0.2, type system). Rust's `char`
/// leaves surrogates out already.
fn is_forbidden(c: char) -> bool {
    let noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c.is_control() || noncharacter
}

fn is_clean(text: &str) -> bool {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte);
    text.as_bytes().iter().all(plain) || !text.chars().any(is_forbidden)
}

/// A text whose forbidden characters are U+FFFD.
pub(super) fn confined(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let clean = |c: char| {
        if is_forbidden(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    Cow::Owned(text.chars().map(clean).collect())
}

/// An id whose forbidden characters are percent-encoded, so that different ids stay different (`%`
/// itself is encoded in them already).
pub(super) fn id(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_forbidden(c) {
            clean.extend(utf8_percent_encode(
                c.encode_utf8(&mut [0; 4]),
                NON_ALPHANUMERIC,
            ));
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// A header value of the HTTP and NATS bindings.
pub(super) fn header(value: Cow<'_, str>) -> Cow<'_, str> {
    match Cow::from(utf8_percent_encode(&value, NOT_IN_HEADER)) {
        Cow::Borrowed(_) => value,
        Cow::Owned(encoded) => Cow::Owned(encoded),
    }
}
