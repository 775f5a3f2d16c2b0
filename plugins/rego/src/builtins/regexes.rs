//! Regular expressions: Rust's `regex` takes what Go's RE2 takes, with few exceptions that are
//! refused or listed.

use regex::{Regex, RegexBuilder};
use regorus::Value;

use super::{Caches, Context, text};
use crate::machine::Fault;

/// Of a compiled pattern; as much as the engine's own.
const LARGEST: usize = 1024 * 1024;

/// The pattern compiled. A pattern that only one of the two syntaxes knows is a fault.
fn compiled<'a>(pattern: &str, context: &mut Context, caches: &'a mut Caches) -> Option<&'a Regex> {
    if differs(pattern) {
        context.fail(Fault::Failed);
        return None;
    }
    let make = || RegexBuilder::new(pattern).size_limit(LARGEST).build().ok();
    caches.regexes.get(pattern, make)?.as_ref()
}

/// What Rust reads as set operations, nested classes or Unicode classes, and Go does not.
fn differs(pattern: &str) -> bool {
    let classes = pattern.contains("&&") || pattern.contains("--") || pattern.contains("~~");
    let nested = pattern.split('[').skip(1).any(|class| {
        let class = class.split(']').next().unwrap_or_default();
        class.contains('[') && !class.contains("[:")
    });
    // Escapes that only one of the two has, that differ, or that need tables (`\\p`).
    let escapes = [
        "\\Q", "\\C", "\\u", "\\U", "\\R", "\\X", "\\h", "\\H", "\\K", "\\G", "\\<", "\\>", "\\p",
        "\\P", "\\B",
    ];
    classes || nested || escapes.iter().any(|escape| pattern.contains(escape))
}

fn pair(args: &[Value]) -> Option<(&str, &str)> {
    let [first, second, ..] = args else { return None };
    Some((text(first)?, text(second)?))
}

/// Rust's classes are Unicode, Go's ASCII: the same for ASCII text.
fn ascii(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
            Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
            Some('b') => out.push_str("(?-u:\\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

pub(super) fn matches(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let Some((pattern, subject)) = pair(args) else { return Value::Undefined };
    let regex = compiled(&ascii(pattern), context, caches);
    regex.map_or(Value::Undefined, |regex| Value::from(regex.is_match(subject)))
}

pub(super) fn is_valid(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    match args {
        [Value::String(pattern)] => {
            let valid = compiled(&ascii(pattern), context, caches).is_some();
            Value::from(valid)
        }
        _ => Value::from(false),
    }
}

pub(super) fn split(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let Some((pattern, subject)) = pair(args) else { return Value::Undefined };
    let Some(regex) = compiled(&ascii(pattern), context, caches) else { return Value::Undefined };
    if regex.is_match("") {
        // Go and Rust place the empty pieces differently.
        return context.fail(Fault::Failed);
    }
    let pieces: Vec<Value> = regex.split(subject).map(Value::from).collect();
    Value::from(pieces)
}

pub(super) fn find_n(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let (Some((pattern, subject)), [.., Value::Number(most)]) = (pair(args), args) else {
        return Value::Undefined;
    };
    let Some(most) = most.as_i64() else { return Value::Undefined };
    let Some(regex) = compiled(&ascii(pattern), context, caches) else { return Value::Undefined };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found: Vec<Value> =
        regex.find_iter(subject).take(most).map(|one| Value::from(one.as_str())).collect();
    Value::from(found)
}

/// `regex.replace(subject, pattern, replacement)`; `$1` and `${1}` in both.
pub(super) fn replace(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let (Some((subject, pattern)), [_, _, with]) = (pair(args), args) else {
        return Value::Undefined;
    };
    let Some(with) = text(with) else { return Value::Undefined };
    let Some(regex) = compiled(&ascii(pattern), context, caches) else { return Value::Undefined };
    Value::from(regex.replace_all(subject, with).into_owned())
}
