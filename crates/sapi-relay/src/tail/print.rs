//! Owns how an event is printed for people and for pipes. It knows no connection.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{BufWriter, Stdout, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cli::TailFormat;
use crate::logging;
use crate::output::stdout;

/// Prints events on standard output.
#[derive(Debug)]
pub(crate) struct Printer {
    format: TailFormat,
    /// Whether a terminal shows it, which obeys control characters.
    terminal: bool,
    colour: bool,
    out: BufWriter<Stdout>,
}

/// What of a `CloudEvent` matters here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(default)]
    pub(super) time: Option<Timestamp>,
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) subject: Option<String>,
    #[serde(default)]
    pub(super) relaycursor: Option<String>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) data_base64: Option<String>,
}

/// What begins the type of an event, and of a notice.
const EVENT: &str = "com.8x8.cc.";
const NOTICE: &str = "io.sapi-relay.notice.";

impl Printer {
    pub(super) fn new(format: TailFormat, terminal: bool) -> Self {
        Self {
            format,
            terminal,
            colour: terminal && logging::colour(),
            out: stdout(),
        }
    }

    /// A `CloudEvent` as the relay sent it.
    pub(super) fn event(&mut self, text: &str, envelope: &Envelope<'_>) -> std::io::Result<()> {
        match self.format {
            TailFormat::Cloudevents => self.line(text.as_bytes()),
            TailFormat::Raw => self.raw(envelope),
            TailFormat::Pretty => {
                let kind = envelope.kind.as_deref().unwrap_or_default();
                let subject = envelope.subject.as_deref().unwrap_or_default();
                let data = envelope.data.map(RawValue::get).unwrap_or_default();
                self.pretty(envelope.time, kind, subject, data)
            }
        }
    }

    /// A document as 8x8 sent it.
    pub(super) fn document(&mut self, kind: &str, key: &str, bytes: &[u8]) -> std::io::Result<()> {
        match self.format {
            TailFormat::Pretty => {
                let kind = format!("{EVENT}{kind}");
                self.pretty(
                    Some(Timestamp::now()),
                    &kind,
                    key,
                    &String::from_utf8_lossy(bytes),
                )
            }
            TailFormat::Raw | TailFormat::Cloudevents => self.line(bytes),
        }
    }

    /// Shows what has been printed so far. To be called when nothing more is at hand.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    fn raw(&mut self, envelope: &Envelope<'_>) -> std::io::Result<()> {
        use base64::Engine as _;
        if let Some(text) = &envelope.data_base64 {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            return self.line(&bytes.unwrap_or_default());
        }
        let data = envelope.data.map(RawValue::get).unwrap_or_default();
        // A document that is no JSON travels as a text.
        match serde_json::from_str::<String>(data) {
            Ok(text) => self.line(text.as_bytes()),
            Err(_) => self.line(data.as_bytes()),
        }
    }

    /// Bytes as they are, except on a terminal.
    fn line(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.terminal {
            return writeln!(self.out, "{}", harmless(&String::from_utf8_lossy(bytes)));
        }
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")
    }

    fn pretty(
        &mut self,
        time: Option<Timestamp>,
        kind: &str,
        subject: &str,
        data: &str,
    ) -> std::io::Result<()> {
        let clock = time
            .map(|time| time.strftime("%H:%M:%S%.3f").to_string())
            .unwrap_or_default();
        let (kind, style) = if let Some(notice) = kind.strip_prefix(NOTICE) {
            (format!("notice {notice}"), self.style(AnsiColor::Yellow))
        } else {
            let kind = kind.strip_prefix(EVENT).unwrap_or(kind).replace('.', "/");
            let colour = colour_of(&kind);
            (kind, self.style(colour))
        };
        let dim = if self.colour {
            Style::new().dimmed()
        } else {
            Style::new()
        };
        let matters =
            serde_json::from_str(data).map_or_else(|_| data.to_owned(), |data| matters(&data));
        let [kind, subject, matters] = [&kind, subject, &matters].map(harmless);
        writeln!(
            self.out,
            "{dim}{clock}{dim:#}  {style}{kind:<38}{style:#}  {subject}  {dim}{matters}{dim:#}",
        )
    }

    fn style(&self, colour: AnsiColor) -> Style {
        if self.colour {
            Style::new().fg_color(Some(colour.into())).bold()
        } else {
            Style::new()
        }
    }
}

