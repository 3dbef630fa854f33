//! The boundary of a JSON document that comes in pieces: a resumable automaton of the whole grammar.

use super::scan::Scan;
use crate::document::MAX_DEPTH;
use crate::text::{is_blank, plain_run};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    /// After `[`: a value or the end.
    ValueOrEnd,
    /// After `{`: a name or the end.
    NameOrEnd,
    /// After a comma in an object.
    Name,
    Colon,
    /// After a value: a comma or the end.
    After,
    Text {
        name: bool,
    },
    Escape {
        name: bool,
    },
    /// So many digits of `\u` are to come.
    Hex {
        name: bool,
        left: u8,
    },
    Number(Number),
    /// What is to come of a literal.
    Literal(&'static [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// The scanner of one document; it has read the bytes fed so far, once each.
#[derive(Debug)]
pub(super) struct JsonScanner {
    state: State,
    /// Open containers, the innermost in the lowest bit: 1 is an object.
    stack: u128,
    depth: u32,
}

impl JsonScanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value,
            stack: 0,
            depth: 0,
        }
    }

    /// Whether a value of an object comes next.
    pub(super) fn awaits_member_value(&self) -> bool {
        self.state == State::Value && self.depth > 0 && self.stack & 1 == 1
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            if matches!(self.state, State::Text { .. }) {
                at = plain_run(bytes, at);
            }
            let Some(&byte) = bytes.get(at) else {
                return Scan::Incomplete;
            };
            match self.step(byte) {
                Step::Taken => at += 1,
                Step::Again => {}
                Step::Complete => return Scan::Complete(at + 1),
                Step::Invalid => return Scan::Invalid(at),
            }
        }
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::Value => self.value(byte, false),
            State::ValueOrEnd => self.value(byte, true),
            State::NameOrEnd => self.name(byte, true),
            State::Name => self.name(byte, false),
            State::Colon => match byte {
                b':' => self.goto(State::Value),
                _ => Self::blank(byte),
            },
            State::After => self.after(byte),
            State::Text { name } => self.text(byte, name),
            State::Escape { name } => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                    self.goto(State::Text { name })
                }
                b'u' => self.goto(State::Hex { name, left: 4 }),
                _ => Step::Invalid,
            },
            State::Hex { name, left } => match (byte.is_ascii_hexdigit(), left) {
                (false, _) => Step::Invalid,
                (true, 1) => self.goto(State::Text { name }),
                (true, _) => self.goto(State::Hex {
                    name,
                    left: left - 1,
                }),
            },
            State::Number(number) => self.number(byte, number),
            State::Literal(rest) => match rest.split_first() {
                Some((&next, rest)) if next == byte => self.goto(if rest.is_empty() {
                    State::After
                } else {
                    State::Literal(rest)
                }),
                _ => Step::Invalid,
            },
        }
    }

    fn goto(&mut self, state: State) -> Step {
        self.state = state;
        Step::Taken
    }

    fn blank(byte: u8) -> Step {
        if is_blank(byte) {
            Step::Taken
        } else {
            Step::Invalid
        }
    }

    fn value(&mut self, byte: u8, or_end: bool) -> Step {
        match byte {
            b'{' => self.open(1, State::NameOrEnd),
            b'[' => self.open(0, State::ValueOrEnd),
            b']' if or_end => self.close(0),
            _ if is_blank(byte) => Step::Taken,
            _ if self.depth == 0 => Step::Invalid,
            b'"' => self.goto(State::Text { name: false }),
            b'-' => self.goto(State::Number(Number::Minus)),
            b'0' => self.goto(State::Number(Number::Zero)),
            b'1'..=b'9' => self.goto(State::Number(Number::Digits)),
            b't' => self.goto(State::Literal(b"rue")),
            b'f' => self.goto(State::Literal(b"alse")),
            b'n' => self.goto(State::Literal(b"ull")),
            _ => Step::Invalid,
        }
    }

    fn open(&mut self, kind: u128, state: State) -> Step {
        if self.depth == MAX_DEPTH {
            return Step::Invalid;
        }
        self.stack = (self.stack << 1) | kind;
        self.depth += 1;
        self.goto(state)
    }

    fn close(&mut self, kind: u128) -> Step {
        if self.stack & 1 != kind {
            return Step::Invalid;
        }
        self.stack >>= 1;
        self.depth -= 1;
        if self.depth == 0 {
            Step::Complete
        } else {
            self.goto(State::After)
        }
    }

    fn name(&mut self, byte: u8, or_end: bool) -> Step {
        match byte {
            b'"' => self.goto(State::Text { name: true }),
            b'}' if or_end => self.close(1),
            _ => Self::blank(byte),
        }
    }

    fn after(&mut self, byte: u8) -> Step {
        match byte {
            b',' if self.stack & 1 == 1 => self.goto(State::Name),
            b',' => self.goto(State::Value),
            b'}' => self.close(1),
            b']' => self.close(0),
            _ => Self::blank(byte),
        }
    }

    fn text(&mut self, byte: u8, name: bool) -> Step {
        match byte {
            b'"' => self.goto(if name { State::Colon } else { State::After }),
            b'\\' => self.goto(State::Escape { name }),
            0..0x20 => Step::Invalid,
            _ => Step::Taken,
        }
    }

    fn number(&mut self, byte: u8, number: Number) -> Step {
        let next = match (number, byte) {
            (Number::Minus, b'0') => Number::Zero,
            (Number::Minus | Number::Digits, b'0'..=b'9') => Number::Digits,
            (Number::Zero | Number::Digits, b'.') => Number::Point,
            (Number::Point | Number::Fraction, b'0'..=b'9') => Number::Fraction,
            (Number::Zero | Number::Digits | Number::Fraction, b'e' | b'E') => Number::E,
            (Number::E, b'+' | b'-') => Number::Sign,
            (Number::E | Number::Sign | Number::Exponent, b'0'..=b'9') => Number::Exponent,
            (Number::Zero | Number::Digits | Number::Fraction | Number::Exponent, _) => {
                self.state = State::After;
                return Step::Again;
            }
            _ => return Step::Invalid,
        };
        self.goto(State::Number(next))
    }
}

enum Step {
    Taken,
    /// The byte belongs to the next state.
    Again,
    Complete,
    Invalid,
}
