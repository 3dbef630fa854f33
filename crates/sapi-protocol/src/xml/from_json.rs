//! JSON into XML: a walk over bytes that the grammar has passed already.

use super::names::{ITEM, encode};
use super::{ConvertError, write_xml_text};
use crate::document;
use crate::text::{is_blank, json_text, plain_run, skip_blanks};

/// Writes a JSON document (an object or an array) as XML, without a declaration.
pub fn json_to_xml(json: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let start = skip_blanks(json, 0);
    let input = json.get(start..).unwrap_or_default();
    if !matches!(input.first(), Some(b'{' | b'[')) || std::str::from_utf8(input).is_err() {
        return Err(ConvertError::InvalidJson);
    }
    let parsed = document::read(input).map_err(|_stop| ConvertError::InvalidJson)?;
    let (input, rest) = input.split_at(parsed.end);
    if !rest.iter().copied().all(is_blank) {
        return Err(ConvertError::InvalidJson);
    }
    let mut walk = Walk {
        input,
        at: 0,
        out: Vec::with_capacity(input.len() * 2),
    };
    if walk.root_is_element() {
        walk.members();
    } else {
        walk.element(ITEM);
    }
    Ok(walk.out)
}

struct Walk<'a> {
    input: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl<'a> Walk<'a> {
    /// The next byte that is no blank, not taken.
    fn token(&mut self) -> u8 {
        self.at = skip_blanks(self.input, self.at);
        self.input.get(self.at).copied().unwrap_or_default()
    }

    /// Whether the root is an object with one member that is no list: then its key is the root element.
    fn root_is_element(&mut self) -> bool {
        let mut probe = Walk {
            input: self.input,
            at: 0,
            out: Vec::new(),
        };
        if probe.token() != b'{' {
            return false;
        }
        probe.at += 1;
        if probe.token() == b'}' {
            return false;
        }
        probe.text();
        probe.token();
        probe.at += 1;
        if probe.token() == b'[' {
            return false;
        }
        probe.skip();
        probe.token() == b'}'
    }

    /// The inside of a string, which comes next.
    fn text(&mut self) -> &'a [u8] {
        let start = self.at + 1;
        self.at = start;
        loop {
            self.at = plain_run(self.input, self.at);
            match self.input.get(self.at) {
                Some(b'\\') => self.at += 2,
                _ => break,
            }
        }
        let raw = self.input.get(start..self.at).unwrap_or_default();
        self.at += 1;
        raw
    }

    /// A number or literal, which comes next.
    fn scalar(&mut self) -> &'a [u8] {
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let ends = |&byte: &u8| is_blank(byte) || matches!(byte, b',' | b']' | b'}');
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        self.input.get(start..self.at).unwrap_or_default()
    }

    /// Passes over a value.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.token() {
                b'"' => drop(self.text()),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => drop(self.scalar()),
            }
            if depth == 0 || self.at >= self.input.len() {
                return;
            }
        }
    }

    /// The members of an object, each as its element or elements.
    fn members(&mut self) {
        self.at += 1;
        while self.token() == b'"' {
            let key = json_text(self.text());
            let name = encode(&key);
            self.token();
            self.at += 1;
            if self.token() == b'[' {
                let before = self.out.len();
                self.items(&name);
                if self.out.len() == before {
                    self.tag(&name, "/>");
                }
            } else {
                self.element(&name);
            }
            if self.token() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// The items of a list, each as an element of this name.
    fn items(&mut self, name: &str) {
        self.at += 1;
        while self.token() != b']' {
            self.element(name);
            if self.token() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn tag(&mut self, name: &str, end: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(end.as_bytes());
    }

    /// The value that comes next, as one element.
    fn element(&mut self, name: &str) {
        self.tag(name, ">");
        let before = self.out.len();
        match self.token() {
            b'{' => self.members(),
            b'[' => self.items(ITEM),
            b'"' => {
                let text = json_text(self.text());
                write_xml_text(&mut self.out, &text);
            }
            _ => match self.scalar() {
                b"null" => {}
                scalar => self.out.extend_from_slice(scalar),
            },
        }
        if self.out.len() == before {
            self.out.truncate(before - 1);
            self.out.extend_from_slice(b"/>");
            return;
        }
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }
}
