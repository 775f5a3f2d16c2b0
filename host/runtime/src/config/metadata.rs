//! `metadata` of a route, as modules read it under `xds.route_metadata`.
//!
//! Owns the forms that Envoy gives values: text as it stands, numbers as doubles in little
//! endian, booleans as one byte, everything else as the bytes of its protobuf message
//! (`google.protobuf.Struct`, `ListValue`, `envoy.config.core.v3.Metadata`), entries in the
//! order of their keys.

use std::collections::BTreeMap;

use serde_json::Value;

use super::read::Table;

/// Values by path below `xds.route_metadata`, segments joined by NUL; the path of the whole
/// is empty.
pub type Metadata = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads a `Metadata` of which only `filter_metadata` is known.
pub(super) fn read(mut table: Table<'_, '_>) -> Metadata {
    let mut known = Metadata::new();
    let spaces = table.get("filter_metadata");
    let report = table.report;
    table.done();
    let Some(spaces) = spaces else { return known };
    let mut whole = Vec::new();
    for (name, at) in spaces.entries() {
        let value = at.node.to_json();
        if !value.is_object() {
            report.problem(&at, "expected a mapping");
        }
        whole.extend(entry(1, name, &fields(&value)));
        flatten(&mut known, &format!("filter_metadata\0{name}"), &value);
    }
    known.insert(b"filter_metadata".to_vec(), whole.clone());
    known.insert(Vec::new(), whole);
    known
}

fn flatten(known: &mut Metadata, path: &str, value: &Value) {
    known.insert(path.as_bytes().to_vec(), shown(value));
    if let Value::Object(entries) = value {
        for (key, value) in entries {
            flatten(known, &format!("{path}\0{key}"), value);
        }
    }
}

/// What a module gets.
fn shown(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(flag) => vec![u8::from(*flag)],
        Value::Number(number) => number.as_f64().unwrap_or_default().to_le_bytes().to_vec(),
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(items) => list(items),
        Value::Object(_) => fields(value),
    }
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
        assert_eq!(known[b"ns\0l".as_slice()], [0x0a, 3, 0x1a, 1, b'y']);
        assert_eq!(known[b"ns\0o".as_slice()], [0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 8, 0]);
        assert!(known[b"ns\0o\0k".as_slice()].is_empty());
    }
}
