//! One pass over an XML document: well-formedness, boundary, fields and content hash; knows no framing.
//!
//! Content is compared in document order (blanks between elements, comments and instructions aside;
//! references and CDATA as the text they stand for; attributes in any order). What XML asks for and a
//! relay has no use of is not checked: characters of names, entities beyond XML's own.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::content_hash::{List, Members, Part, element, leaf};
use super::fields::{Fields, Level, MAX_DEPTH, Parsed, Span, Stop};
use crate::text::{is_blank, is_name_byte, is_name_start, resolve_xml, skip_blanks};

/// Put before a reference that is not XML's own, so that `&nbsp;` and `&amp;nbsp;` stay different.
const UNRESOLVED: &[u8] = &[0xff];

/// Reads the document that begins with the first byte, the `<` of the root element.
pub(crate) fn parse(input: &[u8]) -> Result<Parsed, Stop> {
    let mut pass = Pass {
        input,
        at: 0,
        fields: Fields::NONE,
        msg_info_seen: false,
    };
    let root = pass.element(0, Level::Root)?;
    Ok(Parsed {
        end: pass.at,
        fields: pass.fields,
        hash: root.hash,
    })
}

/// The length of the comment or instruction (the XML declaration is one) that begins at `from`, if one does.
pub(crate) fn misc(input: &[u8], from: usize) -> Result<Option<usize>, Stop> {
    let rest = input.get(from..).unwrap_or_default();
    let end: &[u8] = if rest.starts_with(b"<?") {
        b"?>"
    } else if rest.starts_with(b"<!--") {
        b"-->"
    } else if b"<!--".starts_with(rest) {
        return Err(Stop::Incomplete);
    } else {
        return Ok(None);
    };
    // The two ends must not share a byte with the beginning: `<?>` and `<!-->` are no end.
    let begin = if rest.starts_with(b"<?") { 2 } else { 4 };
    let inside = rest.get(begin..).unwrap_or_default();
    let length = memchr::memmem::find(inside, end).ok_or(Stop::Incomplete)?;
    Ok(Some(begin + length + end.len()))
}

struct Pass<'a> {
    input: &'a [u8],
    at: usize,
    fields: Fields,
    msg_info_seen: bool,
}

struct Element<'a> {
    name: &'a [u8],
    hash: u128,
    /// What stands between the tags of a leaf.
    text: Span,
}

/// The content of an element as far as it is read.
struct Content {
    items: List,
    children: usize,
    /// Where the present run of character data begins.
    run: usize,
    /// Whether the run has references, CDATA, comments or instructions.
    special: bool,
}

impl<'a> Pass<'a> {
    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    fn invalid<T>(&self) -> Result<T, Stop> {
        Err(Stop::Invalid(self.at))
    }

    fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.input.get(start..end).unwrap_or_default()
    }

    fn element(&mut self, depth: u32, level: Level) -> Result<Element<'a>, Stop> {
        if depth == MAX_DEPTH {
            return self.invalid();
        }
        self.at += 1;
        let span = self.name()?;
        let name = span.of(self.input).unwrap_or_default();
        let inner = self.enter(level, span, name);
        let (attributes, empty) = self.attributes()?;
        let start = self.at;
        let mut content = Content {
            items: List::default(),
            children: 0,
            run: start,
            special: false,
        };
        let end = if empty {
            start
        } else {
            self.content(depth, inner, name, &mut content)?
        };
        let text = if content.children == 0 {
            Span::new(start, end)
        } else {
            Span::ABSENT
        };
        let hash = element(leaf(Part::Text, name), attributes, content.items);
        Ok(Element { name, hash, text })
    }

    /// The level of an element's children.
    fn enter(&mut self, level: Level, span: Span, name: &[u8]) -> Level {
        match level {
            Level::Root => {
                self.fields.class = span;
                Level::Body
            }
            Level::Body if !self.msg_info_seen && name == b"msgInfo" => {
                self.msg_info_seen = true;
                Level::MsgInfo
            }
            Level::Body | Level::MsgInfo | Level::Elsewhere => Level::Elsewhere,
        }
    }

    fn name(&mut self) -> Result<Span, Stop> {
        if !is_name_start(self.peek()?) {
            return self.invalid();
        }
        let start = self.at;
        while is_name_byte(self.peek()?) {
            self.at += 1;
        }
        Ok(Span::new(start, self.at))
    }

    fn skip_blanks(&mut self) {
        self.at = skip_blanks(self.input, self.at);
    }

    /// The rest of a start tag: the attributes, and whether the element is closed already.
    fn attributes(&mut self) -> Result<(Members, bool), Stop> {
        let mut members = Members::default();
        loop {
            let before = self.at;
            self.skip_blanks();
            match self.peek()? {
                b'>' => {
                    self.at += 1;
                    return Ok((members, false));
                }
                b'/' => {
                    self.at += 1;
                    if self.peek()? != b'>' {
                        return self.invalid();
                    }
                    self.at += 1;
                    return Ok((members, true));
                }
                _ if before == self.at => return self.invalid(),
                _ => self.attribute(&mut members)?,
            }
        }
    }

    fn attribute(&mut self, members: &mut Members) -> Result<(), Stop> {
        let name = self.name()?.of(self.input).unwrap_or_default();
        self.skip_blanks();
        if self.peek()? != b'=' {
            return self.invalid();
        }
        self.at += 1;
        self.skip_blanks();
        let quote = self.peek()?;
        if quote != b'"' && quote != b'\'' {
            return self.invalid();
        }
        self.at += 1;
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let length = memchr2(quote, b'<', rest).ok_or(Stop::Incomplete)?;
        self.at = start + length;
        if self.peek()? == b'<' {
            return self.invalid();
        }
        let value = leaf(Part::Text, &resolved(self.slice(start, self.at), true));
        self.at += 1;
        members.add(leaf(Part::Text, name), value);
        Ok(())
    }

    /// Everything up to and with the end tag; says where the end tag begins.
    fn content(
        &mut self,
        depth: u32,
        level: Level,
        name: &[u8],
        content: &mut Content,
    ) -> Result<usize, Stop> {
        loop {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let length = memchr(b'<', rest).ok_or(Stop::Incomplete)?;
            let tag = self.at + length;
            content.special |= memchr(b'&', self.slice(self.at, tag)).is_some();
            self.at = tag;
            match self.input.get(tag + 1).ok_or(Stop::Incomplete)? {
                b'/' => {
                    self.flush(content, tag);
                    self.end_tag(name)?;
                    return Ok(tag);
                }
                b'!' | b'?' => {
                    content.special = true;
                    self.skip_special()?;
                }
                _ => {
                    content.children += 1;
                    self.flush(content, tag);
                    self.child(depth, level, content)?;
                }
            }
        }
    }

    fn child(&mut self, depth: u32, level: Level, content: &mut Content) -> Result<(), Stop> {
        let msg_info_before = self.msg_info_seen;
        let child = self.element(depth + 1, level)?;
        content.run = self.at;
        content.special = false;
        if level == Level::Body && child.name == b"msgInfo" && !msg_info_before {
            return Ok(()); // msgInfo says how an event was sent, not what it is
        }
        if !child.text.is_absent() {
            self.fields.note(level, child.name, child.text);
        }
        content.items.add(child.hash);
        Ok(())
    }

    /// Adds the run of character data that ends at `end`; blanks beside elements are no content.
    fn flush(&self, content: &mut Content, end: usize) {
        let text = resolved(self.slice(content.run, end), content.special);
        let between_elements = content.children > 0 && text.iter().copied().all(is_blank);
        if !text.is_empty() && !between_elements {
            content.items.add(leaf(Part::Text, &text));
        }
    }

    fn end_tag(&mut self, name: &[u8]) -> Result<(), Stop> {
        self.at += 2;
        for &byte in name {
            if self.peek()? != byte {
                return self.invalid();
            }
            self.at += 1;
        }
        self.skip_blanks();
        if self.peek()? != b'>' {
            return self.invalid();
        }
        self.at += 1;
        Ok(())
    }

    /// CDATA, a comment or an instruction.
    fn skip_special(&mut self) -> Result<(), Stop> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        if is_declaration(rest) {
            return self.invalid(); // another document begins: this one was cut short
        }
        if let Some(length) = misc(self.input, self.at)? {
            self.at += length;
            return Ok(());
        }
        let begin = b"<![CDATA[";
        if let Some(inside) = rest.strip_prefix(begin) {
            let length = memchr::memmem::find(inside, b"]]>").ok_or(Stop::Incomplete)?;
            self.at += begin.len() + length + 3;
            return Ok(());
        }
        if begin.starts_with(rest) {
            Err(Stop::Incomplete)
        } else {
            self.invalid()
        }
    }
}

/// Whether an XML declaration begins here.
fn is_declaration(rest: &[u8]) -> bool {
    let after = rest.strip_prefix(b"<?xml").and_then(<[u8]>::first);
    after.is_some_and(|&byte| is_blank(byte) || byte == b'?')
}

/// Character data as the text it stands for.
fn resolved(raw: &[u8], special: bool) -> Cow<'_, [u8]> {
    if !special || memchr2(b'&', b'<', raw).is_none() {
        return raw.into();
    }
    let mut text = Vec::with_capacity(raw.len());
    resolve_xml(raw, &mut text, UNRESOLVED);
    text.into()
}
