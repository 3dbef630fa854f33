//! The format of a log on disk, version 1: what stands in its files, and the rules by which they are
//! written, read, trimmed and recovered. It encodes and decodes; it touches no file.
//!
//! # Constraints
//! What was committed is there after `kill -9` and after power loss. An offset is never given to two
//! records that were ever readable. One writer, many readers, none of which waits for another.
//! Opening takes time by segments, not by bytes; memory is a few MB whatever the size.
//!
//! # Files of a log's directory
//! * `lock`: locked by the writer, holds its process id.
//! * `anchor`: epoch, identity, and the floors below which the next offset and journal time may not fall. Two slots of
//!   512 bytes, 4096 apart, written in turn in place: a torn write leaves the other, and a full volume
//!   is no obstacle.
//! * `reserve`: preallocated space to be given back when the volume is full.
//! * `{first offset, 20 digits}.segment`: header, records, and, once it is sealed, a footer.
//!   `*.damaged` and `*.foreign` were set aside by a recovery and are never read.
//!
//! # A segment
//! * **Header**, 512 bytes: magic, format version, crc32c, epoch, first offset, time of making, how it
//!   joins on to the one before ([`Join`]), identity. Magic, version and crc stay in their places in
//!   every later version.
//! * **Records**, each at a multiple of 8 (layout in `record`), their offsets without a hole.
//! * **Footer**, when sealed: the sparse index (offset, time and position of a record about every
//!   64 KiB), then a tail of 72 bytes at the very end of the file that says where the records end. The
//!   active segment has the same index in memory.
//!
//! # Writing
//! A group is one write at the end of the active segment, into preallocated space, then one
//! fdatasync; only then do readers see it. Each record has its own checksum, so that a *prefix* of a
//! group that was never acknowledged may survive a crash; an acknowledged one survives whole.
//! A group that does not fit, and a segment that is too old, roll: footer, truncation to what is used,
//! fsync; then the new file, its header, fsync, fsync of the directory, then the anchor. No room for a
//! whole segment: a smaller one, down to what the group needs.
//! A failed write or fsync is never tried again on the same handle: the file is opened anew, read
//! again, cut back to what was committed, and the group goes to a new segment. (After a failed fsync
//! the page cache shows what is not on disk.)
//!
//! # Reading
//! By `pread` from the nearest index entry; every record's checksum and offset are checked at every
//! read. Damage is skipped by looking, at each multiple of 8, for the next record with a right
//! checksum and a plausible offset.
//!
//! # Trimming
//! Whole segments, oldest first, never the active one. Before the newest goes, the anchor's floor is
//! raised above it.
//!
//! # Recovery
//! A sealed segment is trusted as to its length, and checked when it is read. One without a footer is
//! read: the last one may end in a torn write, which is cut; bad bytes that good records follow are
//! damage in any segment, and stay. Then it is sealed: a restart always begins a new segment. Bytes
//! that are cut may, if the disk lied or a bit of the last record flipped, have held offsets that had
//! been acknowledged: so the next offset jumps over as many as fit in them ([`Join::Jump`]; reading goes over it
//! silently). If the newest segment is lost altogether, the next offset jumps over all that it could
//! have held ([`Join::Loss`]; readers are told).

use crate::ids::{Epoch, Offset};
use crate::record::RECORD_HEADER;

use super::index::Index;

/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
/// The header of a segment, and a slot of the anchor.
pub(super) const BLOCK: usize = 512;
/// Where the first record of a segment stands.
pub(super) const DATA_START: u64 = BLOCK as u64;
/// The fixed end of a footer.
pub(super) const TAIL: usize = 72;
/// How far the anchor's two slots are apart.
pub(super) const SLOT_STRIDE: u64 = 4096;
const SEGMENT_MAGIC: [u8; 8] = *b"relayseg";
const ANCHOR_MAGIC: [u8; 8] = *b"relayanc";
const FOOTER_MAGIC: [u8; 8] = *b"relayend";
pub(super) const IDENTITY_MAX: usize = 255;