/// A text on one line, without what a terminal would obey: the values are others'.
fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.contains(obeyed) {
        text.replace(obeyed, "\u{fffd}").into()
    } else {
        text.into()
    }
}

fn colour_of(kind: &str) -> AnsiColor {
    match kind.split('/').next() {
        Some("Interaction") => AnsiColor::Cyan,
        Some("AgentStatusChange") => AnsiColor::Green,
        Some("AgentProvChange") => AnsiColor::Blue,
        _ => AnsiColor::Magenta,
    }
}

/// Fields that say most, in their order, with the name they are shown under.
const FIELDS: [(&str, &str); 13] = [
    ("newState", "state"),
    ("newReasonCodeUser", "reason"),
    ("mediaType", "media"),
    ("direction", "direction"),
    ("callState", "call"),
    ("agentId", "agent"),
    ("queueId", "queue"),
    ("callHangupReason", "hangup"),
    ("hangupInitiator", "by"),
    ("dispositionCode", "disposition"),
    ("status", "status"),
    ("missing", "missing"),
    ("text", ""),
];

/// What agents' states mean (`newState`).
const STATES: [&str; 12] = [
    "unknown",
    "logged out",
    "logged in",
    "on break",
    "available",
    "work offline",
    "offered",
    "processing",
    "post-process",
    "busy",
    "direct call",
    "on email",
];

/// What matters of a document, on one line.
fn matters(data: &Value) -> String {
    let Some(fields) = inner(data) else {
        return String::new();
    };
    let mut line = String::new();
    for (name, shown) in FIELDS {
        let Some(value) = fields.get(name) else {
            continue;
        };
        let value = match (name, value) {
            ("newState", value) => state(value),
            (_, Value::String(text)) => text.clone(),
            (_, Value::Object(_) | Value::Array(_) | Value::Null) => continue,
            (_, other) => other.to_string(),
        };
        if value.is_empty() || (name == "newReasonCodeUser" && value == "none") {
            continue;
        }
        let gap = if line.is_empty() { "" } else { " " };
        // Writing to a String can't fail.
        let written = match shown {
            "" => write!(line, "{gap}{value}"),
            shown => write!(line, "{gap}{shown}={value}"),
        };
        written.ok();
    }
    line
}

/// The fields below the class; a notice has them at the top.
fn inner(data: &Value) -> Option<&Map<String, Value>> {
    let fields = data.as_object()?;
    match fields.values().next() {
        Some(Value::Object(inner)) if fields.len() == 1 => Some(inner),
        _ => Some(fields),
    }
}

fn state(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned);
    let name = text
        .parse()
        .ok()
        .and_then(|number: usize| STATES.get(number));
    name.map_or(text, |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(harmless("agent ada"), "agent ada");
        let hostile = "\u{1b}[2J\u{9b}31m\nfine\u{202e}";
        assert_eq!(
            harmless(hostile),
            "\u{fffd}[2J\u{fffd}31m\u{fffd}fine\u{fffd}"
        );
    }

    #[test]
    fn what_matters_of_a_document() {
        let agent = json!({"AgentStatusChange": {"agentId": "ag1", "newState": 3, "newReasonCodeUser": "none"}});
        assert_eq!(matters(&agent), "state=on break agent=ag1");
        let odd = json!({"AgentStatusChange": {"newState": "77", "attachedData": {}}});
        assert_eq!(matters(&odd), "state=77");
        let call = json!({"Interaction": {"callState": "CS_QUEUED", "queueId": 591, "mediaType": "phone"}});
        assert_eq!(matters(&call), "media=phone call=CS_QUEUED queue=591");
        let notice = json!({"kind": "sequence_gap", "missing": 3, "text": "3 numbers are missing"});
        assert_eq!(matters(&notice), "missing=3 3 numbers are missing");
        assert_eq!(matters(&json!(["x"])), "");
    }
}
