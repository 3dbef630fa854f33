//! Owns the texts that make a world look like one: names, tokens and uuids, all from the seed.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

const FIRST: &[&str] = &[
    "Andrew", "Maria", "Zoë", "Chen", "Priya", "Łukasz", "Fatima", "Jörg", "Aiko", "Samuel",
];
const LAST: &[&str] = &[
    "Cunningh", "O'Neil", "Núñez", "Wei", "Patel", "Kowalski", "Haddad", "Müller", "Tanaka", "Ng",
];
const TOKEN: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A caller's name.
pub(super) fn name(rng: &mut StdRng) -> String {
    let first = FIRST.choose(rng).copied().unwrap_or_default();
    let last = LAST.choose(rng).copied().unwrap_or_default();
    format!("{first} {last}")
}

/// Letters and digits.
pub(super) fn token(rng: &mut StdRng, length: usize) -> String {
    (0..length)
        .filter_map(|_| TOKEN.choose(rng).map(|byte| char::from(*byte)))
        .collect()
}

/// A version 4 uuid.
pub(super) fn uuid(rng: &mut StdRng) -> String {
    let bits: u128 = rng.random();
    let hex = format!("{bits:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    format!(
        "{}-{}-4{}-a{}-{}",
        part(0..8),
        part(8..12),
        part(13..16),
        part(17..20),
        part(20..32)
    )
}
