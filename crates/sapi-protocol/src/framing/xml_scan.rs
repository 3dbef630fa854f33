//! The boundary of an XML document that comes in pieces: a resumable automaton of its markup.
//!
//! A comment or instruction before the root element is a unit of its own here: the scanner is complete at its end.

use memchr::{memchr, memchr2};

use super::scan::Scan;
use crate::document::MAX_DEPTH;
use crate::text::{is_blank, is_name_byte, is_name_start};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte.
    Start,
    Content,
    /// After `<`.
    Open,
    StartName,
    /// Inside a start tag; an attribute may come after blanks.
    Tag {
        blank: bool,
    },
    AttributeName,
    BeforeEquals,
    AfterEquals,
    AttributeValue {
        quote: u8,
    },
    /// After the `/` of an empty element.
    Slash,
    /// After `</`.
    EndOpen,
    EndName,
    AfterEndName,
    /// After `<!`.
    Bang,
    /// What is to come of `[CDATA[` or `--`, and the state after it.
    Expect {
        rest: &'static [u8],
        cdata: bool,
    },
    /// So many bytes of `-->` or `]]>` are there.
    Special {
        end: [u8; 3],
        found: u8,
    },
    /// So many bytes of `xml` are there.
    Target {
        found: u8,
    },
    Instruction {
        question: bool,
    },
}