/// How many offsets `bytes` of records can use up at the most.
pub(super) fn offsets_within(bytes: u64) -> u64 {
    bytes / RECORD_HEADER as u64
}

/// How a segment joins on to what was before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Join {
    /// Without a hole.
    #[default]
    Close,
    /// Over offsets that no reader misses.
    Jump,
    /// Over records that are lost.
    Loss,
}

impl Join {
    fn code(self) -> u8 {
        match self {
            Self::Close => 0,
            Self::Jump => 1,
            Self::Loss => 2,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Close,
            1 => Self::Jump,
            _ => Self::Loss,
        }
    }
}

/// Why a block can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBlock {
    Damaged,
    Newer(u32),
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) epoch: Epoch,
    pub(super) first: Offset,
    pub(super) created_ms: u64,
    pub(super) join: Join,
    pub(super) identity: String,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Block::new(SEGMENT_MAGIC);
        block.put(&self.epoch.0.to_le_bytes());
        block.put(&self.first.0.to_le_bytes());
        block.put(&self.created_ms.to_le_bytes());
        block.put(&[self.join.code(), 0, 0, 0]);
        block.put_text(&self.identity);
        block.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadBlock> {
        let mut fields = Fields::open(bytes, SEGMENT_MAGIC)?;
        Ok(Self {
            epoch: Epoch(fields.u64()?),
            first: Offset(fields.u64()?),
            created_ms: fields.u64()?,
            join: Join::of(fields.array::<4>()?[0]),
            identity: fields.text()?,
        })
    }
}

/// What the anchor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) epoch: Epoch,
    /// Counts the writes: the higher of two good slots is the valid one.
    pub(super) generation: u64,
    /// The next offset is at least this.
    pub(super) floor: Offset,
    /// How a segment that starts at the floor joins on to what was before it.
    pub(super) join: Join,
    /// The newest segment's first offset, 0 for none.
    pub(super) newest: Offset,
    /// How large the newest segment is.
    pub(super) newest_bytes: u64,
    /// Journal time does not fall below this.
    pub(super) last_time: u64,
    pub(super) identity: String,
}

impl Anchor {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Block::new(ANCHOR_MAGIC);
        block.put(&self.epoch.0.to_le_bytes());
        block.put(&self.generation.to_le_bytes());
        block.put(&self.floor.0.to_le_bytes());
        block.put(&[self.join.code(), 0, 0, 0]);
        block.put(&self.newest.0.to_le_bytes());
        block.put(&self.newest_bytes.to_le_bytes());
        block.put(&self.last_time.to_le_bytes());
        block.put_text(&self.identity);
        block.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadBlock> {
        let mut fields = Fields::open(bytes, ANCHOR_MAGIC)?;
        Ok(Self {
            epoch: Epoch(fields.u64()?),
            generation: fields.u64()?,
            floor: Offset(fields.u64()?),
            join: Join::of(fields.array::<4>()?[0]),
            newest: Offset(fields.u64()?),
            newest_bytes: fields.u64()?,
            last_time: fields.u64()?,
            identity: fields.text()?,
        })
    }
}

/// The fixed end of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) epoch: Epoch,
    pub(super) first: Offset,
    /// The offset after the last record.
    pub(super) next: Offset,
    /// Where the records end, and the index starts.
    pub(super) end: u64,
    pub(super) first_time: u64,
    pub(super) last_time: u64,
    pub(super) index_crc: u32,
    pub(super) entries: u32,
}

