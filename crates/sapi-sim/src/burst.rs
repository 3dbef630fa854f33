//! Owns burst mode: distinct documents of a fixed size, pre-encoded as frames in one large buffer
//! whose numbers are patched in place, so that the simulator costs little beside the socket. It does
//! not know who gets them.

use bytes::Bytes;
use sapi_protocol::Document;
use tokio::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    config::{Burst, Config},
    content::{Content, Fields, Stamp, StampStyle, Value},
    session::frames::{self, Form},
};

/// Digits of the numbers that differ from document to document: all start with a 1, so that the
/// width never changes.
const SEQUENCE_BASE: u64 = 1_000_000_000_000;
/// Documents that share an interaction.
const PER_INTERACTION: u64 = 8;
/// When the first was published; each is a millisecond later than the one before.
const TIMESTAMP_BASE: u64 = 1_669_235_836_708;

/// One frame, and where its numbers are.
#[derive(Debug, Clone)]
struct Template {
    frame: Vec<u8>,
    sequence: usize,
    timestamp: usize,
    interaction: usize,
    header: usize,
}

/// The document of a burst with the number `n`, counted from 0: what `Simulator` writes.
pub fn burst_document(config: &Config, burst: Burst, n: u64) -> Bytes {
    let template = Template::new(config, burst.event_bytes);
    let mut frame = template.frame.clone();
    template.patch(&mut frame, n);
    Bytes::from(frame).slice(template.header..)
}

/// What a burst adds up to: the wrapping sum of the xxh3-128 hashes of its first `count` documents. A
/// receiver that adds up the hashes of what it got, in any order, knows whether it is the same set.
pub fn burst_hash(config: &Config, burst: Burst, count: u64) -> u128 {
    let template = Template::new(config, burst.event_bytes);
    let mut frame = template.frame.clone();
    let mut sum = 0_u128;
    for n in 0..count {
        template.patch(&mut frame, n);
        sum = sum.wrapping_add(xxh3_128(frame.get(template.header..).unwrap_or_default()));
    }
    sum
}

impl Template {
    fn new(config: &Config, size: usize) -> Self {
        let document = document(config, size);
        let mut frame = Vec::with_capacity(document.len() + 10);
        frames::message(Form::Text, &document, 1, &mut frame);
        let header = frame.len() - document.len();
        Self {
            sequence: find(&frame, &format!("\"sequenceId\":{SEQUENCE_BASE}")) + 13,
            timestamp: find(&frame, &format!("\"timestamp\":{TIMESTAMP_BASE}")) + 12,
            interaction: find(&frame, &interaction(0)),
            header,
            frame,
        }
    }

    /// Makes a frame the one of document `n`.
    fn patch(&self, frame: &mut [u8], n: u64) {
        digits(frame, self.sequence, 13, SEQUENCE_BASE + n);
        digits(frame, self.timestamp, 13, TIMESTAMP_BASE + n);
        digits(
            frame,
            self.interaction,
            13,
            SEQUENCE_BASE + n / PER_INTERACTION,
        );
    }
}

fn interaction(n: u64) -> String {
    format!("{}ohWfVIbHJz2H", SEQUENCE_BASE + n)
}

fn find(frame: &[u8], text: &str) -> usize {
    frame
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .unwrap_or_default()
}