/// The scanner of one document; it has read the bytes fed so far, once each.
#[derive(Debug)]
pub(super) struct XmlScanner {
    state: State,
    /// Hashes of the names of open elements: 64 bits, since the pass over the whole compares the names themselves.
    open: Vec<u64>,
    /// Hash of the name being read.
    name: u64,
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl XmlScanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Start,
            open: Vec::new(),
            name: FNV_START,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            at += self.skip(bytes.get(at..).unwrap_or_default());
            let Some(&byte) = bytes.get(at) else {
                return Scan::Incomplete;
            };
            match self.step(byte) {
                Step::Taken => at += 1,
                Step::Complete => return Scan::Complete(at + 1),
                Step::Invalid => return Scan::Invalid(at),
            }
        }
    }

    /// How many bytes the present state takes without a change.
    fn skip(&self, rest: &[u8]) -> usize {
        let next = if self.state == State::Content {
            memchr(b'<', rest)
        } else if let State::AttributeValue { quote } = self.state {
            memchr2(quote, b'<', rest)
        } else if let State::Special {
            end: [first, ..],
            found: 0,
        } = self.state
        {
            memchr(first, rest)
        } else if self.state == (State::Instruction { question: false }) {
            memchr(b'?', rest)
        } else {
            return 0;
        };
        next.unwrap_or(rest.len())
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::Start | State::Content => self.only(byte == b'<', State::Open),
            State::Open => self.open(byte),
            State::StartName | State::Tag { .. } => self.tag(byte),
            State::AttributeName => match byte {
                b'=' => self.goto(State::AfterEquals),
                _ if is_name_byte(byte) => Step::Taken,
                _ => self.only(is_blank(byte), State::BeforeEquals),
            },
            State::BeforeEquals => match byte {
                b'=' => self.goto(State::AfterEquals),
                _ => self.only(is_blank(byte), State::BeforeEquals),
            },
            State::AfterEquals => match byte {
                b'"' | b'\'' => self.goto(State::AttributeValue { quote: byte }),
                _ => self.only(is_blank(byte), State::AfterEquals),
            },
            State::AttributeValue { quote } => {
                self.only(byte == quote, State::Tag { blank: false })
            }
            State::Slash if byte == b'>' => self.closed(),
            State::Slash => Step::Invalid,
            State::EndOpen | State::EndName | State::AfterEndName => self.end_tag(byte),
            State::Bang => match byte {
                b'-' => self.goto(State::Expect {
                    rest: b"-",
                    cdata: false,
                }),
                b'[' if !self.open.is_empty() => self.goto(State::Expect {
                    rest: b"CDATA[",
                    cdata: true,
                }),
                _ => Step::Invalid,
            },
            State::Expect { rest, cdata } => self.expect(byte, rest, cdata),
            State::Special { end, found } => self.special(byte, end, found),
            State::Target { found } => self.target(byte, found),
            State::Instruction { question } => match byte {
                b'>' if question => self.end_of_special(),
                _ => self.goto(State::Instruction {
                    question: byte == b'?',
                }),
            },
        }
    }

    fn goto(&mut self, state: State) -> Step {
        self.state = state;
        Step::Taken
    }

    fn only(&mut self, fits: bool, state: State) -> Step {
        if fits {
            self.goto(state)
        } else {
            Step::Invalid
        }
    }

    fn add_to_name(&mut self, byte: u8) {
        self.name = (self.name ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }

    fn begin_name(&mut self, byte: u8, state: State) -> Step {
        self.name = FNV_START;
        self.add_to_name(byte);
        self.goto(state)
    }

    fn open(&mut self, byte: u8) -> Step {
        match byte {
            b'/' if !self.open.is_empty() => self.goto(State::EndOpen),
            b'!' => self.goto(State::Bang),
            b'?' => self.goto(State::Target { found: 0 }),
            _ if is_name_start(byte) && self.open.len() < MAX_DEPTH as usize => {
                self.begin_name(byte, State::StartName)
            }
            _ => Step::Invalid,
        }
    }

    fn tag(&mut self, byte: u8) -> Step {
        let in_name = self.state == State::StartName;
        match byte {
            b'>' => {
                self.open.push(self.name);
                self.goto(State::Content)
            }
            b'/' => self.goto(State::Slash),
            _ if is_blank(byte) => self.goto(State::Tag { blank: true }),
            _ if in_name && is_name_byte(byte) => {
                self.add_to_name(byte);
                Step::Taken
            }
            _ if self.state == (State::Tag { blank: true }) && is_name_start(byte) => {
                self.goto(State::AttributeName)
            }
            _ => Step::Invalid,
        }
    }

    fn end_tag(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (State::EndOpen, _) if is_name_start(byte) => self.begin_name(byte, State::EndName),
            (State::EndName, _) if is_name_byte(byte) => {
                self.add_to_name(byte);
                Step::Taken
            }
            (State::EndName | State::AfterEndName, b'>') if self.open.pop() == Some(self.name) => {
                self.closed()
            }
            (State::EndName | State::AfterEndName, _) => {
                self.only(is_blank(byte), State::AfterEndName)
            }
            _ => Step::Invalid,
        }
    }

    /// An element has ended.
    fn closed(&mut self) -> Step {
        if self.open.is_empty() {
            Step::Complete
        } else {
            self.goto(State::Content)
        }
    }

    /// A comment, CDATA or an instruction has ended.
    fn end_of_special(&mut self) -> Step {
        self.closed()
    }

    fn expect(&mut self, byte: u8, rest: &'static [u8], cdata: bool) -> Step {
        match rest.split_first() {
            Some((&next, [])) if next == byte => {
                let end = if cdata { *b"]]>" } else { *b"-->" };
                self.goto(State::Special { end, found: 0 })
            }
            Some((&next, rest)) if next == byte => self.goto(State::Expect { rest, cdata }),
            _ => Step::Invalid,
        }
    }

    fn special(&mut self, byte: u8, end: [u8; 3], found: u8) -> Step {
        let [first, _, last] = end;
        match found {
            2 if byte == last => self.end_of_special(),
            // `--->` and `]]]>` end as well: the two bytes before the last are there.
            2 if byte == first => Step::Taken,
            _ if byte == first => self.goto(State::Special {
                end,
                found: found + 1,
            }),
            _ => self.goto(State::Special { end, found: 0 }),
        }
    }

    /// The target of an instruction: a declaration inside an element means that another document begins.
    fn target(&mut self, byte: u8, found: u8) -> Step {
        match (found, byte) {
            (0, b'x') | (1, b'm') | (2, b'l') => self.goto(State::Target { found: found + 1 }),
            (3, _) if !self.open.is_empty() && (is_blank(byte) || byte == b'?') => Step::Invalid,
            _ => self.goto(State::Instruction {
                question: byte == b'?',
            }),
        }
    }
}

enum Step {
    Taken,
    Complete,
    Invalid,
}
