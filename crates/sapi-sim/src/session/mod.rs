//! Owns one connected client: what is written to it and when, heartbeats, the cut, and the end of the
//! connection. What there is to write, and what becomes of it after, the hub decides.

mod client;
mod clock;
mod encode;
mod ending;
pub(crate) mod frames;
mod half_open;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sapi_protocol::OutputType;
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use self::client::{Client, Said};
pub(crate) use self::{
    ending::{close_at_once, say_nothing},
    wire::{ResetSwitch, Wire},
};
use crate::{
    burst::Feeder,
    faults::knob,
    hub::{Admitted, Hub, Limit, Stop, Taken},
};

/// Taken from the hub at once.
const BATCH: Limit = Limit {
    documents: 256,
    bytes: 1 << 20,
};
/// All that is stored, where it goes into one message.
const EVERYTHING: Limit = Limit {
    documents: usize::MAX,
    bytes: usize::MAX,
};
/// Longer than any test: stands for never.
const NEVER: Duration = Duration::from_hours(10 * 365 * 24);

/// Why a session is over.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    /// The server wants it so.
    Stop(Stop),
    /// The client sent a Close.
    ClientClose(Option<u16>),
    /// The socket ended.
    Gone,
}

/// A session before it runs.
pub(crate) struct Opening {
    pub(crate) hub: Arc<Hub>,
    pub(crate) admitted: Admitted,
    pub(crate) output: OutputType,
    pub(crate) connection: u64,
    /// The password it came with.
    pub(crate) password: String,
}

/// A connected client.
struct Session {
    hub: Arc<Hub>,
    number: u64,
    subs_id: Arc<str>,
    output: OutputType,
    password: String,
    client: Client<ReadHalf<Wire>>,
    writer: WriteHalf<Wire>,
    reset: ResetSwitch,
    stop: watch::Receiver<Option<Stop>>,
    started: Instant,
    first_event: Option<Instant>,
    last_event: Instant,
    last_write: Instant,
    next_beat: Instant,
    unanswered_pings: u32,
    /// Writes go nowhere for so many more events.
    black_hole: Option<u64>,
    feeder: Option<Feeder>,
}

/// Runs a session to its end.
pub(crate) async fn run(wire: Wire, already: Bytes, opening: Opening) {
    let (hub, connection) = (Arc::clone(&opening.hub), opening.connection);
    let mut session = Session::new(wire, &already, opening);
    let over = session.stream().await;
    session.end(over, connection).await;
    hub.act();
}

impl Session {
    fn new(wire: Wire, already: &[u8], opening: Opening) -> Self {
        let reset = wire.reset_switch();
        let (reader, writer) = tokio::io::split(wire);
        let now = Instant::now();
        let hub = opening.hub;
        Self {
            number: opening.admitted.session,
            subs_id: opening.admitted.subs_id,
            output: opening.output,
            password: opening.password,
            client: Client::new(reader, already),
            writer,
            reset,
            stop: opening.admitted.stop,
            started: now,
            first_event: None,
            last_event: now,
            last_write: now,
            next_beat: now + hub.config.heartbeat,
            unanswered_pings: 0,
            black_hole: None,
            feeder: hub
                .config
                .burst
                .map(|burst| Feeder::new(burst, &hub.config)),
            hub,
        }
    }

    /// Writes whatever there is until something ends it.
    async fn stream(&mut self) -> Over {
        let mut changes = self.hub.watch();
        loop {
            self.hub.act();
            if let Some(over) = self.rotated() {
                return over;
            }
            changes.mark_unchanged();
            let muted = self.muted();
            let pumped = if muted { Ok(false) } else { self.pump().await };
            let more = match pumped {
                Ok(more) => more,
                Err(over) => return over,
            };
            let look_again = self.look_again();
            let cut = self.cut_at();
            tokio::select! {
                biased;
                stop = stopped(&mut self.stop) => return Over::Stop(stop),
                said = self.client.next() => {
                    if let Some(over) = self.hear(said, muted).await {
                        return over;
                    }
                }
                () = sleep_until(cut) => return Over::Stop(self.cut()),
                () = sleep_until(self.next_beat) => {
                    if let Some(over) = self.beat(muted).await {
                        return over;
                    }
                }
                () = std::future::ready(()), if more => {}
                _ = changes.changed(), if !more => {}
                () = sleep_until(look_again), if !more => {}
            }
        }
    }

    /// B3: the token it came with is no longer the one.
    fn rotated(&self) -> Option<Over> {
        let faults = &self.hub.faults;
        let arg = faults.arg(&knob::TOKEN_ROTATED_CLOSE)?;
        (arg.text() != self.password && faults.fires(&knob::TOKEN_ROTATED_CLOSE))
            .then_some(Over::Stop(Stop::Close(1008, "token revoked")))
    }

