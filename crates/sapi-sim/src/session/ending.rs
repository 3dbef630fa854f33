//! Owns how a connection ends: our Close or none, the answer to the client's, and what the record of
//! connections says of it.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Over, Session, Stop, Wire, encode, frames};
use crate::{
    faults::knob,
    hub::{EndedBy, Hub, Limit},
};

/// How long a peer may take to answer a Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Ends the connection. The subscription is free again before the client can see it.
    pub(super) async fn end(mut self, over: Over, connection: u64) {
        let hub = Arc::clone(&self.hub);
        let over = self.unheard(over);
        if matches!(over, Over::ClientClose(_)) {
            self.write_on().await;
        }
        hub.detach(self.number);
        match over {
            Over::Gone => hub.ended(connection, EndedBy::Network, None, "the socket ended"),
            Over::ClientClose(code) => {
                hub.ended(connection, EndedBy::Client, code, "");
                self.answer_close(code).await;
            }
            Over::Stop(Stop::Close(code, reason)) => {
                hub.ended(connection, EndedBy::Server, Some(code), reason);
                self.say_close(code, reason).await;
            }
            Over::Stop(Stop::Drop(reason)) => {
                hub.ended(connection, EndedBy::Server, None, reason);
            }
            Over::Stop(Stop::Reset(reason)) => {
                hub.ended(connection, EndedBy::Server, None, reason);
                self.reset.set();
            }
            Over::Stop(Stop::Mute) => {
                hub.ended(connection, EndedBy::Server, None, "silent");
            }
        }
    }

    /// A connection that is silent does not say goodbye either.
    fn unheard(&self, over: Over) -> Over {
        match over {
            Over::Stop(Stop::Close(..)) if self.muted() => {
                Over::Stop(Stop::Drop("ended while silent"))
            }
            Over::Stop(_) | Over::ClientClose(_) | Over::Gone => over,
        }
    }

    /// B26: events that are still written after the client's Close.
    async fn write_on(&mut self) {
        let Some(count) = self.hub.faults.fire(&knob::CLOSE_WRITES_ON) else {
            return;
        };
        let mut left = count.number();
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut changes = self.hub.watch();
        while left > 0 {
            changes.mark_unchanged();
            let taken = self.hub.take(
                self.number,
                Limit {
                    documents: 1,
                    bytes: 0,
                },
            );
            if taken.is_empty() {
                if timeout_at(deadline, changes.changed()).await.is_err() {
                    return;
                }
                continue;
            }
            let mut out = Vec::new();
            encode::batch(&taken, self.output, &self.hub.faults, &mut out);
            if self.write(&out).await.is_err() {
                return;
            }
            self.hub.written(self.number, taken.len(), false);
            left -= 1;
        }
    }

    async fn answer_close(&mut self, code: Option<u16>) {
        let faults = &self.hub.faults;
        if self.muted() || faults.fires(&knob::CLOSE_NEVER_ANSWERED) {
            while self.client.next().await.is_some() {}
            return;
        }
        if let Some(late) = faults.fire(&knob::CLOSE_LATE) {
            sleep(Duration::from_millis(late.number())).await;
        }
        let mut out = Vec::new();
        frames::close(code.unwrap_or(1000), "", &mut out);
        if self.writer.write_all(&out).await.is_ok() {
            // The server is the one that closes the connection (RFC 6455, 7.1.1).
            self.shut().await;
        }
    }

    async fn say_close(&mut self, code: u16, reason: &str) {
        let mut out = Vec::new();
        frames::close(code, reason, &mut out);
        let closing = async {
            if self.writer.write_all(&out).await.is_err() {
                return;
            }
            while let Some(said) = self.client.next().await {
                if matches!(said, super::Said::Close(_)) {
                    break;
                }
            }
            self.shut().await;
        };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::debug!(subs_id = %self.subs_id, "the client did not answer our Close");
        }
    }

    async fn shut(&mut self) {
        if let Err(error) = self.writer.shutdown().await {
            tracing::trace!(%error, "the client closed first");
        }
    }
}

/// After the handshake of somebody who is not admitted: a document if there is one, then a Close.
pub(crate) async fn close_at_once(mut wire: Wire, hub: &Hub, connection: u64, code: u16) {
    hub.ended(connection, EndedBy::Server, Some(code), "not admitted");
    let mut out = Vec::new();
    frames::close(code, "", &mut out);
    if wire.write_all(&out).await.is_ok() {
        drain(&mut wire, CLOSE_TIMEOUT).await;
    }
}

/// After the handshake of somebody who is not admitted: a document if there is one, then nothing, for
/// as long as the client stays.
pub(crate) async fn say_nothing(mut wire: Wire, hub: &Hub, connection: u64, first: &[u8]) {
    let mut out = Vec::new();
    if !first.is_empty() {
        frames::message(frames::Form::Text, first, 1, &mut out);
    }
    if wire.write_all(&out).await.is_ok() {
        drain(&mut wire, super::NEVER).await;
    }
    hub.ended(connection, EndedBy::Network, None, "not admitted, silent");
}

/// Reads until the client leaves.
async fn drain(wire: &mut Wire, patience: Duration) {
    let mut ignored = [0; 256];
    let reading = async { while wire.read(&mut ignored).await.is_ok_and(|count| count > 0) {} };
    if timeout(patience, reading).await.is_err() {
        tracing::debug!("a client that was not admitted stayed");
    }
}
