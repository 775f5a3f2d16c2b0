//! `parsed_body`: content by its type.

use std::collections::BTreeMap;
use std::fmt;

use postern_core::denial::PolicyReason;
use postern_core::fields::Fields;
use regorus::Value;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::builtins::unescape;

/// JSON as it is, a form as names and lists, null for a type that OPA does not parse. What
/// is not what its type says, and what OPA parses and this gate does not, is refused.
pub(super) fn parsed(fields: &Fields, content: &[u8]) -> Result<Value, PolicyReason> {
    let kinds: Vec<&[u8]> = fields.all("content-type").collect();
    let kind = match kinds.as_slice() {
        [] => return Ok(Value::Null),
        [one] => essence(one)?,
        _ => return Err(PolicyReason::Input),
    };
    let is = |name: &str| kind == name.as_bytes();
    if content.is_empty() && !is("multipart/form-data") {
        return Ok(Value::Null);
    }
    if is("application/json") {
        let text = str::from_utf8(content).map_err(|_| PolicyReason::Input)?;
        return serde_json::from_str(text)
            .map(|Strict(value)| value)
            .map_err(|_| PolicyReason::Input);
    }
    if is("application/x-www-form-urlencoded") {
        let text = str::from_utf8(content).map_err(|_| PolicyReason::Input)?;
        return form(text).ok_or(PolicyReason::Input);
    }
    if is("application/grpc") || is("multipart/form-data") {
        return Err(PolicyReason::Input);
    }
    Ok(Value::Null)
}

/// Types that OPA parses. It looks for their names anywhere in the field, with these letters.
const PARSED: [&str; 4] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/grpc",
];

/// The type without parameters. A field that names a type of [`PARSED`] in any other place or
/// letters would be parsed by one reader and not by another.
fn essence(field: &[u8]) -> Result<&[u8], PolicyReason> {
    let essence = field.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let lower = field.to_ascii_lowercase();
    let named = |name: &&&str| lower.windows(name.len()).any(|part| part == name.as_bytes());
    let agreed = PARSED.iter().filter(named).all(|name| essence == name.as_bytes());
    agreed.then_some(essence).ok_or(PolicyReason::Input)
}

/// A query or form: each name with the list of its values. `None` for what Go would drop.
pub(super) fn form(text: &str) -> Option<Value> {
    let mut lists: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if pair.contains(';') {
            return None;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescape(name, true)?, unescape(value, true)?);
        lists.entry(Value::from(name)).or_default().push(Value::from(value));
    }
    let lists = lists.into_iter().map(|(name, values)| (name, Value::from(values)));
    Some(Value::from(lists.collect::<BTreeMap<_, _>>()))
}

/// JSON in which no object has a key twice: two readers might not take the same one.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::from(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, _>()? {
            if map.insert(Value::from(key), value).is_some() {
                return Err(A::Error::custom("key given twice in one object"));
            }
        }
        Ok(Value::from(map))
    }
}
