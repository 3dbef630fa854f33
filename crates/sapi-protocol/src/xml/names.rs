//! Keys of JSON as names of XML elements, and back; knows no values.

use std::borrow::Cow;

/// The element of a root without one key, and of items without a key.
pub(super) const ITEM: &str = "_";
const EMPTY: &str = "_x_";

/// The element's name for a key.
pub(super) fn encode(key: &str) -> Cow<'_, str> {
    if key.is_empty() {
        return EMPTY.into();
    }
    let plain = |(at, character): (usize, char)| fits(character, at == 0);
    if key != ITEM && !key.contains("_x") && key.char_indices().all(plain) {
        return key.into();
    }
    let mut name = String::with_capacity(key.len() + 8);
    for (at, character) in key.char_indices() {
        let before_x = key.get(at + 1..).is_some_and(|rest| rest.starts_with('x'));
        let literal = character == '_' && (before_x || key == ITEM);
        if literal || !fits(character, at == 0) {
            name.extend(format!("_x{:04X}_", u32::from(character)).chars());
        } else {
            name.push(character);
        }
    }
    name.into()
}

/// The key of an element's name.
pub(super) fn decode(name: &str) -> Cow<'_, str> {
    if !name.contains("_x") {
        return name.into();
    }
    if name == EMPTY {
        return "".into();
    }
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("_x") {
        let (plain, escape) = rest.split_at(at);
        key.push_str(plain);
        let underscore = ('_', escape.get(1..).unwrap_or_default());
        let (character, after) = escaped(escape).unwrap_or(underscore);
        key.push(character);
        rest = after;
    }
    key.push_str(rest);
    key.into()
}

fn escaped(escape: &str) -> Option<(char, &str)> {
    let (digits, after) = escape.strip_prefix("_x")?.split_once('_')?;
    let hex =
        (4..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| hex)?;
    Some((char::from_u32(code)?, after))
}

/// Whether a character can stand in a name: letters, digits, `_`, `-` and `.`; a colon would be a namespace's.
fn fits(character: char, first: bool) -> bool {
    let begins = character == '_' || character.is_alphabetic();
    begins || (!first && (character.is_ascii_digit() || matches!(character, '-' | '.')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_the_samples_stay_as_they_are() {
        for key in [
            "Interaction",
            "subscription-id",
            "inboundChannelid",
            "a_b",
            "aAgtCallRec",
        ] {
            assert_eq!(encode(key), key);
        }
    }

    #[test]
    fn other_keys_are_escaped() {
        assert_eq!(encode("@pri"), "_x0040_pri");
        assert_eq!(encode("_x0040_"), "_x005F_x0040_");
        assert_eq!(encode("_"), "_x005F_");
        assert_eq!(encode("1a b"), "_x0031_a_x0020_b");
        assert_eq!(encode(""), "_x_");
    }

    proptest! {
        #[test]
        fn any_key_comes_back(key in "[_x0-9A-F@ -~é]{0,12}") {
            let name = encode(&key).into_owned();
            prop_assert_eq!(decode(&name), key);
        }
    }
}
