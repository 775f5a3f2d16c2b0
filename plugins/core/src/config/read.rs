//! The common reader: one JSON document to wire structs to a domain type.
//!
//! serde stops at the first error, so the reader notes it, makes that place harmless and
//! reads again until serde is content; the domain conversion then adds its own. A key
//! given twice is an error too: two readers might not take the same one.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::{ConfigError, Problem};
use crate::redacted::Redacted;

/// Largest document that is read, in bytes: 1 MiB.
pub const MAX_DOCUMENT: usize = 1024 * 1024;
/// Rounds of read and note; a document with more errors is reported up to here.
const MAX_ROUNDS: usize = 100;

/// Reads `json` as `W`, then as `D`.
pub fn read<W, D>(json: &[u8]) -> Result<D, ConfigError>
where
    W: DeserializeOwned + Default,
    D: TryFrom<W, Error = ConfigError>,
{
    if json.len() > MAX_DOCUMENT {
        return Err(ConfigError::one("", "expected at most 1 MiB"));
    }
    let document = serde_json::from_slice(json)
        .map(|NoDuplicates(value)| value)
        .map_err(|error| ConfigError::one("", Redacted::new(&error.to_string()).as_str()))?;
    if !document.is_object() {
        return Err(ConfigError::one("", "expected an object"));
    }
    let (wire, mut problems) = wire::<W>(document);
    match D::try_from(wire) {
        Ok(domain) if problems.is_empty() => return Ok(domain),
        Ok(_) => {}
        // What serde refused reads as missing or empty now: not a second problem.
        Err(error) => problems.extend_from_slice(&unsaid(&problems, error)),
    }
    Err(ConfigError { problems })
}

fn unsaid(said: &[Problem], error: ConfigError) -> Vec<Problem> {
    let covers = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let fresh = |problem: &Problem| {
        let path = problem.path.as_str();
        !said.iter().any(|said| covers(&said.path, path) || covers(path, &said.path))
    };
    error.problems.into_iter().filter(fresh).collect()
}

fn wire<W: DeserializeOwned + Default>(mut document: Value) -> (W, Vec<Problem>) {
    let mut problems = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let error = match serde_path_to_error::deserialize::<_, W>(&document) {
            Ok(wire) => return (wire, problems),
            Err(error) => error,
        };
        let message = Redacted::new(&error.inner().to_string()).as_str().to_owned();
        let path: Vec<Segment> = error.path().iter().cloned().collect();
        problems.push(Problem { path: text(error.path()), message: message.clone() });
        if !neutralise(&mut document, &path, &message) {
            break;
        }
    }
    (W::default(), problems)
}

fn text(path: &Path) -> String {
    let text = path.to_string();
    if text == "." { String::new() } else { text }
}

/// Removes the key at `path`, or puts a harmless element of the expected type in its
/// place, since removing one would shift the indices of the elements after it.
fn neutralise(document: &mut Value, path: &[Segment], message: &str) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut at = document;
    for segment in parents {
        let next = match segment {
            Segment::Map { key } => at.get_mut(key.as_str()),
            Segment::Seq { index } => at.get_mut(*index),
            Segment::Enum { .. } | Segment::Unknown => Some(at),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match (last, at) {
        (Segment::Map { key }, Value::Object(map)) => map.remove(key.as_str()).is_some(),
        (Segment::Seq { index }, Value::Array(list)) => match list.get_mut(*index) {
            Some(element) => replace(element, harmless(message)),
            None => false,
        },
        _ => false,
    }
}

/// False when nothing changed, so that the reader cannot go round for ever.
fn replace(element: &mut Value, with: Value) -> bool {
    let changed = *element != with;
    *element = with;
    changed
}

fn harmless(message: &str) -> Value {
    if message.contains("expected a string") {
        return Value::String(String::new());
    }
    if message.contains("expected a sequence") {
        return Value::Array(Vec::new());
    }
    Value::Object(Map::new())
}

/// A JSON value in which no object has a key twice.
struct NoDuplicates(Value);

impl<'de> serde::Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict).map(Self)
    }
}

struct Strict;

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(NoDuplicates(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, NoDuplicates(value))) = entries.next_entry::<String, _>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("key given twice in one object"));
            }
        }
        Ok(Value::Object(map))
    }
}
