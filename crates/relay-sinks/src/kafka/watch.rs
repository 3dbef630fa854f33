//! What a connection says of itself: delivery reports, errors, log lines. It knows no events.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use relay_core::sink::{Failure, Next};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::failure;
use super::round::Ticket;

/// What librdkafka calls.
pub(super) struct Context(pub(super) Arc<Watch>);

/// Why the brokers have ended a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// Another has taken its transactional id.
    Taken,
    /// Perhaps nobody has: its transaction was open for longer than brokers let it be, and then they
    /// end the producer as well.
    Overdue,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Watch {
    sink: String,
    /// How long a transaction may be open.
    lease: Duration,
    /// Something failed: what comes later is not confirmed, so that it is repeated in its order.
    broken: AtomicBool,
    fence: OnceLock<Fence>,
    /// When the transaction that is open was begun.
    begun: Mutex<Option<Instant>>,
    too_large: AtomicBool,
    /// What waiting does not cure, until the brokers have answered again.
    trouble: watch::Sender<Option<Failure>>,
    /// What was said last.
    said: Mutex<Option<String>>,
    lines: AtomicU64,
    /// A record has left the queue.
    room: Notify,
}

impl Watch {
    pub(super) fn new(sink: &str, lease: Duration) -> Self {
        Self {
            sink: sink.to_owned(),
            lease,
            broken: AtomicBool::new(false),
            fence: OnceLock::new(),
            begun: Mutex::default(),
            too_large: AtomicBool::new(false),
            trouble: watch::Sender::new(None),
            said: Mutex::default(),
            lines: AtomicU64::new(0),
            room: Notify::new(),
        }
    }

    /// Whether an earlier record has failed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// An earlier record has failed.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Relaxed);
    }

    /// Why the brokers have ended the producer; `None`: they have not.
    pub(super) fn fence(&self) -> Option<Fence> {
        self.fence.get().copied()
    }

    /// The brokers have ended the producer. What is heard first counts: later the transaction is old
    /// in any case.
    pub(super) fn fenced(&self) {
        self.fence.get_or_init(|| {
            let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            match begun {
                Some(begun) if begun.elapsed() >= self.lease => Fence::Overdue,
                Some(_) | None => Fence::Taken,
            }
        });
    }

    /// A transaction begins.
    pub(super) fn begin(&self) {
        self.set_begun(Some(Instant::now()));
    }

    /// The transaction has ended.
    pub(super) fn end(&self) {
        self.set_begun(None);
    }

    fn set_begun(&self, at: Option<Instant>) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    /// A request was too large that may have carried several records.
    pub(super) fn too_large(&self) {
        self.too_large.store(true, Relaxed);
    }

    /// A record has left the queue.
    pub(super) fn room(&self) -> &Notify {
        &self.room
    }

    /// Returns once something is wrong that waiting does not cure.
    pub(super) async fn trouble(&self) -> Failure {
        let mut trouble = self.trouble.subscribe();
        let found = trouble.wait_for(Option::is_some).await;
        // The sender lives as long as this does.
        found
            .ok()
            .and_then(|found| found.clone())
            .unwrap_or_else(failure::not_connected)
    }

    /// The brokers have answered: whatever was wrong with the connection is over.
    pub(super) fn recovered(&self) {
        // Every record says so.
        if self.trouble.borrow().is_some() {
            self.trouble.send_replace(None);
        }
    }

    /// A failure for a code, with what the connection has said of itself.
    pub(super) fn explain(&self, code: Code, what: &str) -> Failure {
        if failure::is_fenced(code) {
            self.fenced();
        }
        let mut failure = failure::of(code, what);
        if failure.next != Next::Blocked {
            if let Some(trouble) = self.trouble.borrow().as_ref() {
                return trouble.clone();
            }
            if let Some(said) = self.said().as_ref() {
                failure.text = format!("{} ({said})", failure.text);
                // The port may want TLS, or a name; a broker that is starting hangs up too.
                if said.contains("Disconnected") {
                    failure::MISMATCH.clone_into(&mut failure.remedy);
                }
            }
        }
        failure
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: Level, facility: &str, line: &str) {
        let (sink, count) = (&self.0.sink, self.0.lines.fetch_add(1, Relaxed) + 1);
        let grave = matches!(
            level,
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning
        );
        // A broker that hangs up is no error to librdkafka: it is said here, and nowhere else.
        if facility == "FAIL" {
            let thread = line.strip_prefix("[thrd:");
            let reason = thread.and_then(|thread| thread.split_once("]: "));
            *self.0.said() = Some(reason.map_or(line, |(_, reason)| reason).to_owned());
        }
        // Its worker says what failed: these lines are for whoever looks for the reason.
        if grave && count.is_power_of_two() {
            tracing::info!(%sink, facility, lines = count, "librdkafka: {line}");
        } else {
            tracing::debug!(%sink, facility, "librdkafka: {line}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = match failure::code(&error) {
            Code::BrokerTransportFailure if failure::is_refused_certificate(reason) => Code::SSL,
            code => code,
        };
        // That none is left says nothing of why.
        if code != Code::AllBrokersDown || self.0.said().is_none() {
            *self.0.said() = Some(reason.to_owned());
        }
        if failure::is_fenced(code) {
            self.0.fenced();
        }
        let failure = failure::of(code, reason);
        if failure.next == Next::Blocked && failure::is_of_connection(code) {
            self.0.trouble.send_replace(Some(failure));
        }
        tracing::debug!(sink = %self.0.sink, "librdkafka: {reason}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let code = result.as_ref().err().map(|(error, _)| failure::code(error));
        if code.is_none() {
            self.0.recovered();
        }
        ticket.land(code, &self.0);
        self.0.room.notify_one();
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