    /// Whether not a byte may be written now.
    fn muted(&self) -> bool {
        let faults = &self.hub.faults;
        if let Some(arg) = faults.arg(&knob::TOKEN_ROTATED_SILENT)
            && arg.text() != self.password
        {
            return faults.fires(&knob::TOKEN_ROTATED_SILENT);
        }
        if let Some(arg) = faults.arg(&knob::FIRST_SILENCE)
            && self.started.elapsed() < Duration::from_secs(arg.number())
        {
            return faults.fires(&knob::FIRST_SILENCE);
        }
        faults.fires(&knob::SILENT) || self.stop.borrow().as_ref() == Some(&Stop::Mute)
    }

    /// When to look for something to write although nothing changed.
    fn look_again(&self) -> Instant {
        let silence = self
            .hub
            .faults
            .arg(&knob::FIRST_SILENCE)
            .map(|arg| self.started + Duration::from_secs(arg.number()))
            .filter(|due| *due > Instant::now());
        let paced = self.feeder.as_ref().and_then(Feeder::due);
        [self.hub.look_again(self.number), silence, paced]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + NEVER)
    }

    /// Writes what there is, up to a batch; true if there may be more.
    async fn pump(&mut self) -> Result<bool, Over> {
        if self.feeder.is_some() {
            self.feed().await?;
        }
        let limit = if self.sinking() {
            Limit {
                documents: 1,
                bytes: 0,
            }
        } else if self.hub.faults.on(&knob::REPLAY_ONE_MESSAGE) {
            EVERYTHING
        } else {
            BATCH
        };
        let taken = self.hub.take(self.number, limit);
        if taken.is_empty() {
            return Ok(self.feeder.as_ref().is_some_and(Feeder::ready));
        }
        if self.sinking() {
            return self.sink(&taken);
        }
        let mut out =
            Vec::with_capacity(taken.iter().map(|document| document.bytes.len() + 10).sum());
        encode::batch(&taken, self.output, &self.hub.faults, &mut out);
        self.write(&out).await?;
        if taken.iter().any(|document| document.event) {
            let now = Instant::now();
            self.first_event.get_or_insert(now);
            self.last_event = now;
        }
        match self.hub.written(self.number, taken.len(), false) {
            Some(stop) => Err(Over::Stop(stop)),
            None => Ok(true),
        }
    }

    /// Burst documents.
    async fn feed(&mut self) -> Result<(), Over> {
        let Some(mut feeder) = self.feeder.take() else {
            return Ok(());
        };
        let at = self.hub.burst_position(self.number).unwrap_or(u64::MAX);
        let (count, chunk) = feeder.fill(at);
        let wrote = if count > 0 {
            self.write(chunk).await
        } else {
            Ok(())
        };
        self.feeder = Some(feeder);
        wrote?;
        if count > 0 {
            self.hub.burst_written(self.number, count);
        }
        Ok(())
    }

    /// Writes bytes; a stop, the cut and (if a fault says so) a slow reader interrupt it.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let cut = self.cut_at();
        let slow = self.hub.faults.arg(&knob::SLOW_DROP);
        let patience = slow.map_or(NEVER, |arg| Duration::from_millis(arg.number()));
        let writing = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        tokio::select! {
            biased;
            wrote = timeout(patience, writing) => match wrote {
                Ok(Ok(())) => {
                    self.last_write = Instant::now();
                    Ok(())
                }
                Ok(Err(_ended)) => Err(Over::Gone),
                Err(_elapsed) => {
                    self.hub.faults.fire(&knob::SLOW_DROP);
                    Err(Over::Stop(Stop::Drop("slow reader")))
                }
            },
            // In the middle of a frame no Close can be written.
            stop = stopped(&mut self.stop) => Err(Over::Stop(match stop {
                Stop::Close(..) | Stop::Mute => Stop::Drop("stopped while writing"),
                Stop::Drop(_) | Stop::Reset(_) => stop,
            })),
            () = sleep_until(cut) => Err(Over::Stop(Stop::Drop("cut while writing"))),
        }
    }

    /// What the client said.
    async fn hear(&mut self, said: Option<Said>, muted: bool) -> Option<Over> {
        let faults = &self.hub.faults;
        match said {
            None => Some(Over::Gone),
            Some(Said::Close(code)) => Some(Over::ClientClose(code)),
            Some(Said::Pong) => {
                self.unanswered_pings = 0;
                None
            }
            Some(Said::Ping(payload)) if !muted => {
                let mut out = Vec::new();
                frames::pong(&payload, &mut out);
                self.write(&out).await.err()
            }
            Some(Said::Ping(_)) => None,
            Some(Said::Data) => faults
                .fires(&knob::CLOSE_ON_TEXT)
                .then_some(Over::Stop(Stop::Close(1003, "nothing is expected"))),
        }
    }
}

/// Waits until the session is told to stop, by other than falling silent.
async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    let told = stop
        .wait_for(|stop| stop.as_ref().is_some_and(|stop| *stop != Stop::Mute))
        .await
        .ok()
        .and_then(|stop| stop.clone());
    match told {
        Some(stop) => stop,
        // The hub let go of the session without a word: it is ending already.
        None => std::future::pending().await,
    }
}
