//! The way of sampled events through the relay, step by step, told to whoever collects traces. It
//! knows no protocol of telemetry.
//!
//! An event is sampled by a hash of its id: all its steps are told or none, on every relay alike, and
//! nothing has to be remembered between them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64;

use crate::Event;

/// What happened to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// It was made durable and visible: from its arrival on.
    Committed,
    /// A sink has settled it: from the time it was handed over.
    Delivered {
        /// The sink.
        sink: &'a str,
        /// Whether the destination has refused it for good.
        rejected: bool,
    },
}

/// Takes the steps of sampled events. It never blocks: what it has no room for, it drops and counts.
pub trait Collector: Send + Sync {
    /// A step, and how long it took.
    fn step(&self, event: &Event, step: Step<'_>, since: SystemTime, until: SystemTime);
}

/// Who is told of which events. The default tells nobody.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sampled>>);

struct Sampled {
    /// Hashes up to here are sampled.
    upto: u64,
    collector: Box<dyn Collector>,
}

impl Traces {
    /// One event of `one_in` (at least 1) is told of.
    pub fn new(one_in: u64, collector: impl Collector + 'static) -> Self {
        Self(Some(Arc::new(Sampled {
            upto: u64::MAX / one_in.max(1),
            collector: Box::new(collector),
        })))
    }

    /// Whether anybody is told of anything.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells a step that some events have taken just now. `since`: when it began for each.
    pub(crate) fn tell<'a>(
        &self,
        events: impl Iterator<Item = &'a Event>,
        step: Step<'_>,
        since: impl Fn(&Event) -> SystemTime,
    ) {
        let Some(sampled) = &self.0 else { return };
        let now = SystemTime::now();
        for event in events {
            if xxh3_64(event.head().id.as_bytes()) <= sampled.upto {
                sampled
                    .collector
                    .step(event, step, since(event).min(now), now);
            }
        }
    }
}

/// A time in Unix milliseconds.
pub(crate) fn since_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upto = self.0.as_ref().map(|sampled| sampled.upto);
        f.debug_struct("Traces").field("upto", &upto).finish()
    }
}
