//! Owns the switches: which fault is on, with what argument, and how often each fired.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use tokio::sync::watch;

use super::{
    BadFault, Fault, FaultSpec,
    spec::{Arg, find},
};

/// One fault, whether it is on, and how often it fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultStatus {
    /// Its name.
    pub name: &'static str,
    /// Its row in the SAPI facts.
    pub row: &'static str,
    /// What the server does.
    pub description: &'static str,
    /// It is on.
    pub active: bool,
    /// What it is on with.
    pub arg: Option<String>,
    /// How often the server did it, since the start.
    pub fired: u64,
}

#[derive(Default)]
struct Switches {
    on: BTreeMap<&'static str, Arg>,
    fired: BTreeMap<&'static str, u64>,
}

/// The switches, shared by everything that can misbehave.
#[derive(Default)]
pub(crate) struct Faults {
    /// Some fault is on: spares the usual case the lock.
    any: AtomicBool,
    switches: Mutex<Switches>,
    /// Moves each time one fires, for tests that wait for it.
    firings: watch::Sender<u64>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches a fault on, or gives it another argument.
    pub(crate) fn set(&self, spec: FaultSpec) {
        self.lock().on.insert(spec.fault.name, spec.arg);
        self.any.store(true, Ordering::Release);
    }

    /// Switches a fault off.
    pub(crate) fn clear(&self, name: &str) -> Result<(), BadFault> {
        let fault = find(name)?;
        let mut switches = self.lock();
        switches.on.remove(fault.name);
        self.any.store(!switches.on.is_empty(), Ordering::Release);
        Ok(())
    }

    /// The argument of a fault that is on. Does not count as firing.
    pub(crate) fn arg(&self, fault: &Fault) -> Option<Arg> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.lock().on.get(fault.name).cloned()
    }

    /// Whether a fault is on. Does not count as firing.
    pub(crate) fn on(&self, fault: &Fault) -> bool {
        self.arg(fault).is_some()
    }

    /// The argument of a fault that is on, which the caller now carries out: counted, and a fault
    /// that happens once goes off.
    pub(crate) fn fire(&self, fault: &Fault) -> Option<Arg> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut switches = self.lock();
        let arg = if fault.once {
            switches.on.remove(fault.name)?
        } else {
            switches.on.get(fault.name)?.clone()
        };
        *switches.fired.entry(fault.name).or_default() += 1;
        self.any.store(!switches.on.is_empty(), Ordering::Release);
        drop(switches);
        self.firings.send_modify(|firings| *firings += 1);
        Some(arg)
    }

    /// Sees every firing from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.firings.subscribe()
    }

    /// Like [`Faults::fire`], if the fault's turn has come: each `arg`-th of a count.
    pub(crate) fn fire_each(&self, fault: &Fault, count: u64) -> bool {
        self.arg(fault)
            .is_some_and(|arg| count.is_multiple_of(arg.number().max(1)))
            && self.fire(fault).is_some()
    }

    /// Like [`Faults::fire`], where only whether it is on matters.
    pub(crate) fn fires(&self, fault: &Fault) -> bool {
        self.fire(fault).is_some()
    }

    /// How often a fault fired.
    pub(crate) fn fired(&self, name: &str) -> u64 {
        self.lock().fired.get(name).copied().unwrap_or(0)
    }

    /// Every fault with its state.
    pub(crate) fn status(&self) -> Vec<FaultStatus> {
        let switches = self.lock();
        super::all()
            .map(|fault| {
                let arg = switches.on.get(fault.name);
                FaultStatus {
                    name: fault.name,
                    row: fault.row,
                    description: fault.description,
                    active: arg.is_some(),
                    arg: arg.and_then(|arg| match arg {
                        Arg::Nothing => None,
                        Arg::Number(number) => Some(number.to_string()),
                        Arg::Text(text) => Some(text.clone()),
                    }),
                    fired: switches.fired.get(fault.name).copied().unwrap_or(0),
                }
            })
            .collect()
    }
}
