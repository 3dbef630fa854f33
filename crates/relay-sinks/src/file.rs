//! The file sink: events as lines of NDJSON, each an event of CloudEvents in JSON. It knows files, and neither
//! retries nor cursors.
//!
//! What is confirmed is on the disk (fdatasync). A line that a crash has torn is cut off before the
//! next one is written, so that readers of the file see whole lines only; its event comes again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use relay_core::Cursor;
use relay_core::cloudevents::Source;
use relay_core::sink::{Delivery, Failure, Next, Outcomes, Sink};

mod destination;
mod failure;
mod log_file;
mod probe;
mod rotation;
#[cfg(test)]
mod tests;

use destination::Destination;
pub use probe::probe;

/// A file sink, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the lines go; `-` is standard output. The directory has to exist: a missing mount is
    /// noticed rather than written under.
    pub path: PathBuf,
    /// The size at which the file is set aside under its name and a number (`events.ndjson.000001`)
    /// and a new one begun. No line is split; `None`: the file grows.
    pub rotate_bytes: Option<u64>,
    /// How many of the files set aside are kept; `None`: all of them.
    pub keep: Option<u32>,
}

/// The sink.
#[derive(Debug)]
pub struct File {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    source: Source,
    /// Locked by the one thread that writes: also by a write whose future was dropped, so that a new
    /// connection waits for its end.
    open: Mutex<Option<Destination>>,
}

impl File {
    /// A file sink that has opened nothing yet.
    pub fn new(config: Config, source: Source) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                source,
                open: Mutex::default(),
            }),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &mut Option<Destination>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
            work(&shared, &mut open)
        });
        done.await.unwrap_or_else(|error| {
            let text = format!("writing the file was interrupted: {error}");
            Err(Failure {
                next: Next::Reconnect,
                text,
                remedy: String::new(),
            })
        })
    }
}

impl Sink for File {
    type Confirmation = std::future::Ready<Outcomes>;

    async fn connect(&mut self) -> Result<Option<Cursor>, Failure> {
        self.blocking(|shared, open| {
            let before = open.take();
            *open = Some(Destination::open(&shared.config, before)?);
            Ok(None)
        })
        .await
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<Self::Confirmation, Failure> {
        self.blocking(move |shared, open| {
            let Some(destination) = open.as_mut() else {
                let text = "the file is not open".to_owned();
                return Err(Failure {
                    next: Next::Reconnect,
                    text,
                    remedy: String::new(),
                });
            };
            destination.deliver(delivery.events(), &shared.source)
        })
        .await?;
        Ok(std::future::ready(Outcomes::Confirmed))
    }

    async fn close(&mut self) {
        let closed = self.blocking(|_, open| {
            *open = None;
            Ok(())
        });
        closed.await.unwrap_or_default();
    }
}
