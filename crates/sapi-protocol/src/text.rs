//! Text inside a document: runs of plain bytes, JSON escapes, XML references; knows no structure.

use std::borrow::Cow;

use memchr::memchr2;

/// Blank in JSON and in XML alike.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The first position from `from` on that is no blank.
pub(crate) fn skip_blanks(input: &[u8], from: usize) -> usize {
    let mut at = from;
    while input.get(at).copied().is_some_and(is_blank) {
        at += 1;
    }
    at
}

/// Whether a byte can stand in an XML name; bytes of other scripts all can.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':') || byte >= 0x80
}

/// Whether a byte can begin an XML name.
pub(crate) fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') || byte >= 0x80
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first position from `from` on that is not plain inside a JSON string: a quote, a backslash or
/// a control byte; the length of `input` if there is none. Eight bytes a step.
pub(crate) fn plain_run(input: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = input.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        // A byte's high bit is set where it is zero after the exclusive or, or below 0x20. A borrow can
        // only make a false hit above a true one, and the lowest hit is what counts.
        let quote = word ^ (ONES * 0x22);
        let slash = word ^ (ONES * 0x5c);
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() >> 3) as usize;
        }
        at += 8;
    }
    while input
        .get(at)
        .is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20)
    {
        at += 1;
    }
    at
}

/// The inside of a JSON string as text; lone surrogates become U+FFFD.
pub(crate) fn json_text(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        // The strict check first: it is several times as fast, and documents were checked whole.
        return str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed);
    }
    let mut out = Vec::with_capacity(raw.len());
    unescape_json(raw, &mut out);
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(replace_surrogates(error.as_bytes())),
    }
}

/// Appends the inside of a JSON string without its escapes. A lone surrogate becomes the three bytes
/// that UTF-8 forbids for it, so that different strings stay different.
pub(crate) fn unescape_json(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(slash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(slash);
        out.extend_from_slice(plain);
        let (bytes, used): (&[u8], usize) = match escape.get(1).copied().unwrap_or_default() {
            b'b' => (b"\x08", 2),
            b'f' => (b"\x0c", 2),
            b'n' => (b"\n", 2),
            b'r' => (b"\r", 2),
            b't' => (b"\t", 2),
            b'u' => {
                let (code, used) = unicode_escape(escape);
                push_code(code, out);
                (b"", used)
            }
            _ => (escape.get(1..2).unwrap_or_default(), 2),
        };
        out.extend_from_slice(bytes);
        rest = escape.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The code of `\uXXXX`, or of two that are a surrogate pair, and the length of the escape.
fn unicode_escape(escape: &[u8]) -> (u32, usize) {
    let unit = |at: usize| -> Option<u32> {
        let digits = escape.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = unit(0) else {
        return (0xfffd, escape.len());
    };
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = unit(6).filter(|unit| (0xdc00..0xe000).contains(unit))
    {
        return (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12);
    }
    (first, 6)
}

fn push_code(code: u32, out: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    let [_, _, high, low] = code.to_be_bytes();
    let middle = 0x80 | ((high & 0x0f) << 2) | (low >> 6);
    out.extend_from_slice(&[0xe0 | (high >> 4), middle, 0x80 | (low & 0x3f)]);
}

/// Each three-byte surrogate becomes one U+FFFD.
fn replace_surrogates(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if chunk.invalid().first() == Some(&0xed) {
            out.push('\u{fffd}');
        }
    }
    out
}

/// The content of an XML leaf element as text: references and CDATA resolved, comments left out.
pub(crate) fn xml_text(raw: &[u8]) -> Cow<'_, str> {
    if memchr2(b'&', b'<', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    resolve_xml(raw, &mut out, b"");
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Appends XML character data with references and CDATA resolved, comments and instructions left out.
/// A reference that is not XML's own stays as it stands, with `mark` before it.
pub(crate) fn resolve_xml(raw: &[u8], out: &mut Vec<u8>, mark: &[u8]) {
    let mut rest = raw;
    while let Some(at) = memchr2(b'&', b'<', rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let used = if special.first() == Some(&b'&') {
            resolve_reference(special, out, mark)
        } else {
            resolve_markup(special, out)
        };
        rest = special.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

fn resolve_reference(special: &[u8], out: &mut Vec<u8>, mark: &[u8]) -> usize {
    let end = memchr::memchr(b';', special.get(..16).unwrap_or(special));
    let name = end.and_then(|end| special.get(1..end)).unwrap_or_default();
    let character = match name {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => numeric_reference(name),
    };
    if let (Some(character), Some(end)) = (character, end) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return end + 1;
    }
    out.extend_from_slice(mark);
    out.push(b'&');
    1
}

fn numeric_reference(name: &[u8]) -> Option<char> {
    let digits = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
    let (digits, radix) = digits
        .strip_prefix('x')
        .map_or((digits, 10), |hex| (hex, 16));
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

fn resolve_markup(special: &[u8], out: &mut Vec<u8>) -> usize {
    let find = |end: &[u8]| memchr::memmem::find(special, end);
    if let Some(inside) = special.strip_prefix(b"<![CDATA[") {
        let end = find(b"]]>").unwrap_or(special.len());
        out.extend_from_slice(inside.get(..end.saturating_sub(9)).unwrap_or(inside));
        return end + 3;
    }
    let end: &[u8] = if special.starts_with(b"<!--") {
        b"-->"
    } else {
        b"?>"
    };
    find(end).map_or(special.len(), |at| at + end.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_become_their_characters() {
        assert_eq!(
            json_text(br#"a\"\\\/\b\f\n\r\t\u00e9"#),
            "a\"\\/\u{8}\u{c}\n\r\té"
        );
        assert_eq!(json_text(br"\ud83d\ude00"), "😀");
        assert_eq!(json_text(br"x\ud83dy\ude00"), "x\u{fffd}y\u{fffd}");
    }

    #[test]
    fn lone_surrogates_stay_apart_as_bytes() {
        let bytes = |raw: &[u8]| {
            let mut out = Vec::new();
            unescape_json(raw, &mut out);
            out
        };
        assert_ne!(bytes(br"\ud83d"), bytes(br"\ud83e"));
        assert_ne!(bytes(br"\ud83d"), bytes(br"\ufffd"));
    }

    #[test]
    fn references_and_cdata_resolve() {
        assert_eq!(
            xml_text(b"a&lt;&gt;&amp;&quot;&apos;&#65;&#x42;"),
            "a<>&\"'AB"
        );
        assert_eq!(
            xml_text(b"<![CDATA[a<b&amp;]]>c<!-- no -->d<?pi x?>e"),
            "a<b&amp;cde"
        );
        assert_eq!(xml_text(b"&nbsp; & &#xd800; &;"), "&nbsp; & &#xd800; &;");
    }

    proptest! {
        #[test]
        fn a_plain_run_ends_where_a_naive_one_does(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let naive = bytes.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
            prop_assert_eq!(plain_run(&bytes, 0), naive.unwrap_or(bytes.len()));
        }

        #[test]
        fn any_text_survives_json_escaping(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(json_text(&json.as_bytes()[1..json.len() - 1]), text);
        }
    }
}
