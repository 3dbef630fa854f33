//! Owns msgInfo: which instance speaks, and the series of numbers. It does not know what is numbered.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::Numbering,
    content::{Stamp, StampStyle},
    faults::{Faults, knob},
};

/// The series of numbers of the server.
#[derive(Debug)]
pub(super) struct Numbers {
    numbering: Numbering,
    instance: Arc<str>,
    last: HashMap<Arc<str>, u64>,
    turn: u64,
    /// The lower number of a pair that is written the wrong way round.
    held: Option<Stamp>,
    previous: Option<Stamp>,
}

impl Numbers {
    pub(super) fn new(numbering: Numbering, instance: &str) -> Self {
        Self {
            numbering,
            instance: Arc::from(instance),
            last: HashMap::new(),
            turn: 0,
            held: None,
            previous: None,
        }
    }

    /// msgInfo for a heartbeat, or for an event whose number no fault touches.
    pub(super) fn stamp(&mut self, subs: Option<&Arc<str>>, now: u64, faults: &Faults) -> Stamp {
        if let Some(switch) = faults.fire(&knob::INSTANCE_SWITCH) {
            self.instance = Arc::from(switch.text());
        }
        let mut instance = Arc::clone(&self.instance);
        if let Some(count) = faults.fire(&knob::INSTANCES) {
            let index = self.turn % count.number().max(1);
            self.turn += 1;
            if index > 0 {
                instance = Arc::from(format!("{instance}-{index}"));
            }
        }
        let series = match self.numbering {
            Numbering::Tenant => Arc::from(""),
            Numbering::Instance => Arc::clone(&instance),
            Numbering::Subscription => subs.cloned().unwrap_or_else(|| Arc::from("")),
        };
        let last = self.last.entry(series).or_insert(0);
        if let Some(start) = faults.fire(&knob::SEQ_RESTART) {
            *last = start.number().saturating_sub(1);
        }
        if let Some(gap) = faults.fire(&knob::SEQ_GAP) {
            *last += gap.number();
        }
        *last += 1;
        Stamp {
            instance,
            sequence: *last,
            timestamp: now,
        }
    }

    /// msgInfo for the `count`-th event.
    pub(super) fn event(
        &mut self,
        subs: Option<&Arc<str>>,
        now: u64,
        count: u64,
        faults: &Faults,
    ) -> Stamp {
        let repeated = self.previous.clone();
        let stamp = if let Some(held) = self.held.take() {
            held
        } else if let Some(previous) = repeated
            && faults.fire_each(&knob::SAME_ID_DIFFERENT_CONTENT, count)
        {
            previous
        } else if faults.fire_each(&knob::SEQ_OUT_OF_ORDER, count) {
            self.held = Some(self.stamp(subs, now, faults));
            self.stamp(subs, now, faults)
        } else {
            self.stamp(subs, now, faults)
        };
        self.previous = Some(stamp.clone());
        stamp
    }

    /// Numbers that nobody gets to see.
    pub(super) fn skip(&mut self, count: u64) {
        for last in self.last.values_mut() {
            *last += count;
        }
    }

    /// Every series starts again.
    pub(super) fn restart(&mut self) {
        self.last.clear();
    }
}

/// How the faults want msgInfo written, for events.
pub(super) fn style(faults: &Faults) -> StampStyle {
    [
        (&knob::NO_MSG_INFO, StampStyle::Absent),
        (&knob::EMPTY_MSG_INFO, StampStyle::Empty),
        (&knob::NO_INSTANCE, StampStyle::NoInstance),
        (&knob::SEQ_STRING, StampStyle::Text),
    ]
    .into_iter()
    .find(|(fault, _)| faults.fires(fault))
    .map_or(StampStyle::Numbers, |(_, style)| style)
}
