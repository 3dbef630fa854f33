//! The sparse index of a segment: where, at which offset and at what time a record stands, about
//! every 64 KiB. It holds positions and no file.

use crate::ids::Offset;

/// How many bytes of records an entry stands for.
const SPACING: u64 = 64 * 1024;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: Offset,
    pub(super) time_ms: u64,
    pub(super) position: u64,
}

/// The entries of one segment, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index(Vec<Entry>);

impl Index {
    /// The size of an entry on disk.
    pub(super) const ENTRY: usize = 24;

    /// Takes note of a record if the last one noted is far enough away.
    pub(super) fn note(&mut self, entry: Entry) {
        if self
            .0
            .last()
            .is_none_or(|last| entry.position - last.position >= SPACING)
        {
            self.0.push(entry);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many entries there may be after `bytes` more of records.
    pub(super) fn len_after(&self, bytes: u64) -> u64 {
        self.len() as u64 + bytes / SPACING + 2
    }

    /// The last entry that is not after an offset.
    pub(super) fn before_offset(&self, offset: Offset) -> Option<Entry> {
        let after = self.0.partition_point(|entry| entry.offset <= offset);
        self.0.get(after.checked_sub(1)?).copied()
    }

    /// The last entry whose time is earlier.
    pub(super) fn before_time(&self, time_ms: u64) -> Option<Entry> {
        let after = self.0.partition_point(|entry| entry.time_ms < time_ms);
        self.0.get(after.checked_sub(1)?).copied()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::ENTRY);
        for entry in &self.0 {
            for field in [entry.offset.0, entry.time_ms, entry.position] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let entry = |fields: &[u8; Self::ENTRY]| {
            let (words, _) = fields.as_chunks::<8>();
            let [offset, time_ms, position] = words else {
                return None;
            };
            Some(Entry {
                offset: Offset(u64::from_le_bytes(*offset)),
                time_ms: u64::from_le_bytes(*time_ms),
                position: u64::from_le_bytes(*position),
            })
        };
        Self(bytes.as_chunks().0.iter().filter_map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_offset_and_time_and_reads_back() {
        let mut index = Index::default();
        for n in 1..=1000u64 {
            index.note(Entry {
                offset: Offset(n),
                time_ms: n * 10,
                position: 512 + n * 1000,
            });
        }
        assert_eq!(index.len(), 16);
        assert_eq!(index.before_offset(Offset(66)).unwrap().offset, Offset(1));
        assert_eq!(index.before_offset(Offset(67)).unwrap().offset, Offset(67));
        assert_eq!(index.before_offset(Offset(0)), None);
        assert_eq!(index.before_time(670).unwrap().offset, Offset(1));
        assert_eq!(index.before_time(671).unwrap().offset, Offset(67));
        assert_eq!(index.before_time(10), None);
        assert_eq!(Index::decode(&index.encode()), index);
    }
}
