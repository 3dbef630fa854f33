//! Owns how documents become messages and frames: one text message each, or as faults want it.

use std::borrow::Cow;

use sapi_protocol::{Format, OutputType, xml::json_to_xml};

use super::frames::{self, Form};
use crate::{
    faults::{Faults, knob},
    hub::Taken,
};

/// Writes the frames of a batch.
pub(crate) fn batch(documents: &[Taken], output: OutputType, faults: &Faults, out: &mut Vec<u8>) {
    let concat = faults
        .arg(&knob::CONCAT)
        .map_or(1, |arg| size(arg.number()));
    let whole_replay = faults.on(&knob::REPLAY_ONE_MESSAGE);
    let mut rest = documents;
    while let Some(first) = rest.first() {
        let stored = rest.iter().take_while(|document| document.stored).count();
        let together = if whole_replay && first.stored {
            faults.fire(&knob::REPLAY_ONE_MESSAGE);
            stored
        } else {
            concat.min(rest.len())
        };
        if concat > 1 && together > 1 {
            faults.fire(&knob::CONCAT);
        }
        let (group, after) = rest.split_at(together.clamp(1, rest.len()));
        message(group, output, faults, out);
        rest = after;
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).max(1)
}

/// Writes one group of documents.
fn message(group: &[Taken], output: OutputType, faults: &Faults, out: &mut Vec<u8>) {
    strays(faults, out);
    let rendered: Cow<'_, [u8]> = match group {
        [one] => render(one, output, faults),
        many => {
            let newline = faults.fires(&knob::CONCAT_NEWLINE);
            let mut all = Vec::new();
            for (index, document) in many.iter().enumerate() {
                if newline && index > 0 {
                    all.push(b'\n');
                }
                all.extend_from_slice(&render(document, output, faults));
            }
            Cow::Owned(all)
        }
    };
    let binary = group.iter().any(|document| !document.as_text) || faults.fires(&knob::BINARY);
    let form = if binary { Form::Binary } else { Form::Text };
    let pieces = faults
        .fire(&knob::SPLIT)
        .map_or(1, |arg| size(arg.number()));
    let fragments = faults
        .fire(&knob::FRAGMENT)
        .map_or(1, |arg| size(arg.number()));
    let mut rest: &[u8] = &rendered;
    for left in (1..=pieces).rev() {
        let at = boundary(rest, rest.len().div_ceil(left));
        let (piece, after) = rest.split_at(at);
        if !piece.is_empty() || pieces == 1 {
            frames::message(form, piece, fragments, out);
        }
        rest = after;
    }
}

/// The first place at or after `at` where text may be cut without cutting a character.
fn boundary(text: &[u8], at: usize) -> usize {
    (at..text.len())
        .find(|at| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80))
        .unwrap_or(text.len())
}

fn strays(faults: &Faults, out: &mut Vec<u8>) {
    if faults.fires(&knob::STRAY_X) {
        frames::message(Form::Text, b"X", 1, out);
    }
    if faults.fires(&knob::BLANK) {
        frames::message(Form::Text, b"   \n", 1, out);
    }
}

/// A document in the subscription's format, with what surrounds it.
fn render<'a>(document: &'a Taken, output: OutputType, faults: &Faults) -> Cow<'a, [u8]> {
    let mut text: Cow<'a, [u8]> = Cow::Borrowed(&document.bytes);
    match output.format() {
        Format::Xml => {
            if let Ok(xml) = json_to_xml(&document.bytes) {
                text = Cow::Owned(xml);
            }
            decorate_xml(&mut text, faults);
        }
        Format::Json => {
            if faults.on(&knob::PRETTY)
                && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&document.bytes)
            {
                faults.fire(&knob::PRETTY);
                text = Cow::Owned(format!("{value:#}").into_bytes());
            }
        }
    }
    if output.newline() {
        let crlf = faults.fires(&knob::NEWLINE_CRLF);
        let newline: &[u8] = if crlf { b"\r\n" } else { b"\n" };
        if faults.fires(&knob::NEWLINE_BEFORE) {
            prepend(&mut text, newline);
        } else {
            text.to_mut().extend_from_slice(newline);
        }
    }
    if faults.fires(&knob::CRLF) {
        text.to_mut().extend_from_slice(b"\r\n");
    }
    if faults.fires(&knob::BOM) {
        prepend(&mut text, "\u{feff}".as_bytes());
    }
    if let Some(blanks) = faults.fire(&knob::PADDING) {
        let mut padding = vec![b' '; size(blanks.number())];
        padding.push(b'\n');
        prepend(&mut text, &padding);
    }
    text
}

fn decorate_xml(text: &mut Cow<'_, [u8]>, faults: &Faults) {
    if faults.fires(&knob::XML_COMMENT) {
        prepend(text, b"<!-- <not>an event</not> -->");
    }
    if faults.fires(&knob::XML_DECLARATION) {
        prepend(text, b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    }
}

fn prepend(text: &mut Cow<'_, [u8]>, before: &[u8]) {
    *text = Cow::Owned([before, text].concat());
}
