//! Owns the half-open connection: documents that are written into it count as delivered, and nobody
//! gets them.

use std::time::Duration;

use super::{Over, Session, Stop, Taken};
use crate::faults::knob;

impl Session {
    /// Whether writes go nowhere: a half-open connection that nobody has noticed yet.
    pub(super) fn sinking(&mut self) -> bool {
        if self.black_hole.is_none() {
            let faults = &self.hub.faults;
            let idle = self.last_write.elapsed();
            if self.first_event.is_some() && faults.on(&knob::HALF_OPEN_LOSS) {
                self.black_hole = faults
                    .fire(&knob::HALF_OPEN_LOSS)
                    .map(|arg| arg.number().max(1));
            } else if let Some(arg) = faults.arg(&knob::IDLE_DROP)
                && idle >= Duration::from_secs(arg.number())
            {
                faults.fire(&knob::IDLE_DROP);
                self.black_hole = Some(1);
            }
        }
        self.black_hole.is_some()
    }

    /// "Writes" documents into the dead socket; drops it after the last.
    pub(super) fn sink(&mut self, taken: &[Taken]) -> Result<bool, Over> {
        let stop = self.hub.written(self.number, taken.len(), true);
        let events = taken.iter().filter(|document| document.event).count() as u64;
        let left = self.black_hole.unwrap_or(0).saturating_sub(events);
        self.black_hole = Some(left);
        match stop {
            Some(stop) => Err(Over::Stop(stop)),
            None if left == 0 => Err(Over::Stop(Stop::Drop("half open"))),
            None => Ok(true),
        }
    }
}
