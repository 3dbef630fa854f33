//! Faults to order: which change of the volume fails, how, and whether all later ones fail too.

use std::io;
use std::sync::{Arc, Mutex};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) enum Op {
    Create,
    Allocate,
    Write,
    Sync,
    SyncDir,
    Truncate,
    Remove,
}

/// What becomes of a change.
#[derive(Debug)]
pub(in crate::log) enum Verdict {
    Pass,
    Fail(io::Error),
    /// So many bytes are written, then the error comes.
    Partly(usize, io::Error),
}

#[derive(Debug)]
struct Planned {
    op: Option<Op>,
    /// How many that match pass before.
    after: usize,
    errno: i32,
    /// What a write still writes.
    part: Option<usize>,
    /// Every later change fails as well: the process is dead.
    forever: bool,
}

#[derive(Debug, Default)]
struct State {
    planned: Vec<Planned>,
    seen: usize,
    fired: usize,
    dead: bool,
}

#[derive(Clone, Debug, Default)]
pub(in crate::log) struct Faults(Arc<Mutex<State>>);

impl Faults {
    fn plan(&self, planned: Planned) {
        self.0.lock().unwrap().planned.push(planned);
    }

    /// The change of that kind after `after` others fails with an error number, once.
    pub(in crate::log) fn fail(&self, op: Op, after: usize, errno: i32) {
        self.plan(Planned {
            op: Some(op),
            after,
            errno,
            part: None,
            forever: false,
        });
    }

    /// A write writes `part` bytes only.
    pub(in crate::log) fn cut_write(&self, after: usize, part: usize, errno: i32) {
        let op = Some(Op::Write);
        self.plan(Planned {
            op,
            after,
            errno,
            part: Some(part),
            forever: false,
        });
    }

    /// The process dies at the change after `after` others; a write still writes `part` bytes.
    pub(in crate::log) fn die(&self, after: usize, part: usize) {
        self.plan(Planned {
            op: None,
            after,
            errno: 5,
            part: Some(part),
            forever: true,
        });
    }

    /// How many faults happened.
    pub(in crate::log) fn fired(&self) -> usize {
        self.0.lock().unwrap().fired
    }

    /// How many changes were asked for.
    pub(in crate::log) fn seen(&self) -> usize {
        self.0.lock().unwrap().seen
    }

    pub(in crate::log) fn next(&self, op: Op) -> Verdict {
        let mut state = self.0.lock().unwrap();
        state.seen += 1;
        if state.dead {
            return Verdict::Fail(io::Error::from_raw_os_error(5));
        }
        let mut hit = None;
        for (at, planned) in state.planned.iter_mut().enumerate() {
            if planned.op.is_none_or(|of| of == op) {
                match planned.after.checked_sub(1) {
                    Some(after) => planned.after = after,
                    None => hit = hit.or(Some(at)),
                }
            }
        }
        let Some(at) = hit else { return Verdict::Pass };
        let Planned {
            errno,
            part,
            forever,
            ..
        } = state.planned.remove(at);
        state.fired += 1;
        state.dead |= forever;
        let error = io::Error::from_raw_os_error(errno);
        match part.filter(|_| op == Op::Write) {
            Some(part) => Verdict::Partly(part, error),
            None => Verdict::Fail(error),
        }
    }
}
