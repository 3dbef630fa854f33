//! What a client is given of an event, and in what form: clients that want the same are served with
//! the same bytes. It knows neither sockets nor readers.

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use relay_core::{Event, Kind};
use sapi_protocol::OutputType;

use super::frame::{Shape, document_frame, event_frame};
use super::hub::Hub;
use super::query::Select;

/// What an event is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As `/v1/stream` gives it.
    Shape(Shape),
    /// As a SAPI server gives it.
    Document(OutputType),
}

/// Which events, in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) select: Select,
    pub(super) form: Form,
}

impl Hash for Wanted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Filters are left to `eq`: there are few of them, while every client may have a key.
        self.form.hash(state);
        self.select.key().hash(state);
    }
}

impl Wanted {
    /// An event as one WebSocket frame; `None`: it is not wanted.
    pub(super) fn frame(&self, event: &Event, hub: &Hub) -> Option<Bytes> {
        match self.form {
            Form::Shape(shape) => {
                let passes = self.select.passes(event);
                passes.then(|| event_frame(event, shape, &hub.source).clone())
            }
            Form::Document(output) => self.document(event, output, hub),
        }
    }

    fn document(&self, event: &Event, output: OutputType, hub: &Hub) -> Option<Bytes> {
        if event.kind() == Kind::Notice || !self.select.passes(event) {
            return None;
        }
        if !output.newline() && event.head().format == output.format() {
            return Some(event_frame(event, Shape::Raw, &hub.source).clone());
        }
        let make = || document_frame(event, output);
        Some(hub.converted.get(event.offset(), output, make))
    }
}
