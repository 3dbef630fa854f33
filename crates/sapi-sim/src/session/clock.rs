//! Owns what time brings to a session: heartbeats, and the cut.

use std::time::Duration;

use tokio::time::Instant;

use super::{NEVER, Over, Session, Stop, frames};
use crate::faults::knob;

impl Session {
    /// The heartbeat's time has come.
    pub(super) async fn beat(&mut self, muted: bool) -> Option<Over> {
        let period = self.hub.config.heartbeat;
        self.next_beat = Instant::now() + period;
        if muted {
            return None;
        }
        let faults = &self.hub.faults;
        if faults.fires(&knob::EXPECT_PONG) {
            if self.unanswered_pings > 0 {
                return Some(Over::Stop(Stop::Close(1002, "no pong")));
            }
            self.unanswered_pings += 1;
            let mut out = Vec::new();
            frames::ping(&mut out);
            if let Err(over) = self.write(&out).await {
                return Some(over);
            }
        }
        let faults = &self.hub.faults;
        if faults.fires(&knob::HEARTBEAT_PING) {
            let mut out = Vec::new();
            frames::ping(&mut out);
            return self.write(&out).await.err();
        }
        let busy = self.last_event.elapsed() < period && self.first_event.is_some();
        let skipped = faults.fires(&knob::HEARTBEAT_OFF)
            || (busy && faults.fires(&knob::HEARTBEAT_IDLE_ONLY))
            || (self.first_event.is_none() && faults.fires(&knob::FIRST_UNTIL_EVENT))
            || (self.hub.has_stored(self.number) && faults.fires(&knob::HEARTBEAT_NOT_IN_REPLAY));
        if !skipped {
            self.hub.heartbeat(&self.subs_id);
        }
        None
    }

    /// When the session is cut.
    pub(super) fn cut_at(&self) -> Instant {
        let faults = &self.hub.faults;
        if faults.on(&knob::CUT_NEVER) || faults.on(&knob::BRIDGE) {
            return Instant::now() + NEVER;
        }
        let length = faults
            .arg(&knob::CUT_EARLY)
            .map_or(self.hub.config.session_length, |arg| {
                Duration::from_secs(arg.number())
            });
        let from = if faults.on(&knob::CUT_FROM_FIRST_EVENT) {
            match self.first_event {
                Some(first) => first,
                None => return Instant::now() + NEVER,
            }
        } else {
            self.started
        };
        from + length
    }

    /// How the cut is done.
    pub(super) fn cut(&self) -> Stop {
        let faults = &self.hub.faults;
        faults.fire(&knob::CUT_EARLY);
        faults.fire(&knob::CUT_FROM_FIRST_EVENT);
        if faults.fires(&knob::CUT_RESET) {
            Stop::Reset("cut")
        } else {
            Stop::cut(
                faults
                    .fire(&knob::CUT_CODE)
                    .map_or(1000, |arg| arg.number()),
            )
        }
    }
}
