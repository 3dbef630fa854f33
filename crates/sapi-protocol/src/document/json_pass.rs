//! One pass over a JSON document: grammar, boundary, fields and content hash; knows no framing.

use super::content_hash::{List, Members, Part, leaf};
use super::fields::{Fields, Level, MAX_DEPTH, Parsed, Span, Stop};
use crate::text::{is_blank, plain_run, unescape_json};

/// Reads the document that begins with the first byte, an opening brace or bracket.
pub(crate) fn parse(input: &[u8]) -> Result<Parsed, Stop> {
    let mut pass = Pass {
        input,
        at: 0,
        fields: Fields::NONE,
        msg_info_seen: false,
    };
    let value = pass.value(0, Level::Root)?;
    Ok(Parsed {
        end: pass.at,
        fields: pass.fields,
        hash: value.hash,
    })
}

struct Pass<'a> {
    input: &'a [u8],
    at: usize,
    fields: Fields,
    msg_info_seen: bool,
}

struct Value {
    hash: u128,
    /// Of a scalar other than null.
    text: Span,
}

/// The inside of a string.
struct Text<'a> {
    raw: &'a [u8],
    span: Span,
    escaped: bool,
}

impl Text<'_> {
    fn hash(&self) -> u128 {
        if !self.escaped {
            return leaf(Part::Text, self.raw);
        }
        let mut plain = Vec::with_capacity(self.raw.len());
        unescape_json(self.raw, &mut plain);
        leaf(Part::Text, &plain)
    }
}

impl<'a> Pass<'a> {
    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    /// The next byte that is no blank, not taken.
    fn peek_token(&mut self) -> Result<u8, Stop> {
        loop {
            let byte = self.peek()?;
            if !is_blank(byte) {
                return Ok(byte);
            }
            self.at += 1;
        }
    }

    fn invalid<T>(&self) -> Result<T, Stop> {
        Err(Stop::Invalid(self.at))
    }

    fn value(&mut self, depth: u32, level: Level) -> Result<Value, Stop> {
        match self.peek_token()? {
            b'"' => {
                let text = self.string()?;
                Ok(Value {
                    hash: text.hash(),
                    text: text.span,
                })
            }
            b'{' => self.object(depth, level),
            b'[' => self.array(depth),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => {
                let value = self.literal(b"null")?;
                Ok(Value {
                    text: Span::ABSENT,
                    ..value
                })
            }
            _ => self.invalid(),
        }
    }

    fn object(&mut self, depth: u32, level: Level) -> Result<Value, Stop> {
        if depth == MAX_DEPTH {
            return self.invalid();
        }
        self.at += 1;
        let mut members = Members::default();
        if self.peek_token()? == b'}' {
            self.at += 1;
            return Ok(Value {
                hash: members.finish(),
                text: Span::ABSENT,
            });
        }
        loop {
            if self.peek_token()? != b'"' {
                return self.invalid();
            }
            self.member(depth, level, &mut members)?;
            match self.peek_token()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return self.invalid(),
            }
        }
        self.at += 1;
        Ok(Value {
            hash: members.finish(),
            text: Span::ABSENT,
        })
    }

    fn member(&mut self, depth: u32, level: Level, members: &mut Members) -> Result<(), Stop> {
        let name = self.string()?;
        if self.peek_token()? != b':' {
            return self.invalid();
        }
        self.at += 1;
        if level == Level::Elsewhere {
            let value = self.value(depth + 1, Level::Elsewhere)?;
            members.add(name.hash(), value.hash);
            return Ok(());
        }
        let inner = self.enter(level, &name);
        let value = self.value(depth + 1, inner)?;
        if inner == Level::MsgInfo {
            return Ok(()); // msgInfo says how an event was sent, not what it is
        }
        if !value.text.is_absent() {
            self.fields.note(level, &plain(&name), value.text);
        }
        members.add(name.hash(), value.hash);
        Ok(())
    }

    /// The level of a member's value.
    fn enter(&mut self, level: Level, name: &Text<'_>) -> Level {
        match level {
            Level::Root if self.fields.class.is_absent() => {
                self.fields.class = name.span;
                Level::Body
            }
            // A second msgInfo is content: it can't be told which of them counts.
            Level::Body if !self.msg_info_seen && *plain(name) == *b"msgInfo" => {
                self.msg_info_seen = true;
                Level::MsgInfo
            }
            Level::Root | Level::Body | Level::MsgInfo | Level::Elsewhere => Level::Elsewhere,
        }
    }

    fn array(&mut self, depth: u32) -> Result<Value, Stop> {
        if depth == MAX_DEPTH {
            return self.invalid();
        }
        self.at += 1;
        let mut items = List::default();
        if self.peek_token()? == b']' {
            self.at += 1;
            return Ok(Value {
                hash: items.finish(),
                text: Span::ABSENT,
            });
        }
        loop {
            items.add(self.value(depth + 1, Level::Elsewhere)?.hash);
            match self.peek_token()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return self.invalid(),
            }
        }
        self.at += 1;
        Ok(Value {
            hash: items.finish(),
            text: Span::ABSENT,
        })
    }

    fn string(&mut self) -> Result<Text<'a>, Stop> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            self.at = plain_run(self.input, self.at);
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.invalid(),
            }
        }
        let raw = self.input.get(start..self.at).unwrap_or_default();
        let span = Span::new(start, self.at);
        self.at += 1;
        Ok(Text { raw, span, escaped })
    }

    fn escape(&mut self) -> Result<(), Stop> {
        self.at += 1;
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _digit in 0..4 {
                    if !self.peek()?.is_ascii_hexdigit() {
                        return self.invalid();
                    }
                    self.at += 1;
                }
            }
            _ => return self.invalid(),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Stop> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        let raw = self.input.get(start..self.at).unwrap_or_default();
        Ok(Value {
            hash: leaf(Part::Number, raw),
            text: Span::new(start, self.at),
        })
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Stop> {
        if !self.peek()?.is_ascii_digit() {
            return self.invalid();
        }
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<Value, Stop> {
        let start = self.at;
        for &byte in word {
            if self.peek()? != byte {
                return self.invalid();
            }
            self.at += 1;
        }
        Ok(Value {
            hash: leaf(Part::Literal, word),
            text: Span::new(start, self.at),
        })
    }
}

/// A name without its escapes.
fn plain<'t>(name: &Text<'t>) -> std::borrow::Cow<'t, [u8]> {
    if !name.escaped {
        return name.raw.into();
    }
    let mut plain = Vec::new();
    unescape_json(name.raw, &mut plain);
    plain.into()
}
