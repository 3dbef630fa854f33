//! Owns the making of documents: the next thing that happens in the world, or what a test asks for,
//! numbered, broken if a fault says so, and put into the log. It does not know who reads the log.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use super::{
    Hub, State,
    log::{Kind, Record, To},
    numbers::style,
};
use crate::{
    config::Numbering,
    content::{Content, Fields, Stamp, Stamped, Value},
    faults::knob,
    world::Dialect,
};

impl Hub {
    /// Emits so many events.
    pub(crate) fn emit(&self, count: u64) {
        let mut state = self.lock();
        for _ in 0..count {
            let now = self.event_clock(&state);
            let dialect = Dialect {
                spelling: self.faults.fires(&knob::EVENT_SPELLING),
                printed_states: self.faults.fires(&knob::CALL_STATE_ODD),
            };
            let content = state.world.next(now, dialect);
            let content = self.coloured(content, state.events + 1);
            self.publish(&mut state, &content, now);
        }
        drop(state);
        self.changed();
    }

    /// Emits a document of the caller's making: as it is, without a msgInfo of the simulator's.
    pub(crate) fn emit_raw(&self, class: &str, bytes: Vec<u8>) {
        let content = Content::raw(class.to_owned(), bytes);
        let mut state = self.lock();
        let now = self.event_clock(&state);
        self.publish(&mut state, &content, now);
        drop(state);
        self.changed();
    }

    /// Makes a heartbeat for a subscription.
    pub(crate) fn heartbeat(&self, subs: &Arc<str>) {
        let mut state = self.lock();
        let now = self.event_clock(&state);
        let stamp = state.numbers.stamp(Some(subs), now, &self.faults);
        if let Some(others) = self.faults.fire(&knob::OTHERS_HEARTBEATS) {
            state.numbers.skip(others.number());
        }
        let fields = Fields::from([
            ("heartbeat", Value::Text(Cow::Borrowed("[HEARTBEAT]"))),
            ("subscription-id", Value::Text(Cow::Owned(subs.to_string()))),
            (
                "tenant-id",
                Value::Text(Cow::Owned(self.config.tenant.clone())),
            ),
        ]);
        let content = Content::new("ClientCheck", &fields);
        let document = content.stamped(&stamp, crate::content::StampStyle::Numbers);
        state.log.push(Record {
            event: 0,
            at: self.wall_clock(),
            stamp: Some(stamp),
            class: content.class.into_owned(),
            kind: Kind::Heartbeat,
            document,
            to: To::One(Arc::clone(subs)),
            as_text: true,
            written: Vec::new(),
        });
        drop(state);
        self.changed();
    }

    /// The server's clock for the next event.
    fn event_clock(&self, state: &State) -> u64 {
        let now = match self.config.start_time {
            Some(start) => {
                let rate = if self.config.rate > 0.0 {
                    self.config.rate
                } else {
                    10.0
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "event numbers are far below 2^52"
                )]
                let passed = (state.events as f64 * 1000.0 / rate) as u64;
                start + passed
            }
            None => self.wall_clock(),
        };
        let behind = self
            .faults
            .fire(&knob::CLOCK_STEP)
            .map_or(0, |arg| arg.number());
        now.saturating_sub(behind)
    }

    /// What the faults of content do to an event, before it is numbered.
    fn coloured(&self, content: Content, count: u64) -> Content {
        let mut content = content;
        if self.faults.fires(&knob::UNKNOWN_FIELDS) {
            content = content.with_member(br#""tenantCustom":{"a":[1,null,"x"],"b":null}"#);
        }
        if self.faults.fire_each(&knob::UNKNOWN_CLASS, count) {
            content = content.renamed("AgentLoginUpdate");
        }
        if let Some(size) = self.faults.fire(&knob::HUGE) {
            content.padded(usize::try_from(size.number()).unwrap_or(usize::MAX))
        } else if let Some(size) = self.config.event_bytes {
            content.padded(size)
        } else {
            content
        }
    }

    /// One event: a record for all, or one for each subscription where each is numbered apart.
    fn publish(&self, state: &mut State, content: &Content, now: u64) {
        state.events += 1;
        let targets: Vec<Option<Arc<str>>> = match self.config.numbering {
            Numbering::Tenant | Numbering::Instance => vec![None],
            Numbering::Subscription => state.subscriptions.keys().cloned().map(Some).collect(),
        };
        let twice = self
            .faults
            .fire_each(&knob::SAME_CONTENT_DIFFERENT_ID, state.events);
        for target in targets {
            for _ in 0..=u32::from(twice) {
                let count = state.events;
                let stamp = state
                    .numbers
                    .event(target.as_ref(), now, count, &self.faults);
                self.put(state, content, target.as_ref(), stamp);
            }
        }
    }

    fn put(&self, state: &mut State, content: &Content, target: Option<&Arc<str>>, stamp: Stamp) {
        let style = style(&self.faults);
        let mut document = content.stamped(&stamp, style);
        if self.faults.fire_each(&knob::ARRAY_OF_EVENTS, state.events) {
            document = document.wrapped(b"[", b"]");
        }
        let to = target.map_or(To::All, |subs| To::One(Arc::clone(subs)));
        let (document, kind, as_text) = self.broken(document, state.events);
        state.log.push(Record {
            event: state.events,
            at: self.wall_clock(),
            stamp: (!document.info.is_empty()).then_some(stamp),
            class: content.class.clone().into_owned(),
            kind,
            document,
            to: to.clone(),
            as_text,
            written: Vec::new(),
        });
        if self.faults.fire_each(&knob::NOT_A_DOCUMENT, state.events) {
            let bytes = Bytes::from_static(b"Service temporarily unavailable, please try again");
            state.log.push(Record {
                event: state.events,
                at: self.wall_clock(),
                stamp: None,
                class: String::new(),
                kind: Kind::Malformed,
                document: Stamped { bytes, info: 0..0 },
                to,
                as_text: true,
                written: Vec::new(),
            });
        }
    }

    /// The document, its kind, and whether it goes as text whatever it holds.
    fn broken(&self, document: Stamped, count: u64) -> (Stamped, Kind, bool) {
        if self.faults.fire_each(&knob::TRUNCATED, count) {
            let half = document.bytes.len() / 2;
            (document.cut(half), Kind::Malformed, true)
        } else if self.faults.fire_each(&knob::INVALID_UTF8, count) {
            (document.with_bad_utf8(), Kind::Malformed, false)
        } else if self.faults.fire_each(&knob::INVALID_TEXT_UTF8, count) {
            (document.with_bad_utf8(), Kind::Malformed, true)
        } else {
            (document, Kind::Event, true)
        }
    }
}
