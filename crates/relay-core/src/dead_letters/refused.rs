//! Dead letters on their way back: what a sink refused, kept so that it can be offered again, and
//! removed, durably, once the sink has it.

use std::io;

use relay_journal::Record;

use super::{DeadLetter, DeadLetters, Original, REMOVED, Stored};
use crate::notice::Page;

/// A letter of a sink, with the record of its event.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// The letter's place.
    pub(crate) id: u64,
    /// The event; `None`: the letter was kept without it.
    pub(crate) record: Option<Record>,
}

impl DeadLetters {
    /// As [`DeadLetters::put`], for events that a sink refused: they can be offered again.
    pub(crate) async fn put_refused(&self, letters: Vec<(DeadLetter, Original)>) -> io::Result<()> {
        let this = self.clone();
        let put = tokio::task::spawn_blocking(move || {
            let letters = letters.iter();
            this.write(letters.map(|(letter, original)| (letter, Some(original.clone()))))
        });
        put.await.map_err(io::Error::other)?
    }

    /// The letters of a sink after a place, up to and with another, oldest first: at most so many,
    /// and so many bytes, but one at least.
    pub(crate) async fn refused(
        &self,
        sink: &str,
        after: Option<u64>,
        upto: u64,
        (limit, bytes): (usize, usize),
    ) -> io::Result<Page<Refused>> {
        let (this, sink) = (self.clone(), sink.to_owned());
        let page = tokio::task::spawn_blocking(move || {
            let (mut items, mut held): (Vec<Refused>, usize) = (Vec::new(), 0);
            let cut = this.walk(after, |record| {
                if record.offset().0 > upto {
                    return false;
                }
                let Some(stored) = read(record, &sink) else {
                    return true;
                };
                let full = items.len() >= limit || held + record.payload().len() > bytes;
                if full && !items.is_empty() {
                    return false;
                }
                held += record.payload().len();
                // A copy: the record shares its buffer with its whole chunk.
                let payload = bytes::Bytes::copy_from_slice(record.payload());
                items.push(Refused {
                    id: record.offset().0,
                    record: stored
                        .original
                        .and_then(|original| original.record(payload)),
                });
                true
            })?;
            let next = items.last().map(|letter| letter.id);
            io::Result::Ok(Page {
                next: next.filter(|next| cut && *next < upto),
                items,
            })
        });
        page.await.map_err(io::Error::other)?
    }

    /// The place of the last letter there is.
    pub(crate) fn last(&self) -> Option<u64> {
        self.lock().counts.last()
    }

    /// Keeps letters no more. They are gone for good when it returns `Ok`, all or none of them.
    pub(crate) async fn remove(&self, ids: Vec<u64>) -> io::Result<()> {
        let this = self.clone();
        let removed = tokio::task::spawn_blocking(move || this.remove_blocking(&ids));
        removed.await.map_err(io::Error::other)?
    }

    fn remove_blocking(&self, ids: &[u64]) -> io::Result<()> {
        let mut kept = self.lock();
        let ids = ids.iter().filter(|id| kept.counts.holds(**id));
        let payload: Vec<u8> = ids.flat_map(|id| id.to_le_bytes()).collect();
        if payload.is_empty() {
            return Ok(());
        }
        let last_ms = kept.last_ms;
        let writer = kept
            .writer
            .as_mut()
            .ok_or_else(|| io::Error::other("the dead letters are closed"))?;
        let mut group = writer.begin();
        group.push(REMOVED, last_ms, &[], &payload);
        writer.commit(group).map_err(|error| error.into_parts().1)?;
        for place in places(&payload) {
            kept.counts.remove(place);
        }
        self.show(&kept);
        Ok(())
    }
}

/// The places that a record of kind [`REMOVED`] names.
pub(super) fn places(payload: &[u8]) -> impl Iterator<Item = u64> {
    payload
        .as_chunks()
        .0
        .iter()
        .map(|place| u64::from_le_bytes(*place))
}

fn read(record: &Record, sink: &str) -> Option<Stored> {
    let stored: Stored = serde_json::from_slice(record.head()).ok()?;
    let is_sinks = stored.letter.origin == super::Origin::Sink;
    (is_sinks && stored.letter.sink.as_deref() == Some(sink)).then_some(stored)
}
