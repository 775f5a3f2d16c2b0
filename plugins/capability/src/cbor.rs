//! Deterministically encoded CBOR (RFC 8949, 4.2.1), of the types that tokens are made of.
//!
//! Invariant: [`decode`] looks at the received bytes first and takes only the one encoding
//! of a value: shortest heads, definite lengths, ascending keys, and no tags, floats,
//! booleans or null. What is left for the library to read is small and shallow.

use coset::cbor::de::from_reader_with_recursion_limit;
#[cfg(any(test, feature = "mint"))]
use coset::cbor::ser::into_writer;
pub use coset::cbor::value::Value;

/// Deepest nesting.
const DEPTH: usize = 8;

/// Reads one item that fills `bytes`.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    if !after(bytes, DEPTH)?.is_empty() {
        return None;
    }
    from_reader_with_recursion_limit(bytes, DEPTH.saturating_add(1)).ok()
}

/// The encoding of a value whose maps are in order.
#[cfg(any(test, feature = "mint"))]
pub fn encode(value: &Value) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    into_writer(value, &mut bytes).ok()?;
    Some(bytes)
}

/// What follows the first item, if that is encoded as it must be. Every item takes at
/// least a byte, so that a length that claims more than there is ends the loops early.
fn after(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let (major, argument, mut rest) = head(bytes)?;
    match major {
        0 | 1 => Some(rest),
        2 | 3 => rest.get(usize::try_from(argument).ok()?..),
        4 => {
            let depth = depth.checked_sub(1)?;
            for _ in 0..argument {
                rest = after(rest, depth)?;
            }
            Some(rest)
        }
        5 => entries(rest, argument, depth.checked_sub(1)?),
        _ => None,
    }
}

/// What follows so many entries of a map whose keys ascend.
fn entries(mut rest: &[u8], count: u64, depth: usize) -> Option<&[u8]> {
    let mut last: &[u8] = &[];
    for _ in 0..count {
        let value = after(rest, depth)?;
        let key = rest.get(..rest.len().checked_sub(value.len())?)?;
        if key <= last {
            return None;
        }
        last = key;
        rest = after(value, depth)?;
    }
    Some(rest)
}

/// Major type and argument of an item (RFC 8949, 3), the argument in its shortest form.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (least, length): (u64, usize) = match first & 0x1f {
        direct @ 0..24 => return Some((first >> 5, direct.into(), rest)),
        24 => (24, 1),
        25 => (1 << 8, 2),
        26 => (1 << 16, 4),
        27 => (1 << 32, 8),
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(length)?;
    let argument = argument.iter().fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte));
    (argument >= least).then_some((first >> 5, argument, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn one_encoding_of_a_value_is_read() {
        let rows =
            ["00", "17", "1818", "3a00010000", "40", "4161", "6161", "80", "a0", "a201000200"];
        for text in rows {
            let bytes = hex(text);
            assert_eq!(decode(&bytes).and_then(|value| encode(&value)), Some(bytes), "{text}");
        }
    }

    #[test]
    fn every_other_encoding_is_refused() {
        let rows = [
            ("", "nothing"),
            ("1800", "a length longer than needed"),
            ("1900ff", "two bytes where one does"),
            ("1b0000000000000001", "eight bytes where one does"),
            ("c24101", "a bignum that is a number"),
            ("580161", "a string's length longer than needed"),
            ("5f4161ff", "an indefinite string"),
            ("9f00ff", "an indefinite array"),
            ("bf0100ff", "an indefinite map"),
            ("a202000100", "keys out of order"),
            ("a201000100", "a key twice"),
            ("a220000100", "a negative key before a positive one"),
            ("0000", "something behind it"),
            ("f4", "a boolean"),
            ("f6", "null"),
            ("f97e00", "a float"),
            ("d20a", "a tag"),
            ("61ff", "text that is not UTF-8"),
            ("8200", "an array that ends early"),
            ("9b7fffffffffffffff00", "an array that claims to be huge"),
            ("81818181818181818100", "nested too deep"),
        ];
        for (text, note) in rows {
            assert_eq!(decode(&hex(text)), None, "{note}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_encoded_as_it_was(
            head in proptest::collection::vec(0x80..0xa8u8, 0..3),
            tail in proptest::collection::vec(prop_oneof![0..0x20u8, 0x40..0x48u8, any::<u8>()], 0..12),
        ) {
            let bytes = [head, tail].concat();
            if let Some(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value), Some(bytes));
            }
        }
    }
}
