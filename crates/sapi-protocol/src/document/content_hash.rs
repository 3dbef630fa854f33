//! The structural hash of a document's content: what its parts are and how they combine; knows no syntax.
//!
//! **On disk:** the journal keeps these hashes, so neither the seeds nor the way of combining may
//! change (a golden test holds them). Every part is XXH3 with 128 bits, seeded by what it is:
//!
//! * text, number, literal: over the bytes of its text, escapes and references resolved;
//! * member: over the 32 bytes of its name's hash and its value's hash, little-endian;
//! * object: over the wrapping sum of its members' hashes and their count, so order does not matter and
//!   repeated members count each;
//! * array: over a chain of its items and their count; each link is over the chain so far and the item, so order
//!   does matter;
//! * element: over its name's hash, the wrapping sum of its attributes (members), and a chain of its content.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What a part is: the seed of its hash.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Text = 1,
    Number = 2,
    Literal = 3,
    Member = 4,
    Object = 5,
    Link = 6,
    Array = 7,
    Element = 8,
}

/// The hash of a part that is bytes.
pub(crate) fn leaf(part: Part, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, part as u64)
}

fn pair(part: Part, left: u128, right: u128) -> u128 {
    let mut bytes = [0; 32];
    let (head, tail) = bytes.split_at_mut(16);
    head.copy_from_slice(&left.to_le_bytes());
    tail.copy_from_slice(&right.to_le_bytes());
    xxh3_128_with_seed(&bytes, part as u64)
}

/// Members in any order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Members {
    sum: u128,
    count: u64,
}

impl Members {
    pub(crate) fn add(&mut self, name: u128, value: u128) {
        self.sum = self.sum.wrapping_add(pair(Part::Member, name, value));
        self.count += 1;
    }

    pub(crate) fn finish(self) -> u128 {
        pair(Part::Object, self.sum, u128::from(self.count))
    }
}

/// Items in their order.
#[derive(Clone, Copy, Default)]
pub(crate) struct List {
    chain: u128,
    count: u64,
}

impl List {
    pub(crate) fn add(&mut self, item: u128) {
        self.chain = pair(Part::Link, self.chain, item);
        self.count += 1;
    }

    pub(crate) fn finish(self) -> u128 {
        pair(Part::Array, self.chain, u128::from(self.count))
    }
}

/// An element of a name with attributes and content.
pub(crate) fn element(name: u128, attributes: Members, content: List) -> u128 {
    let mut bytes = [0; 64];
    let counts = (u128::from(attributes.count) << 64) | u128::from(content.count);
    for (place, part) in
        bytes
            .chunks_exact_mut(16)
            .zip([name, attributes.sum, content.chain, counts])
    {
        place.copy_from_slice(&part.to_le_bytes());
    }
    xxh3_128_with_seed(&bytes, Part::Element as u64)
}
