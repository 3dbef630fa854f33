//! JSON to XML and back, in the shape SAPI uses; knows no class and no field.
//!
//! The vendor documents no mapping. This one is **inferred** from its JSON samples, which read like a
//! conversion from XML:
//!
//! * An object's members are child elements; the one member of the root is the root element.
//! * A list repeats its element: `{"attachedDatum":[a,b]}` is `<attachedDatum>a</attachedDatum><attachedDatum>b</attachedDatum>`.
//! * A scalar is its text; null, an empty text, list and object are empty elements.
//! * Back, text that reads as a plain number (no sign but `-`, no leading zero, no exponent) or as `true` or
//!   `false` loses its quotes, digit by digit as it stands, however long; `0123` and `+1551` stay text. An empty
//!   element is `""`. Elements repeated are a list, also apart from each other; an `attachedDatum` is always one.
//! * Attributes come back as members, and text beside attributes or elements as the member `content`.
//! * A character that no XML name can have is `_xHHHH_` (its code in hexadecimal) in the element's name, and so
//!   is a `_` before an `x`; an empty key is `_x_`.
//! * A root without exactly one member has the root element `_`; the items of a list that has no key of its own (the
//!   root, or inside another list) are elements `_` as well, and an element with only such children comes back as a list.
//! * Characters that XML cannot hold (most control characters) become U+FFFD.
//!
//! So what JSON cannot tell after XML is: null, `""`, `[]` and `{}` from each other; a list of one from its item; text
//! that looks like a number from a number.

mod from_json;
mod names;
mod to_json;

pub use from_json::json_to_xml;
pub use to_json::xml_to_json;

/// Why a document can't be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The bytes are no JSON object or array, or nested deeper than 128 levels.
    #[error("not a JSON document")]
    InvalidJson,
    /// The bytes are no XML document, or nested deeper than 128 levels.
    #[error("not an XML document")]
    InvalidXml,
}

/// Appends text as a JSON string, quotes included.
pub fn write_json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(crate::text::plain_run(rest, 0));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else {
            break;
        };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = after;
    }
    out.push(b'"');
}

/// Appends text as XML character data; it fits an attribute in double quotes as well.
pub fn write_xml_text(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            // A reader of XML makes a newline of a bare carriage return.
            '\r' => out.extend_from_slice(b"&#13;"),
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
