//! Owns a document before it is numbered: compact JSON in the member order of the vendor's samples,
//! with the place where msgInfo belongs. It does not know who numbers it or who gets it.

use std::{borrow::Cow, collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;

/// A value as SAPI types it: per value, not per field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text that keeps its quotes.
    Text(Cow<'static, str>),
    /// Text that reads as a number and so lost its quotes; digits verbatim.
    Digits(String),
    /// Text that reads as a boolean.
    Bool(bool),
    /// attachedData: `{"attachedDatum":[{"attachedDataKey":..,"attachedDataValue":..}..]}`.
    Attached(BTreeMap<&'static str, Value>),
}

impl Value {
    /// What an XML-to-JSON conversion makes of a text: numbers and booleans lose their quotes, a
    /// leading zero or sign keeps them.
    pub(crate) fn typed(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        match text.as_ref() {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            digits if reads_as_number(digits) => Self::Digits(text.into_owned()),
            _ => Self::Text(text),
        }
    }

    /// A number.
    pub(crate) fn number(number: u64) -> Self {
        Self::Digits(number.to_string())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(text, out),
            Self::Digits(digits) => out.extend_from_slice(digits.as_bytes()),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Attached(data) => write_attached(data, out),
        }
    }
}

fn reads_as_number(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

/// Writes a JSON string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

fn write_attached(data: &BTreeMap<&'static str, Value>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"attachedDatum\":[");
    for (index, (key, value)) in data.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"attachedDataKey\":");
        write_text(key, out);
        out.extend_from_slice(b",\"attachedDataValue\":");
        value.write(out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// The members of a document's body, in the order they are written: by name.
pub(crate) type Fields = BTreeMap<&'static str, Value>;

/// Numbers for a document: its msgInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The server instance.
    pub(crate) instance: Arc<str>,
    /// Its number.
    pub(crate) sequence: u64,
    /// Publish time, ms since 1970.
    pub(crate) timestamp: u64,
}

/// How msgInfo is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StampStyle {
    /// As documented.
    #[default]
    Numbers,
    /// Sequence number and timestamp as text.
    Text,
    /// Without the instance.
    NoInstance,
    /// `{}`.
    Empty,
    /// Not at all.
    Absent,
}

/// A document without msgInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// The top-level key.
    pub(crate) class: Cow<'static, str>,
    /// The JSON, complete but for msgInfo.
    json: Vec<u8>,
    /// Where msgInfo goes; none for bytes that are emitted as they are.
    at: Option<usize>,
}

/// A document as it is written, and where its msgInfo is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamped {
    /// The document.
    pub(crate) bytes: Bytes,
    /// `,"msgInfo":{..}` within it; empty if it has none.
    pub(crate) info: Range<usize>,
}

impl Content {
    /// `{"class":{fields..}}`.
    pub(crate) fn new(class: impl Into<Cow<'static, str>>, fields: &Fields) -> Self {
        let class = class.into();
        let mut json = Vec::with_capacity(1024);
        json.push(b'{');
        write_text(&class, &mut json);
        json.extend_from_slice(b":{");
        let mut at = None;
        for (index, (name, value)) in fields.iter().enumerate() {
            // msgInfo follows a member, always: every class has one that sorts before it.
            if index > 0 {
                if at.is_none() && *name > "msgInfo" {
                    at = Some(json.len());
                }
                json.push(b',');
            }
            write_text(name, &mut json);
            json.push(b':');
            value.write(&mut json);
        }
        let at = at.or(Some(json.len())).filter(|_| !fields.is_empty());
        json.extend_from_slice(b"}}");
        Self { class, json, at }
    }

    /// Bytes that are emitted as they are, under a class of the caller's choice.
    pub(crate) fn raw(class: impl Into<Cow<'static, str>>, bytes: Vec<u8>) -> Self {
        Self {
            class: class.into(),
            json: bytes,
            at: None,
        }
    }

    /// With one more member, written as it is, at the end of the body.
    pub(crate) fn with_member(mut self, member: &[u8]) -> Self {
        if self.at.is_some()
            && let Some(end) = self.json.len().checked_sub(2)
        {
            self.json.splice(end..end, [b",", member].concat());
        }
        self
    }

    /// Under another top-level key.
    pub(crate) fn renamed(mut self, class: &'static str) -> Self {
        let mut old = Vec::new();
        write_text(&self.class, &mut old);
        if let (Some(at), Some(body)) = (self.at, self.json.get(1 + old.len()..)) {
            let mut json = vec![b'{'];
            write_text(class, &mut json);
            json.extend_from_slice(body);
            self.at = (at + json.len()).checked_sub(self.json.len());
            self.json = json;
            self.class = Cow::Borrowed(class);
        }
        self
    }

    /// Filled up to about `size` bytes, msgInfo included.
    pub(crate) fn padded(self, size: usize) -> Self {
        const INFO_AND_MEMBER: usize = 140;
        let missing = size.saturating_sub(self.json.len() + INFO_AND_MEMBER);
        if missing == 0 {
            return self;
        }
        let mut member = b"\"simulatorPadding\":\"".to_vec();
        member.resize(member.len() + missing, b'x');
        member.push(b'"');
        self.with_member(&member)
    }

    /// The document with its msgInfo in place.
    pub(crate) fn stamped(&self, stamp: &Stamp, style: StampStyle) -> Stamped {
        let Some((at, (head, tail))) = self
            .at
            .and_then(|at| Some((at, self.json.split_at_checked(at)?)))
        else {
            return Stamped {
                bytes: Bytes::copy_from_slice(&self.json),
                info: 0..0,
            };
        };
        let mut bytes = Vec::with_capacity(self.json.len() + 128);
        bytes.extend_from_slice(head);
        write_info(stamp, style, &mut bytes);
        let info = at..bytes.len();
        bytes.extend_from_slice(tail);
        Stamped {
            bytes: Bytes::from(bytes),
            info,
        }
    }
}

