//! `sprintf` for the verbs that are admitted: `%s`, `%d`, `%v` and `%%`, without flags.

use regorus::Value;

use super::{Caches, Context, LONGEST_TEXT, text};
use crate::machine::Fault;

/// How many values a format takes; `None` when it has anything else than these verbs.
pub(crate) fn verbs(format: &str) -> Option<usize> {
    let mut letters = format.chars();
    let mut count = 0_usize;
    while let Some(letter) = letters.next() {
        if letter == '%' {
            match letters.next()? {
                's' | 'd' | 'v' => count = count.checked_add(1)?,
                '%' => {}
                _ => return None,
            }
        }
    }
    Some(count)
}

pub(super) fn sprintf(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [format, Value::Array(values)] = args else { return Value::Undefined };
    let Some(format) = text(format) else { return Value::Undefined };
    let mut values = values.iter();
    let mut letters = format.chars();
    let mut out = String::with_capacity(format.len());
    while let Some(letter) = letters.next() {
        let verb = if letter == '%' { letters.next() } else { None };
        match (letter, verb) {
            ('%', Some('%')) => out.push('%'),
            ('%', Some(verb)) => match values.next().and_then(|value| shown(verb, value)) {
                Some(text) => out.push_str(&text),
                None => return context.fail(Fault::Failed),
            },
            _ => out.push(letter),
        }
        if out.len() > LONGEST_TEXT {
            return context.fail(Fault::Failed);
        }
    }
    Value::from(out)
}

/// OPA hands Go an integer, a float or a text: what is neither number nor text is written
/// as a term first.
fn shown(verb: char, value: &Value) -> Option<String> {
    match (verb, value) {
        ('s' | 'v', Value::String(text)) => Some(text.to_string()),
        ('d', Value::String(text)) => Some(format!("%!d(string={text})")),
        ('d' | 'v', Value::Number(number)) if number.is_integer() => Some(number.format_decimal()),
        ('s', Value::Number(number)) if number.is_integer() => {
            Some(format!("%!s(int64={})", number.format_decimal()))
        }
        // A fraction: Go and Rust write the shortest form, but not with the same exponents.
        ('v', Value::Number(number)) => {
            let number = number.as_f64()?;
            (1e-4..1e15).contains(&number.abs()).then(|| number.to_string())
        }
        (_, Value::Number(_) | Value::Undefined) => None,
        ('s' | 'v', other) => term(other),
        ('d', other) => Some(format!("%!d(string={})", term(other)?)),
        _ => None,
    }
}

/// A value as OPA writes terms.
fn term(value: &Value) -> Option<String> {
    let list = |values: &mut dyn Iterator<Item = &Value>| -> Option<String> {
        Some(values.map(term).collect::<Option<Vec<_>>>()?.join(", "))
    };
    match value {
        Value::Null => Some("null".to_owned()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if number.is_integer() => Some(number.format_decimal()),
        Value::String(text) => Some(serde_json::Value::from(text.as_ref()).to_string()),
        Value::Array(values) => Some(format!("[{}]", list(&mut values.iter())?)),
        Value::Set(values) if values.is_empty() => Some("set()".to_owned()),
        Value::Set(values) => Some(format!("{{{}}}", list(&mut values.iter())?)),
        Value::Object(object) => {
            let pair = |(key, value)| Some(format!("{}: {}", term(key)?, term(value)?));
            let pairs = object.iter().map(pair).collect::<Option<Vec<_>>>()?;
            Some(format!("{{{}}}", pairs.join(", ")))
        }
        Value::Number(_) | Value::Undefined => None,
    }
}
