//! `glob.match` as OPA has it (gobwas/glob): `*` does not cross a delimiter, `**` does, `?` is
//! one character that is none, `[a-z]`, `[!a-z]`, `{a,b}`, and `\` before any character.

use regorus::Value;

use super::{Caches, Context, text};
use crate::machine::Fault;

/// A compiled pattern: a regular expression over the whole text. `None` for one that OPA may
/// not take, and for one that is too large.
pub(super) struct Pattern(regex::Regex);

/// `glob.match(pattern, delimiters, text)`: no delimiters are `.`, null is none at all.
pub(super) fn matches(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let [pattern, delimiters, subject] = args else { return Value::Undefined };
    let (Some(pattern), Some(subject)) = (text(pattern), text(subject)) else {
        return Value::Undefined;
    };
    // OPA takes some patterns of one letter to match no letter at all.
    if subject.is_empty() && pattern.contains(['?', '[']) {
        return context.fail(Fault::Failed);
    }
    let Some(delimiters) = separators(delimiters) else { return Value::Undefined };
    // The length tells where the delimiters end.
    let key = format!("{}:{delimiters}{pattern}", delimiters.len());
    let make = || compile(pattern, &delimiters);
    match caches.globs.get(&key, make) {
        Some(Some(Pattern(regex))) => Value::from(regex.is_match(subject)),
        _ => context.fail(Fault::Failed),
    }
}

fn separators(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Array(list) if list.is_empty() => Some(".".to_owned()),
        Value::Array(list) => {
            let one = |value: &Value| {
                let text = text(value)?;
                let mut letters = text.chars();
                letters.next().filter(|_| letters.next().is_none())
            };
            list.iter().map(one).collect()
        }
        _ => None,
    }
}

fn compile(pattern: &str, delimiters: &str) -> Option<Pattern> {
    let other = if delimiters.is_empty() {
        ".".to_owned()
    } else {
        format!("[^{}]", delimiters.chars().map(escaped).collect::<String>())
    };
    let mut letters = pattern.chars().peekable();
    let mut out = "(?s)\\A(?:".to_owned();
    let mut depth = 0_u32;
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.peek() == Some(&'*') => {
                while letters.peek() == Some(&'*') {
                    letters.next();
                }
                out.push_str(".*");
            }
            '*' => out.push_str(&format!("{other}*")),
            '?' => out.push_str(&other),
            '[' => out.push_str(&class(&mut letters)?),
            '{' => {
                depth = depth.checked_add(1)?;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth = depth.saturating_sub(1);
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '\\' => out.push_str(&escaped(letters.next()?)),
            _ => out.push_str(&escaped(letter)),
        }
    }
    out.push_str(")\\z");
    let regex = regex::RegexBuilder::new(&out).size_limit(1 << 20).build().ok();
    regex.filter(|_| depth == 0).map(Pattern)
}

fn class(letters: &mut dyn Iterator<Item = char>) -> Option<String> {
    let mut inside: Vec<char> = Vec::new();
    loop {
        match letters.next()? {
            ']' if !inside.is_empty() => break,
            '\\' => inside.push(letters.next()?),
            letter => inside.push(letter),
        }
    }
    let (not, inside) = match inside.as_slice() {
        ['!', rest @ ..] => ("^", rest),
        rest => ("", rest),
    };
    match inside {
        [] => None,
        [low, '-', high] => Some(format!("[{not}{}-{}]", escaped(*low), escaped(*high))),
        // More than one range is no class to gobwas.
        list if list.contains(&'-') => None,
        list => Some(format!("[{not}{}]", list.iter().copied().map(escaped).collect::<String>())),
    }
}

fn escaped(letter: char) -> String {
    if letter.is_ascii_alphanumeric() || !letter.is_ascii() {
        return letter.to_string();
    }
    format!("\\x{{{:x}}}", u32::from(letter))
}
