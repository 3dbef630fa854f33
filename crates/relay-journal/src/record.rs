//! One record: how it is encoded, how it is checked, and the view that readers get of it. It does
//! not know what its head and payload mean, nor in which file it lies.
//!
//! Layout, little endian, at a position that is a multiple of 8:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the record, this header included and the padding not |
//! | 4..8 | crc32c of bytes 0..4 and of 8..length |
//! | 8..16 | offset |
//! | 16..24 | time, Unix milliseconds |
//! | 24..28 | length of the head |
//! | 28 | kind |
//! | 29..32 | zero |
//! | 32.. | head, then payload, then zeros up to a multiple of 8 |

use bytes::Bytes;

use crate::ids::Offset;

/// The header of a record, and so the least that a record takes.
pub(crate) const RECORD_HEADER: usize = 32;
/// What a record takes beside head and payload, at the most.
pub(crate) const RECORD_MAX: usize = RECORD_HEADER + 7;
const ALIGN: u64 = 8;

/// A view of one record. Its bytes are slices of a shared buffer: cloning is cheap, and keeps the
/// whole buffer (a commit group, or what one read returned) in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    offset: Offset,
    time_ms: u64,
    kind: u8,
    head: Bytes,
    payload: Bytes,
}

impl Record {
    /// A record put together again from its parts.
    pub fn from_parts(offset: Offset, time_ms: u64, kind: u8, head: Bytes, payload: Bytes) -> Self {
        Self {
            offset,
            time_ms,
            kind,
            head,
            payload,
        }
    }

    /// Its place in the log.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Journal time in Unix milliseconds: what the writer gave, but never running backwards.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// What the writer said that it is.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The small opaque head.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The opaque payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The bytes it takes on disk, and in the buffer that it is a slice of.
    pub fn encoded_len(&self) -> usize {
        aligned_len(RECORD_HEADER + self.head.len() + self.payload.len())
    }
}

/// The header of a record as it was read: its lengths agree with each other, nothing else is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) len: u32,
    pub(crate) crc: u32,
    pub(crate) offset: Offset,
    pub(crate) time_ms: u64,
    head_len: u32,
    kind: u8,
}

impl RecordHeader {
    /// Reads the header that `bytes` start with. `None`: no record starts so.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (head_len, rest) = rest.split_first_chunk()?;
        let [kind, 0, 0, 0, ..] = rest else {
            return None;
        };
        let header = Self {
            len: u32::from_le_bytes(*len),
            crc: u32::from_le_bytes(*crc),
            offset: Offset(u64::from_le_bytes(*offset)),
            time_ms: u64::from_le_bytes(*time),
            head_len: u32::from_le_bytes(*head_len),
            kind: *kind,
        };
        let body = usize::try_from(header.len)
            .ok()?
            .checked_sub(RECORD_HEADER)?;
        (usize::try_from(header.head_len).ok()? <= body).then_some(header)
    }

    /// How far the next record is from this one.
    pub(crate) fn stride(&self) -> u64 {
        u64::from(self.len).next_multiple_of(ALIGN)
    }
}

/// The checksum of a record's bytes, given in pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum(u32);

impl Checksum {
    /// Of the record's first bytes, its header at least.
    pub(crate) fn start(bytes: &[u8]) -> Self {
        let (len, rest) = bytes.split_at_checked(4).unwrap_or((bytes, &[]));
        let body = rest.get(4..).unwrap_or_default();
        Self(crc32c::crc32c_append(crc32c::crc32c(len), body))
    }

    /// And of what follows them.
    pub(crate) fn then(self, bytes: &[u8]) -> Self {
        Self(crc32c::crc32c_append(self.0, bytes))
    }

    pub(crate) fn value(self) -> u32 {
        self.0
    }
}

/// Appends a record. `None`, and nothing appended: it is longer than the format can say.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    offset: Offset,
    time_ms: u64,
    kind: u8,
    (head, payload): (&[u8], &[u8]),
) -> Option<()> {
    let len = RECORD_HEADER + head.len() + payload.len();
    let (len_field, head_len) = (u32::try_from(len).ok()?, u32::try_from(head.len()).ok()?);
    let start = buffer.len();
    buffer.reserve(aligned_len(len));
    buffer.extend_from_slice(&len_field.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&offset.0.to_le_bytes());
    buffer.extend_from_slice(&time_ms.to_le_bytes());
    buffer.extend_from_slice(&head_len.to_le_bytes());
    buffer.extend_from_slice(&[kind, 0, 0, 0]);
    buffer.extend_from_slice(head);
    buffer.extend_from_slice(payload);
    let crc = Checksum::start(buffer.get(start..)?).value();
    buffer
        .get_mut(start + 4..start + 8)?
        .copy_from_slice(&crc.to_le_bytes());
    buffer.resize(start + aligned_len(len), 0);
    Some(())
}

/// Reads the record at `position` of a buffer as a slice of it. `None`: it is not wholly there, or
/// its checksum is wrong.
pub(crate) fn decode(buffer: &Bytes, position: usize) -> Option<(Record, usize)> {
    let bytes = buffer.get(position..)?;
    let header = RecordHeader::parse(bytes)?;
    let bytes = bytes.get(..usize::try_from(header.len).ok()?)?;
    if Checksum::start(bytes).value() != header.crc {
        return None;
    }
    view(buffer, position)
}

/// As [`decode`], for a buffer that was encoded here: the checksum is not looked at.
pub(crate) fn view(buffer: &Bytes, position: usize) -> Option<(Record, usize)> {
    let bytes = buffer.get(position..)?;
    let header = RecordHeader::parse(bytes)?;
    let len = usize::try_from(header.len).ok()?;
    bytes.get(..len)?;
    let head_start = position + RECORD_HEADER;
    let head_end = head_start + usize::try_from(header.head_len).ok()?;
    let record = Record {
        offset: header.offset,
        time_ms: header.time_ms,
        kind: header.kind,
        head: buffer.slice(head_start..head_end),
        payload: buffer.slice(head_end..position + len),
    };
    Some((record, position + aligned_len(len)))
}

fn aligned_len(len: usize) -> usize {
    len.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_reads_back_and_no_flipped_bit_goes_unseen(
            head in prop::collection::vec(any::<u8>(), 0..40),
            payload in prop::collection::vec(any::<u8>(), 0..80),
            (offset, time_ms, kind) in (any::<u64>(), any::<u64>(), any::<u8>()),
            flip in any::<prop::sample::Index>(),
            bit in 0u32..8,
        ) {
            let mut buffer = vec![0; 16];
            encode(&mut buffer, Offset(offset), time_ms, kind, (&head, &payload)).unwrap();
            let (record, end) = decode(&Bytes::from(buffer.clone()), 16).unwrap();
            prop_assert_eq!(end, buffer.len());
            prop_assert_eq!(record.encoded_len(), buffer.len() - 16);
            prop_assert_eq!((record.offset().0, record.time_ms(), record.kind()), (offset, time_ms, kind));
            prop_assert_eq!((&record.head()[..], &record.payload()[..]), (&head[..], &payload[..]));

            let at = 16 + flip.index(RECORD_HEADER + head.len() + payload.len());
            buffer[at] ^= 1 << bit;
            prop_assert_eq!(decode(&Bytes::from(buffer), 16), None);
        }
    }
}
