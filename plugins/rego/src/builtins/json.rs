//! `json.marshal`, with Go's escapes.

use regorus::Value;

use super::{Caches, Context, defined};

pub(super) fn marshal(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(to_json(arg))
}

/// Compact JSON; what a page could take for markup is escaped, as Go does it.
pub(crate) fn to_json(value: &Value) -> Option<String> {
    let text = serde_json::to_string(value).ok()?;
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return Some(text);
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => out.push(letter),
        }
    }
    Some(out)
}