impl Tail {
    /// The footer: index and tail.
    pub(super) fn footer(mut self, index: &Index) -> Vec<u8> {
        let mut bytes = index.encode();
        self.index_crc = crc32c::crc32c(&bytes);
        self.entries = u32::try_from(index.len()).unwrap_or(u32::MAX);
        let start = bytes.len();
        bytes.extend_from_slice(&FOOTER_MAGIC);
        for field in [
            self.epoch.0,
            self.first.0,
            self.next.0,
            self.end,
            self.first_time,
            self.last_time,
        ] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.index_crc.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        let crc = crc32c::crc32c(bytes.get(start..).unwrap_or_default());
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    /// Reads the last bytes of a segment of `file_len` bytes. `None`: it has no footer.
    pub(super) fn decode(bytes: &[u8], file_len: u64) -> Option<Self> {
        let (body, rest) = bytes.split_at_checked(TAIL - 8)?;
        if crc32c::crc32c(body).to_le_bytes() != *rest.first_chunk()? {
            return None;
        }
        let mut fields = Fields(body.strip_prefix(&FOOTER_MAGIC)?);
        let tail = Self {
            epoch: Epoch(fields.u64().ok()?),
            first: Offset(fields.u64().ok()?),
            next: Offset(fields.u64().ok()?),
            end: fields.u64().ok()?,
            first_time: fields.u64().ok()?,
            last_time: fields.u64().ok()?,
            index_crc: u32::from_le_bytes(*fields.array().ok()?),
            entries: u32::from_le_bytes(*fields.array().ok()?),
        };
        let len = tail
            .end
            .checked_add(tail.index_bytes())?
            .checked_add(TAIL as u64)?;
        (len == file_len && tail.end >= DATA_START && tail.first <= tail.next).then_some(tail)
    }

    pub(super) fn index_bytes(&self) -> u64 {
        u64::from(self.entries) * Index::ENTRY as u64
    }
}

/// A block under construction: magic, version, crc, then fields, then zeros.
struct Block(Vec<u8>);

impl Block {
    fn new(magic: [u8; 8]) -> Self {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(&magic);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self(bytes)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put_text(&mut self, text: &str) {
        let len = text.floor_char_boundary(IDENTITY_MAX);
        self.0.push(u8::try_from(len).unwrap_or(u8::MAX));
        self.put(text.as_bytes().get(..len).unwrap_or_default());
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(BLOCK, 0);
        let crc = block_crc(&self.0);
        if let Some(field) = self.0.get_mut(12..16) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        self.0
    }
}

fn block_crc(block: &[u8]) -> u32 {
    let (start, rest) = block.split_at_checked(12).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(start), rest.get(4..).unwrap_or_default())
}

/// The fields of a block, taken one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn open(block: &'a [u8], magic: [u8; 8]) -> Result<Self, BadBlock> {
        let block = block.get(..BLOCK).ok_or(BadBlock::Damaged)?;
        let mut fields = Self(block.strip_prefix(&magic).ok_or(BadBlock::Damaged)?);
        let version = u32::from_le_bytes(*fields.array()?);
        let crc = u32::from_le_bytes(*fields.array()?);
        if crc != block_crc(block) {
            return Err(BadBlock::Damaged);
        }
        if version > VERSION {
            Err(BadBlock::Newer(version))
        } else {
            Ok(fields)
        }
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], BadBlock> {
        let (array, rest) = self.0.split_first_chunk().ok_or(BadBlock::Damaged)?;
        self.0 = rest;
        Ok(array)
    }

    fn u64(&mut self) -> Result<u64, BadBlock> {
        self.array().copied().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, BadBlock> {
        let [len] = *self.array()?;
        let bytes = self.0.get(..usize::from(len)).ok_or(BadBlock::Damaged)?;
        String::from_utf8(bytes.to_vec()).or(Err(BadBlock::Damaged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_back_and_flips_and_newer_versions_are_told_apart() {
        let header = SegmentHeader {
            epoch: Epoch(7),
            first: Offset(9),
            created_ms: 11,
            join: Join::Jump,
            identity: "é".repeat(200),
        };
        let bytes = header.encode();
        let cut = SegmentHeader {
            identity: "é".repeat(127),
            ..header
        };
        assert_eq!(SegmentHeader::decode(&bytes), Ok(cut));
        for at in 0..BLOCK {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(
                SegmentHeader::decode(&flipped),
                Err(BadBlock::Damaged),
                "byte {at}"
            );
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = block_crc(&newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(BadBlock::Newer(2)));
    }
}