impl Stamped {
    /// Between two texts.
    pub(crate) fn wrapped(&self, before: &[u8], after: &[u8]) -> Self {
        let shift = before.len();
        Self {
            bytes: Bytes::from([before, &self.bytes, after].concat()),
            info: self.info.start + shift..self.info.end + shift,
        }
    }

    /// Its first bytes alone.
    pub(crate) fn cut(&self, length: usize) -> Self {
        Self {
            bytes: self.bytes.slice(..length.min(self.bytes.len())),
            info: 0..0,
        }
    }

    /// With one more member, whose value is no UTF-8.
    pub(crate) fn with_bad_utf8(&self) -> Self {
        let mut bytes = self.bytes.to_vec();
        if let Some(place) = bytes.len().checked_sub(2) {
            bytes.splice(place..place, *b",\"bad\":\"\xc3\x28\xff\"");
        }
        Self {
            bytes: Bytes::from(bytes),
            info: 0..0,
        }
    }

    /// The same document under another msgInfo; as it is if it has none.
    pub(crate) fn restamped(&self, stamp: &Stamp, style: StampStyle) -> Self {
        let (Some(head), Some(tail)) = (
            self.bytes.get(..self.info.start),
            self.bytes.get(self.info.end..),
        ) else {
            return self.clone();
        };
        if self.info.is_empty() {
            return self.clone();
        }
        let mut bytes = head.to_vec();
        write_info(stamp, style, &mut bytes);
        let info = self.info.start..bytes.len();
        bytes.extend_from_slice(tail);
        Self {
            bytes: Bytes::from(bytes),
            info,
        }
    }
}

fn write_info(stamp: &Stamp, style: StampStyle, out: &mut Vec<u8>) {
    if style == StampStyle::Absent {
        return;
    }
    out.extend_from_slice(b",\"msgInfo\":{");
    if style != StampStyle::Empty {
        if style != StampStyle::NoInstance {
            out.extend_from_slice(b"\"instanceId\":");
            write_text(&stamp.instance, out);
            out.push(b',');
        }
        let quote = if style == StampStyle::Text { "\"" } else { "" };
        let numbers = format!(
            "\"sequenceId\":{quote}{}{quote},\"timestamp\":{quote}{}{quote}",
            stamp.sequence, stamp.timestamp
        );
        out.extend_from_slice(numbers.as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::{Content, Fields, Stamp, StampStyle, Value};

    fn stamp() -> Stamp {
        Stamp {
            instance: "us1tomcat04.us1.whitepj.net-sapi-v1".into(),
            sequence: 215,
            timestamp: 1_669_235_544_917,
        }
    }

    fn sample() -> Content {
        Content::new(
            "AgentStatusChange",
            &Fields::from([
                ("agentId", Value::typed("ag64oyEUb_Sk6bxVB9P5yaaa")),
                ("newReasonCodeUser", Value::typed("801=1722")),
                ("newState", Value::number(5)),
                ("newSubState", Value::typed("none")),
                ("newSubStateReason", Value::typed("none")),
                ("statusEventTS", Value::number(1_669_235_544)),
            ]),
        )
    }

    #[test]
    fn a_status_change_is_the_vendors_sample() {
        let expected = concat!(
            r#"{"AgentStatusChange":{"agentId":"ag64oyEUb_Sk6bxVB9P5yaaa","#,
            r#""msgInfo":{"instanceId":"us1tomcat04.us1.whitepj.net-sapi-v1","sequenceId":215,"timestamp":1669235544917},"#,
            r#""newReasonCodeUser":"801=1722","newState":5,"newSubState":"none","newSubStateReason":"none","statusEventTS":1669235544}}"#,
        );
        assert_eq!(
            sample().stamped(&stamp(), StampStyle::Numbers).bytes,
            expected
        );
    }

    #[test]
    fn restamping_changes_the_msg_info_alone() {
        let mut other = stamp();
        other.sequence = 9_999_999;
        let first = sample().stamped(&stamp(), StampStyle::Numbers);
        let second = first.restamped(&other, StampStyle::Numbers);
        assert_eq!(second, sample().stamped(&other, StampStyle::Numbers));
        assert_eq!(second.restamped(&stamp(), StampStyle::Numbers), first);
    }

    #[test]
    fn styles_write_what_they_say() {
        let written =
            |style| String::from_utf8(sample().stamped(&stamp(), style).bytes.to_vec()).unwrap();
        assert!(
            written(StampStyle::Text).contains(r#""sequenceId":"215","timestamp":"1669235544917""#)
        );
        assert!(written(StampStyle::Empty).contains(r#""msgInfo":{},"#));
        assert!(!written(StampStyle::Absent).contains("msgInfo"));
        assert!(written(StampStyle::NoInstance).contains(r#""msgInfo":{"sequenceId""#));
        for style in [
            StampStyle::Text,
            StampStyle::Empty,
            StampStyle::Absent,
            StampStyle::NoInstance,
        ] {
            serde_json::from_str::<serde_json::Value>(&written(style)).unwrap();
        }
    }

    #[test]
    fn values_are_typed_one_by_one() {
        for (text, json) in [
            ("447799147855", "447799147855"),
            ("0", "0"),
            ("0123", "\"0123\""),
            ("+15515557212", "\"+15515557212\""),
            ("true", "true"),
            ("12a", "\"12a\""),
            ("", "\"\""),
        ] {
            let mut out = Vec::new();
            Value::typed(text).write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }
}
