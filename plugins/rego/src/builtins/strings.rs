//! Texts and numbers.

use regorus::Value;

use super::{Caches, Context, LONGEST_TEXT, defined, text};
use crate::machine::Fault;

/// Longest range; OPA has no bound, so a longer one is a fault.
const LONGEST_RANGE: i64 = 10_000;

/// Go maps letter by letter.
pub(super) fn lower(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).map(|text| {
        text.chars()
            .map(|c| if c == 'İ' { 'i' } else { single(c, c.to_lowercase()) })
            .collect::<String>()
    }))
}

pub(super) fn upper(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    let Some(text) = text(arg) else { return Value::Undefined };
    // Greek letters with a subscript have a single upper-case form that is not the first of
    // several; Rust does not give it.
    if text.chars().any(|c| ('\u{1f80}'..='\u{1ffc}').contains(&c) && c.to_uppercase().len() > 1) {
        return context.fail(Fault::Failed);
    }
    Value::from(text.chars().map(|c| single(c, c.to_uppercase())).collect::<String>())
}

fn single(from: char, mut to: impl Iterator<Item = char>) -> char {
    match (to.next(), to.next()) {
        (Some(one), None) => one,
        _ => from,
    }
}

/// Where `needle` first is, in characters, or -1; an empty one is an error in OPA.
pub(super) fn index_of(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [haystack, needle] = args else { return Value::Undefined };
    let (Some(haystack), Some(needle)) = (text(haystack), text(needle)) else {
        return Value::Undefined;
    };
    if needle.is_empty() {
        return Value::Undefined;
    }
    let before = haystack.split_once(needle).map(|(before, _)| before.chars().count());
    before.map_or(Value::from(-1_i64), Value::from)
}

/// An empty text to replace is between all characters; in one that is not ASCII, OPA takes
/// letters apart there.
pub(super) fn replace(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [whole, old, new] = args else { return Value::Undefined };
    let (Some(whole), Some(old), Some(new)) = (text(whole), text(old), text(new)) else {
        return Value::Undefined;
    };
    let grown = whole.matches(old).count().saturating_mul(new.len());
    if old.is_empty() && !whole.is_ascii() || grown > LONGEST_TEXT {
        return context.fail(Fault::Failed);
    }
    context.text(whole.replace(old, new))
}

/// `strings.replace_n({old: new}, whole)`: from left to right in one pass, at each place the
/// first of the sorted texts to replace. An empty one is a fault: OPA takes letters apart there.
pub(super) fn replace_n(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::Object(pairs), whole] = args else { return Value::Undefined };
    let pair = |(old, new)| Some((text(old)?, text(new)?));
    let pairs: Option<Vec<(&str, &str)>> = pairs.iter().map(pair).collect();
    let (Some(pairs), Some(mut rest)) = (pairs, text(whole)) else { return Value::Undefined };
    if pairs.iter().any(|(old, _)| old.is_empty()) {
        return context.fail(Fault::Failed);
    }
    let mut out = String::with_capacity(rest.len());
    while let Some(letter) = rest.chars().next() {
        let found = pairs.iter().find(|(old, _)| rest.starts_with(old));
        match found {
            Some((old, new)) => {
                out.push_str(new);
                rest = rest.get(old.len()..).unwrap_or_default();
            }
            None => {
                out.push(letter);
                rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            }
        }
        if out.len() > LONGEST_TEXT {
            return context.fail(Fault::Failed);
        }
    }
    context.text(out)
}

/// `concat(delimiter, texts)`: a list, or a set in its order.
pub(super) fn concat(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [delimiter, parts] = args else { return Value::Undefined };
    let parts: Option<Vec<&str>> = match parts {
        Value::Array(list) => list.iter().map(text).collect(),
        Value::Set(set) => set.iter().map(text).collect(),
        _ => None,
    };
    let (Some(delimiter), Some(parts)) = (text(delimiter), parts) else { return Value::Undefined };
    let between = delimiter.len().saturating_mul(parts.len());
    let length = parts.iter().fold(between, |sum, part| sum.saturating_add(part.len()));
    if length > LONGEST_TEXT {
        return context.fail(Fault::Failed);
    }
    Value::from(parts.join(delimiter))
}

/// How often `needle` is in `text`, without overlap; Go counts one more than characters for
/// an empty one.
pub(super) fn count(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [haystack, needle] = args else { return Value::Undefined };
    let (Some(haystack), Some(needle)) = (text(haystack), text(needle)) else {
        return Value::Undefined;
    };
    Value::from(haystack.matches(needle).count())
}

/// A text that is a number of JSON, or what OPA converts besides.
pub(super) fn to_number(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    match args {
        [Value::Null | Value::Bool(false)] => Value::from(0_u64),
        [Value::Bool(true)] => Value::from(1_u64),
        [number @ Value::Number(_)] => number.clone(),
        [Value::String(text)] if is_json_number(text) => {
            Value::from_json_str(text).unwrap_or(Value::Undefined)
        }
        _ => Value::Undefined,
    }
}

fn is_json_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

pub(super) fn range(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::Number(from), Value::Number(to)] = args else { return Value::Undefined };
    let (Some(from), Some(to)) = (from.as_i64(), to.as_i64()) else { return Value::Undefined };
    if from.abs_diff(to) > LONGEST_RANGE.unsigned_abs() {
        return context.fail(Fault::Failed);
    }
    let mut numbers: Vec<Value> = (from.min(to)..=from.max(to)).map(Value::from).collect();
    if from > to {
        numbers.reverse();
    }
    Value::from(numbers)
}

/// As Go's `url.QueryEscape`.
pub(super) fn query_encode(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    let Some(text) = text(arg) else { return Value::Undefined };
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Value::from(out)
}

/// As Go's `url.QueryUnescape`.
pub(super) fn query_decode(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).and_then(|text| unescape(text, true)))
}

/// Undoes percent-encoding; `None` for what is none, or is not UTF-8 then.
pub(crate) fn unescape(text: &str, plus: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                high.checked_mul(16)?.checked_add(low)?
            }
            b'+' if plus => b' ',
            _ => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
