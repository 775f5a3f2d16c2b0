//! The configuration document as Envoy 1.40 hands it over: a `google.protobuf.StringValue`
//! as its text, a `google.protobuf.Struct` (which reads best in a YAML file) serialised as
//! protobuf, whatever its documentation says about JSON.
//!
//! Owns the way from such a `Struct` to JSON. Invariant: total, with a bound on depth;
//! anything that is not wholly a `Struct` is taken for text, which the reader then refuses.

use serde_json::{Map, Number, Value};

/// Deepest nesting; our documents have six levels.
const DEEPEST: usize = 32;

/// The document as JSON text.
pub fn text(bytes: Vec<u8>) -> Vec<u8> {
    // Field 1 of `Struct`, by length. As text it would be an empty first line.
    if bytes.first() != Some(&0x0a) {
        return bytes;
    }
    let json = structure(&bytes, 0).and_then(|value| serde_json::to_vec(&value).ok());
    json.unwrap_or(bytes)
}

/// One field of a message.
enum Wire<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

/// `Struct { map<string, Value> fields = 1; }`
fn structure(bytes: &[u8], depth: usize) -> Option<Value> {
    let mut fields = Map::new();
    for entry in fields_of(bytes)? {
        let (1, Wire::Bytes(entry)) = entry else { return None };
        let (mut key, mut item) = (String::new(), Value::Null);
        for part in fields_of(entry)? {
            match part {
                (1, Wire::Bytes(text)) => key = String::from_utf8(text.to_vec()).ok()?,
                (2, Wire::Bytes(bytes)) => item = value(bytes, depth)?,
                _ => return None,
            }
        }
        fields.insert(key, item);
    }
    Some(Value::Object(fields))
}

/// `Value`: a oneof of null, number, string, bool, struct and list, numbered 1 to 6.
fn value(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_add(1).filter(|depth| *depth < DEEPEST)?;
    match fields_of(bytes)?.pop()? {
        (1, Wire::Varint(_)) => Some(Value::Null),
        (2, Wire::Double(number)) => Some(Value::Number(exact(number)?)),
        (3, Wire::Bytes(text)) => Some(Value::String(String::from_utf8(text.to_vec()).ok()?)),
        (4, Wire::Varint(truth)) => Some(Value::Bool(truth != 0)),
        (5, Wire::Bytes(bytes)) => structure(bytes, depth),
        (6, Wire::Bytes(bytes)) => list(bytes, depth),
        _ => None,
    }
}

/// `ListValue { repeated Value values = 1; }`
fn list(bytes: &[u8], depth: usize) -> Option<Value> {
    let items = fields_of(bytes)?.into_iter().map(|item| match item {
        (1, Wire::Bytes(bytes)) => value(bytes, depth),
        _ => None,
    });
    items.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// A `Struct` has doubles only; whole ones were written without a point.
fn exact(number: f64) -> Option<Number> {
    let text = format!("{number}");
    text.parse::<i64>().map(Number::from).ok().or_else(|| Number::from_f64(number))
}

fn fields_of(mut rest: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Wire::Varint(varint(&mut rest)?),
            1 => {
                let (bytes, after) = rest.split_first_chunk()?;
                rest = after;
                Wire::Double(f64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        fields.push((tag >> 3, field));
    }
    Some(fields)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Envoy 1.40 gave a module for `{tenant: acme, n: 100, b: [a, {c: true}]}`.
    const GIVEN: &[u8] =
        b"\n\x0e\n\x01n\x12\t\x11\0\0\0\0\0\0Y@\n\x10\n\x06tenant\x12\x06\x1a\x04acme\
        \n\x19\n\x01b\x12\x142\x12\n\x03\x1a\x01a\n\x0b*\t\n\x07\n\x01c\x12\x02 \x01";

    #[test]
    fn a_struct_becomes_json() {
        let json: Value = serde_json::from_slice(&text(GIVEN.to_vec())).unwrap();
        let wanted = serde_json::json!({"tenant": "acme", "n": 100, "b": ["a", {"c": true}]});
        assert_eq!(json, wanted);
        assert!(String::from_utf8(text(GIVEN.to_vec())).unwrap().contains("\"n\":100,"));
    }

    #[test]
    fn text_stays_text() {
        for document in ["{\"a\":1}", "\n{\"a\":1}", "", "a: 1"] {
            assert_eq!(text(document.into()), document.as_bytes());
        }
    }

    #[test]
    fn a_struct_that_is_cut_is_not_half_taken() {
        for end in 1..GIVEN.len() {
            let cut = GIVEN[..end].to_vec();
            let whole_entries = [16, 34].contains(&end);
            assert_eq!(text(cut.clone()) == cut, !whole_entries, "cut at {end}");
        }
    }

    #[test]
    fn nesting_beyond_the_bound_is_refused() {
        let mut bytes = b"\x08\0".to_vec();
        for _ in 0..200 {
            let length = |bytes: &[u8]| {
                let (low, high) = (bytes.len() & 0x7f | 0x80, bytes.len() >> 7);
                [u8::try_from(low).unwrap(), u8::try_from(high).unwrap()]
            };
            let item = [b"\x0a".as_slice(), &length(&bytes), &bytes].concat();
            bytes = [b"\x32".as_slice(), &length(&item), &item].concat();
        }
        assert_eq!(value(&bytes, 0), None);
    }
}
