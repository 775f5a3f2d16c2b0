//! Regular expressions: patterns that Go's RE2 and Rust's `regex` read alike.

use regex::{Regex, RegexBuilder};
use regorus::Value;

use super::syntax::{self, Reading};
use super::{Caches, Context, LONGEST_TEXT, text};
use crate::machine::Fault;

/// Of a compiled pattern; as much as the engine's own.
const LARGEST: usize = 1024 * 1024;

/// What became of a pattern.
pub(super) enum Pattern {
    Regex(Regex),
    /// In Go as well.
    Invalid,
    /// Perhaps another one in Go.
    Unsure,
}

impl Pattern {
    fn of(pattern: &str) -> Self {
        match syntax::read(pattern) {
            Reading::Both(text) => RegexBuilder::new(&text)
                .size_limit(LARGEST)
                .build()
                .map_or(Self::Unsure, Self::Regex),
            Reading::Neither => Self::Invalid,
            Reading::Unsure => Self::Unsure,
        }
    }
}

/// The pattern compiled; `None` when it is invalid in both syntaxes. A pattern that is not
/// surely the same in both is a fault.
fn compiled<'a>(pattern: &str, context: &mut Context, caches: &'a mut Caches) -> Option<&'a Regex> {
    match caches.regexes.get(pattern, || Pattern::of(pattern)) {
        Some(Pattern::Regex(regex)) => Some(regex),
        Some(Pattern::Invalid) => None,
        Some(Pattern::Unsure) | None => {
            context.fail(Fault::Failed);
            None
        }
    }
}

fn pair(args: &[Value]) -> Option<(&str, &str)> {
    let [first, second, ..] = args else { return None };
    Some((text(first)?, text(second)?))
}

pub(super) fn matches(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let Some((pattern, subject)) = pair(args) else { return Value::Undefined };
    let regex = compiled(pattern, context, caches);
    regex.map_or(Value::Undefined, |regex| Value::from(regex.is_match(subject)))
}

pub(super) fn is_valid(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    match args {
        [Value::String(pattern)] => {
            let valid = compiled(pattern, context, caches).is_some();
            Value::from(valid)
        }
        _ => Value::from(false),
    }
}

pub(super) fn split(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let Some((pattern, subject)) = pair(args) else { return Value::Undefined };
    let Some(regex) = compiled(pattern, context, caches) else { return Value::Undefined };
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
    let Some(regex) = compiled(pattern, context, caches) else { return Value::Undefined };
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
    let Some(regex) = compiled(pattern, context, caches) else { return Value::Undefined };
    if differs(with) {
        return context.fail(Fault::Failed);
    }
    let (mut out, mut end) = (String::new(), 0);
    for captures in regex.captures_iter(subject) {
        let whole = captures.get_match();
        // Each `$` may stand for as much as the whole match.
        let most = with.matches('$').count().saturating_mul(whole.len());
        if most.saturating_add(out.len()) > LONGEST_TEXT {
            return context.fail(Fault::Failed);
        }
        out.push_str(subject.get(end..whole.start()).unwrap_or_default());
        captures.expand(with, &mut out);
        end = whole.end();
    }
    out.push_str(subject.get(end..).unwrap_or_default());
    context.text(out)
}

/// Whether Go and Rust may see other names of groups in a replacement.
fn differs(with: &str) -> bool {
    let mut parts = with.split('$').skip(1);
    while let Some(part) = parts.next() {
        if part.is_empty() {
            // Of `$$`, which is a `$`.
            parts.next();
            continue;
        }
        let inside = part.strip_prefix('{').map(|part| part.split_once('}'));
        let name = match inside {
            Some(Some((name, _))) => name,
            Some(None) => return true,
            None => {
                let end = part.find(|c: char| !c.is_alphanumeric() && c != '_');
                part.get(..end.unwrap_or(part.len())).unwrap_or_default()
            }
        };
        let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let number = name.len() > 1 && name.starts_with('0');
        if !word || number || inside.is_some() && name.is_empty() {
            return true;
        }
    }
    false
}
