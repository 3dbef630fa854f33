//! XML into JSON: a tree of the elements, then their members and lists.

use std::borrow::Cow;

use super::names::{ITEM, decode};
use super::{ConvertError, write_json_text};
use crate::document;
use crate::text::{is_blank, is_name_byte, resolve_xml, skip_blanks, xml_text};

/// The element that is a list even when it stands alone.
const ALWAYS_A_LIST: &str = "attachedDatum";
/// The member for text beside attributes or elements.
const CONTENT: &str = "content";

/// Writes an XML document as compact JSON. A declaration, comments and blanks around it are left out.
pub fn xml_to_json(xml: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let text = std::str::from_utf8(xml).map_err(|_bad| ConvertError::InvalidXml)?;
    let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
    let document = document::Document::parse(bytes).map_err(|_bad| ConvertError::InvalidXml)?;
    let mut walk = Walk {
        input: document.bytes(),
        at: 0,
    };
    if walk.input.first() != Some(&b'<') {
        return Err(ConvertError::InvalidXml);
    }
    let root = walk.element();
    let mut out = Vec::with_capacity(xml.len());
    if root.key == ITEM && root.children.is_empty() {
        out.extend_from_slice(b"{}");
    } else if root.key == ITEM {
        root.write(&mut out);
    } else {
        out.push(b'{');
        write_json_text(&mut out, &decode(&root.key));
        out.push(b':');
        root.write(&mut out);
        out.push(b'}');
    }
    Ok(out)
}

struct Node<'a> {
    key: Cow<'a, str>,
    /// Attributes first, then elements.
    children: Vec<Node<'a>>,
    text: Vec<u8>,
}

impl<'a> Node<'a> {
    fn leaf(key: &'a [u8], text: Vec<u8>) -> Self {
        Self {
            key: String::from_utf8_lossy(key),
            children: Vec::new(),
            text,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let blank = self.text.iter().copied().all(is_blank);
        if self.children.is_empty() {
            write_scalar(&String::from_utf8_lossy(&self.text), out);
        } else if blank && self.children.iter().all(|child| child.key == ITEM) {
            write_list(&self.children.iter().collect::<Vec<_>>(), out);
        } else {
            self.write_members(blank, out);
        }
    }

    fn write_members(&self, blank: bool, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (key, group)) in groups(&self.children).iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_json_text(out, &decode(key));
            out.push(b':');
            match group.as_slice() {
                [only] if *key != ALWAYS_A_LIST => only.write(out),
                several => write_list(several, out),
            }
        }
        if !blank {
            out.push(b',');
            write_json_text(out, CONTENT);
            out.push(b':');
            write_scalar(&String::from_utf8_lossy(&self.text), out);
        }
        out.push(b'}');
    }
}

/// Children of one name together, in the order of the first of each.
fn groups<'n>(children: &'n [Node<'_>]) -> Vec<(&'n str, Vec<&'n Node<'n>>)> {
    let mut groups: Vec<(&str, Vec<&Node<'_>>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for child in children {
        let place = *places.entry(&*child.key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(child),
            None => groups.push((&child.key, vec![child])),
        }
    }
    groups
}

fn write_list(items: &[&Node<'_>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.write(out);
    }
    out.push(b']');
}

fn write_scalar(text: &str, out: &mut Vec<u8>) {
    if text == "true" || text == "false" || reads_as_number(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_json_text(out, text);
    }
}

/// Digits, perhaps a minus before and a fraction behind; no leading zero, no exponent, not `-0`.
fn reads_as_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned
        .split_once('.')
        .map_or((unsigned, None), |(w, f)| (w, Some(f)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && text != "-0"
}

/// A walk over bytes that are well-formed.
struct Walk<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn take_name(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let length = rest
            .iter()
            .position(|&byte| !is_name_byte(byte))
            .unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// What stands before `end`, which is taken too.
    fn take_until(&mut self, end: &[u8]) -> &'a [u8] {
        let rest = self.rest();
        let length = memchr::memmem::find(rest, end).unwrap_or(rest.len());
        self.at += length + end.len();
        rest.get(..length).unwrap_or_default()
    }

    fn element(&mut self) -> Node<'a> {
        self.at += 1;
        let mut node = Node::leaf(self.take_name(), Vec::new());
        if self.attributes(&mut node) {
            self.content(&mut node);
        }
        node
    }

    /// The rest of a start tag; whether content follows.
    fn attributes(&mut self, node: &mut Node<'a>) -> bool {
        loop {
            self.at = skip_blanks(self.input, self.at);
            match self.rest() {
                [b'>', ..] => {
                    self.at += 1;
                    return true;
                }
                [] | [b'/', ..] => {
                    self.at += 2;
                    return false;
                }
                _ => {}
            }
            let name = self.take_name();
            self.take_until(b"=");
            self.at = skip_blanks(self.input, self.at);
            let quote = self.rest().get(..1).unwrap_or_default();
            self.at += 1;
            let value = self.take_until(quote);
            node.children
                .push(Node::leaf(name, xml_text(value).into_owned().into_bytes()));
        }
    }

    /// Content up to and with the end tag.
    fn content(&mut self, node: &mut Node<'a>) {
        while !self.rest().is_empty() {
            let run = self.take_until(b"<");
            resolve_xml(run, &mut node.text, b"");
            match self.rest() {
                [b'/', ..] => {
                    self.take_until(b">");
                    return;
                }
                [b'!', b'[', ..] => {
                    self.at += b"![CDATA[".len();
                    node.text.extend_from_slice(self.take_until(b"]]>"));
                }
                [b'!', ..] => {
                    self.at += b"!--".len();
                    self.take_until(b"-->");
                }
                [b'?', ..] => {
                    self.at += 1;
                    self.take_until(b"?>");
                }
                _ => {
                    self.at -= 1;
                    node.children.push(self.element());
                }
            }
        }
    }
}