/// Writes a number of exactly `width` digits.
fn digits(frame: &mut [u8], at: usize, width: usize, mut number: u64) {
    let Some(place) = frame.get_mut(at..at + width) else {
        return;
    };
    for byte in place.iter_mut().rev() {
        // A remainder of ten fits a byte.
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// An `InteractionQueued` as the vendor's sample shows it, filled up to `size` bytes.
fn document(config: &Config, size: usize) -> Vec<u8> {
    let tenant = &config.tenant;
    let build = |filling: usize| {
        let attached = [
            ("@pri", Value::number(100)),
            ("callingName", Value::typed("Andrew Cunningh")),
            ("cha", Value::number(13_125_555_068)),
            ("externalUserData", Value::typed("x".repeat(filling))),
            ("med", Value::typed("T")),
            ("pho", Value::number(5_515_557_212)),
            ("que", Value::typed(format!("{tenant}~~queue~~phone~~591"))),
            ("remotePhoneNum", Value::typed("+15515557212")),
        ];
        let guid = format!("int-184a63564dc-{}-phone-00-{tenant}", interaction(0));
        let fields = Fields::from([
            ("attachedData", Value::Attached(attached.into())),
            ("callState", Value::typed("CS_QUEUED")),
            ("direction", Value::typed("in")),
            ("event", Value::typed("InteractionQueued")),
            ("inboundChannelid", Value::number(13_125_555_068)),
            ("interactionEventTS", Value::number(1_669_235_836)),
            ("interactionGUID", Value::typed(guid)),
            ("mediaType", Value::typed("phone")),
            ("queueId", Value::number(591)),
            ("resourceType", Value::number(0)),
        ]);
        let stamp = Stamp {
            instance: config.instance.as_str().into(),
            sequence: SEQUENCE_BASE,
            timestamp: TIMESTAMP_BASE,
        };
        Content::new("Interaction", &fields)
            .stamped(&stamp, StampStyle::Numbers)
            .bytes
    };
    let bare = build(0).len();
    build(size.saturating_sub(bare)).to_vec()
}

/// Burst documents for one session, in chunks of a batch.
#[derive(Debug)]
pub(crate) struct Feeder {
    burst: Burst,
    template: Template,
    chunk: Vec<u8>,
    started: Option<(Instant, u64)>,
    position: u64,
}

impl Feeder {
    pub(crate) fn new(burst: Burst, config: &Config) -> Self {
        let template = Template::new(config, burst.event_bytes);
        let chunk = template.frame.repeat(burst.batch.max(1));
        Self {
            burst,
            template,
            chunk,
            started: None,
            position: 0,
        }
    }

    /// Makes the documents from `position` on that are due now: how many, and their frames.
    pub(crate) fn fill(&mut self, position: u64) -> (u64, &[u8]) {
        self.position = position;
        let (started, first) = *self
            .started
            .get_or_insert_with(|| (Instant::now(), position));
        let left = self.burst.events.saturating_sub(position);
        let batch = self.burst.batch.max(1) as u64;
        let mut count = left.min(batch);
        if self.burst.rate > 0.0 {
            let due = first.saturating_add(passed(started.elapsed(), self.burst.rate));
            // A whole batch or nothing, but for the last: small writes would be another measurement.
            if due < position + count {
                count = 0;
            }
        }
        let size = self.template.frame.len();
        for (n, frame) in (position..position + count).zip(self.chunk.chunks_exact_mut(size)) {
            self.template.patch(frame, n);
        }
        self.position += count;
        let length = usize::try_from(count).unwrap_or(0) * size;
        (count, self.chunk.get(..length).unwrap_or_default())
    }

    /// More is due already.
    pub(crate) fn ready(&self) -> bool {
        self.position < self.burst.events && self.due().is_none_or(|due| due <= Instant::now())
    }

    /// When the next batch is due; none if there is no pace or no more.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (started, first) = self.started?;
        let left = self.burst.events.saturating_sub(self.position);
        if self.burst.rate <= 0.0 || left == 0 {
            return None;
        }
        let next = self.position - first + left.min(self.burst.batch.max(1) as u64);
        #[expect(
            clippy::cast_precision_loss,
            reason = "event numbers are far below 2^52"
        )]
        Some(started + Duration::from_secs_f64(next as f64 / self.burst.rate))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate and an elapsed time are not negative, and their product is far below 2^52"
)]
fn passed(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate) as u64
}

/// Whether a burst of this size can be made: the smallest document may be larger.
pub(crate) fn check(config: &Config, burst: Burst) -> Result<(), String> {
    let bytes = burst_document(config, burst, 0);
    if bytes.len() != burst.event_bytes {
        return Err(format!(
            "a burst document has at least {} bytes",
            bytes.len()
        ));
    }
    Document::parse(bytes).map(|_| ()).map_err(|malformed| {
        format!(
            "a burst document is malformed: {}",
            malformed.reason.as_str()
        )
    })
}
