//! Deterministically encoded CBOR (RFC 8949, 4.2.1), of the types that tokens are made of.
//!
//! Invariant: [`decode`] returns a value only if [`encode`] gives the same bytes again and
//! the keys of every map ascend, so that a value has one encoding.

use coset::cbor::de::from_reader_with_recursion_limit;
use coset::cbor::ser::into_writer;
pub use coset::cbor::value::Value;

/// Deepest nesting.
const DEPTH: usize = 8;

/// Reads one item that fills `bytes`.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    let value: Value = from_reader_with_recursion_limit(bytes, DEPTH).ok()?;
    // What follows the item is not part of it, hence not of its encoding either.
    (plain(&value) && encode(&value)? == bytes).then_some(value)
}

/// The encoding of a value whose maps are in order.
pub fn encode(value: &Value) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    into_writer(value, &mut bytes).ok()?;
    Some(bytes)
}

/// Whether only integers, strings, arrays and maps with ascending keys are in it. Nested as
/// deep as `decode` let it be, so the recursion is bounded.
fn plain(value: &Value) -> bool {
    match value {
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) => true,
        Value::Array(items) => items.iter().all(plain),
        Value::Map(entries) => {
            entries.iter().all(|(key, value)| plain(key) && plain(value)) && ascending(entries)
        }
        _ => false,
    }
}

fn ascending(entries: &[(Value, Value)]) -> bool {
    let keys: Option<Vec<Vec<u8>>> = entries.iter().map(|(key, _)| encode(key)).collect();
    keys.is_some_and(|keys| keys.is_sorted_by(|a, b| a < b))
}

#[cfg(test)]
mod tests {
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
}
