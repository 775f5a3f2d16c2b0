//! `metadata` of a route, as modules read it under `xds.route_metadata`.
//!
//! Owns the forms that Envoy gives values: text as it stands, numbers as doubles in little
//! endian, booleans as one byte, mappings and lists as the ABI writes lists of pairs (items of
//! a list are names without a value), the whole as the bytes of its protobuf message
//! (`envoy.config.core.v3.Metadata`). Entries are in the order of their keys.

use std::collections::BTreeMap;

use serde_json::Value;

use super::read::Table;

/// Values by path below `xds.route_metadata`, segments joined by NUL; the path of the whole
/// is empty.
pub type Metadata = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a route without metadata has.
pub(super) fn none() -> Metadata {
    [(Vec::new(), Vec::new()), (b"filter_metadata".to_vec(), pairs(&[]))].into()
}

/// Reads a `Metadata` of which only `filter_metadata` is known.
pub(super) fn read(mut table: Table<'_, '_>) -> Metadata {
    let mut known = none();
    let spaces = table.get("filter_metadata");
    let report = table.report;
    table.done();
    let Some(spaces) = spaces else { return known };
    let (mut whole, mut listed) = (Vec::new(), Vec::new());
    for (name, at) in spaces.entries() {
        let value = at.node.to_json();
        if !value.is_object() {
            report.problem(&at, "expected a mapping");
        }
        whole.extend(entry(1, name, &fields(&value)));
        listed.push((name.as_bytes().to_vec(), shown(&value)));
        flatten(&mut known, &format!("filter_metadata\0{name}"), &value);
    }
    known.insert(b"filter_metadata".to_vec(), pairs(&listed));
    known.insert(Vec::new(), whole);
    known
}

fn flatten(known: &mut Metadata, path: &str, value: &Value) {
    known.insert(path.as_bytes().to_vec(), shown(value));
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(key, it)| flatten(known, &format!("{path}\0{key}"), it));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, it)| flatten(known, &format!("{path}\0{index}"), it));
        }
        _ => {}
    }
}

/// What a module gets.
fn shown(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(flag) => vec![u8::from(*flag)],
        Value::Number(number) => number.as_f64().unwrap_or_default().to_le_bytes().to_vec(),
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(items) => {
            pairs(&items.iter().map(|item| (shown(item), Vec::new())).collect::<Vec<_>>())
        }
        Value::Object(entries) => {
            let entries: BTreeMap<&String, &Value> = entries.iter().collect();
            let entries = entries.into_iter();
            let entries = entries.map(|(key, value)| (key.clone().into_bytes(), shown(value)));
            pairs(&entries.collect::<Vec<_>>())
        }
    }
}

/// A list of pairs as the ABI writes it: how many, the lengths of all, then each text with a
/// NUL behind it.
fn pairs(all: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = number(all.len()).to_vec();
    for (name, value) in all {
        out.extend(number(name.len()));
        out.extend(number(value.len()));
    }
    for text in all.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(text);
        out.push(0);
    }
    out
}

/// `Struct`: a map of key (1) to `Value` (2), each entry a field 1.
fn fields(value: &Value) -> Vec<u8> {
    let entries: BTreeMap<&String, &Value> = value.as_object().into_iter().flatten().collect();
    entries.into_iter().flat_map(|(key, value)| entry(1, key, &message(value))).collect()
}

/// One entry of a map of text to message.
fn entry(number: u8, key: &str, value: &[u8]) -> Vec<u8> {
    let pair = [bytes(1, key.as_bytes()), bytes(2, value)].concat();
    bytes(number, &pair)
}

/// `ListValue`.
fn list(items: &[Value]) -> Vec<u8> {
    items.iter().flat_map(|item| bytes(1, &message(item))).collect()
}

/// `Value`.
fn message(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Number(number) => {
            let double = number.as_f64().unwrap_or_default().to_le_bytes();
            [&[2 << 3 | 1], double.as_slice()].concat()
        }
        Value::String(text) => bytes(3, text.as_bytes()),
        Value::Bool(flag) => vec![4 << 3, u8::from(*flag)],
        Value::Object(_) => bytes(5, &fields(value)),
        Value::Array(items) => bytes(6, &list(items)),
    }
}

/// A field of bytes.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_forms_that_envoy_gives_them() {
        let value =
            serde_json::json!({"s": "x", "n": 1.5, "b": true, "l": ["y"], "o": {"k": null}});
        let mut known = Metadata::new();
        flatten(&mut known, "ns", &value);
        assert_eq!(known[b"ns\0s".as_slice()], b"x");
        assert_eq!(known[b"ns\0n".as_slice()], 1.5f64.to_le_bytes());
        assert_eq!(known[b"ns\0b".as_slice()], [1]);
        assert_eq!(known[b"ns\0l".as_slice()], b"\x01\0\0\0\x01\0\0\0\0\0\0\0y\0\0");
        assert_eq!(known[b"ns\0l\x000".as_slice()], b"y");
        assert_eq!(known[b"ns\0o".as_slice()], b"\x01\0\0\0\x01\0\0\0\0\0\0\0k\0\0");
        assert!(known[b"ns\0o\0k".as_slice()].is_empty());
    }

    #[test]
    fn the_whole_is_a_protobuf_message() {
        let value = serde_json::json!({"s": "x", "l": ["y"], "o": {"k": true}, "n": null});
        let want = [
            b"\x0a\x0c\x0a\x01l\x12\x07\x32\x05\x0a\x03\x1a\x01y".as_slice(),
            b"\x0a\x07\x0a\x01n\x12\x02\x08\x00",
            b"\x0a\x10\x0a\x01o\x12\x0b\x2a\x09\x0a\x07\x0a\x01k\x12\x02\x20\x01",
            b"\x0a\x08\x0a\x01s\x12\x03\x1a\x01x",
        ];
        assert_eq!(fields(&value), want.concat());
    }
}
