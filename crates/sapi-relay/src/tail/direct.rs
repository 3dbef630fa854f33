//! Owns the tail of 8x8 itself: one subscription of its own, printed as it comes.

use std::sync::{Arc, Mutex, PoisonError};

use relay_core::admit::{Admit, Connected, Disconnected, Received, Stopped};
use relay_core::filter::Filter;
use sapi_protocol::{Framed, valid_subs_id};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::print::Printer;
use crate::cli::{Tail, TailFormat};
use crate::config::Config;
use crate::environment;
use crate::failure::Failure;
use crate::output::say;

/// Subscribes, prints, and closes cleanly when interrupted.
pub(super) async fn run(args: Tail, printer: Printer) -> Result<(), Failure> {
    let config = Config::load(&args.files, &environment())?;
    let subs_id = args.subs_id.unwrap_or_default();
    if args.format == Some(TailFormat::Cloudevents) {
        let text = "--direct prints what 8x8 sends: --format raw or pretty";
        return Err(Failure::usage(text));
    }
    let filter =
        Filter::parse(&args.types).map_err(|error| Failure::usage(format!("--types: {error}")))?;
    if !valid_subs_id(&subs_id) {
        let text = "--subs-id has 1 to 64 of the characters A-Z, a-z, 0-9, _, . and -";
        return Err(Failure::usage(text));
    }
    let ids = &config.upstream.subs_ids;
    if !args.force {
        polite(ids, &subs_id)?;
    }
    let stop = CancellationToken::new();
    let printer = Printing {
        filter: Arc::new(filter),
        printer: Arc::new(Mutex::new(printer)),
        failed: Arc::default(),
        stop: stop.clone(),
    };
    let failed = Arc::clone(&printer.failed);
    let session = relay_upstream::direct(config.upstream, subs_id.into(), printer, stop.clone());
    let mut session = std::pin::pin!(session);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // It ends by itself only when printing has failed, which is kept below.
        _ended = &mut session => return kept(&failed),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    // One who only hangs up keeps one of the three places for minutes.
    stop.cancel();
    session.await.ok();
    kept(&failed)
}

/// Why printing has failed, if it has.
fn kept(failed: &Mutex<Option<std::io::Error>>) -> Result<(), Failure> {
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Refuses what would disturb the relay that the configuration is for.
fn polite(ids: &[Arc<str>], subs_id: &str) -> Result<(), Failure> {
    if ids.iter().any(|id| **id == *subs_id) {
        let text = format!(
            "{subs_id} is one of upstream.subs_ids: its events would be taken from the relay"
        );
        return Err(Failure::usage(text).remedy("choose another --subs-id, or --force"));
    }
    if ids.len() >= 3 {
        let text = "upstream.subs_ids has three ids: 8x8 allows a tenant no fourth connection";
        return Err(Failure::usage(text).remedy("stop the relay first and use --force"));
    }
    Ok(())
}

/// What the session tells, printed.
#[derive(Clone)]
struct Printing {
    filter: Arc<Filter>,
    printer: Arc<Mutex<Printer>>,
    failed: Arc<Mutex<Option<std::io::Error>>>,
    stop: CancellationToken,
}

impl Printing {
    fn print(&self, received: &Received) -> std::io::Result<()> {
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        for framed in &received.documents {
            match framed {
                Framed::Document(document) => {
                    let (class, kind) = (document.class(), document.event_type());
                    if !self.filter.matches(&class, &kind) {
                        continue;
                    }
                    let name = if class == kind {
                        class.into_owned()
                    } else {
                        format!("{class}.{kind}")
                    };
                    printer.document(&name, &document.key(), document.bytes())?;
                }
                Framed::Malformed(malformed) => {
                    let (reason, size) = (malformed.reason.as_str(), malformed.size);
                    say(&format!(
                        "sapi-relay: {size} bytes can't be parsed: {reason}"
                    ));
                }
            }
        }
        printer.flush()
    }
}

impl Admit for Printing {
    async fn connected(&self, event: Connected) -> Result<(), Stopped> {
        say(&format!("sapi-relay: {} is connected", event.subscription));
        Ok(())
    }

    async fn documents(&self, received: Received) -> Result<(), Stopped> {
        let Err(error) = self.print(&received) else {
            return Ok(());
        };
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.stop.cancel();
        Err(Stopped)
    }

    async fn disconnected(&self, ended: Disconnected) -> Result<(), Stopped> {
        let (id, reason) = (ended.subscription, ended.reason.as_str());
        say(&format!(
            "sapi-relay: {id} is disconnected ({reason}): {}",
            ended.detail
        ));
        Ok(())
    }
}
