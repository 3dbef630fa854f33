//! Documents in an output type that the journal does not hold them in: converted once for all the
//! clients that want them at about the same time. Bounded; what has been pushed out is made again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use relay_core::Offset;
use sapi_protocol::OutputType;

/// How many bytes are kept.
const MOST: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
struct Kept {
    frames: HashMap<(Offset, OutputType), Bytes>,
    order: VecDeque<(Offset, OutputType)>,
    bytes: usize,
}

/// Converted frames.
#[derive(Debug, Default)]
pub(crate) struct Converted(Mutex<Kept>);

impl Converted {
    /// The frame of an event, made if it is not kept.
    pub(crate) fn get(
        &self,
        offset: Offset,
        output: OutputType,
        make: impl FnOnce() -> Bytes,
    ) -> Bytes {
        let key = (offset, output);
        if let Some(frame) = self.lock().frames.get(&key) {
            return frame.clone();
        }
        let frame = make();
        let mut kept = self.lock();
        if kept.frames.insert(key, frame.clone()).is_none() {
            kept.order.push_back(key);
            kept.bytes += frame.len();
        }
        while kept.bytes > MOST {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            let removed = kept.frames.remove(&oldest).map_or(0, |frame| frame.len());
            kept.bytes -= removed;
        }
        frame
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_makes_once_and_stays_bounded() {
        let converted = Converted::default();
        let mut made = 0;
        let large = Bytes::from(vec![0; MOST / 8]);
        for n in 0..20 {
            for _client in 0..3 {
                converted.get(Offset(n), OutputType::Xml, || {
                    made += 1;
                    large.clone()
                });
            }
            converted.get(Offset(n), OutputType::NewlineJson, Bytes::new);
        }
        assert_eq!(made, 20);
        assert!(converted.lock().bytes <= MOST);
        converted.get(Offset(0), OutputType::Xml, || {
            made += 1;
            large.clone()
        });
        assert_eq!(made, 21, "the oldest was pushed out");
    }
}
