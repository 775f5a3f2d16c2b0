//! The forms of texts and numbers in claims (SPEC.md, 3.1).
//!
//! Invariant: no form admits a wildcard, a control character or two spellings of one thing.

use std::collections::BTreeSet;

use crate::cbor::Value;

/// Most elements of a set.
pub const SET: usize = 32;
/// Times lie below this.
const TIMES: u64 = 1 << 38;
/// Numbers of other systems hold integers below this exactly.
const NUMBERS: u64 = 1 << 53;

/// A set of texts.
pub type Set = BTreeSet<String>;

/// A form of text.
pub type Form = fn(&str) -> bool;

/// Names: of issuers, subjects, scopes, tools and the like.
pub fn name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\*,".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// Key ids.
pub fn key_id(text: &str) -> bool {
    name(text) && text.len() <= 64
}

/// Hosts with an optional port.
pub fn host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    text.len() <= 253 && name.split('.').all(label) && port.is_none_or(is_port)
}

fn label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let hyphen = text.starts_with('-') || text.ends_with('-');
    !text.is_empty() && !hyphen && text.bytes().all(allowed)
}

fn is_port(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    digits && text.parse::<u16>().is_ok()
}

/// Request methods.
pub fn method(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Paths, of whole segments.
pub fn path(text: &str) -> bool {
    let segments = text.strip_prefix('/').unwrap_or_default();
    text == "/" || text.len() <= 256 && segments.split('/').all(segment)
}

fn segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+=:@".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

/// A text of a form.
pub fn text(value: Value, form: Form) -> Option<String> {
    value.into_text().ok().filter(|text| form(text))
}

/// A set of texts of a form, in ascending order.
pub fn set(value: Value, form: Form) -> Option<Set> {
    let items = value.into_array().ok()?;
    let texts: Vec<String> =
        items.into_iter().map(|item| text(item, form)).collect::<Option<_>>()?;
    let ordered = texts.is_sorted_by(|a, b| a < b);
    (ordered && (1..=SET).contains(&texts.len())).then(|| texts.into_iter().collect())
}

fn below(value: Value, end: u64) -> Option<u64> {
    let number: u64 = value.into_integer().ok()?.try_into().ok()?;
    (number < end).then_some(number)
}

/// Seconds since 1970.
pub fn time(value: Value) -> Option<u64> {
    below(value, TIMES)
}

/// A number below 2^53.
pub fn number(value: Value) -> Option<u64> {
    below(value, NUMBERS)
}

/// A level of at most `highest`.
pub fn level(value: Value, highest: u8) -> Option<u8> {
    let level = below(value, NUMBERS)?;
    u8::try_from(level).ok().filter(|level| *level <= highest)
}

/// Exactly `N` bytes.
pub fn bytes<const N: usize>(value: Value) -> Option<[u8; N]> {
    value.into_bytes().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_of_their_form_or_refused() {
        let long = "x".repeat(129);
        let rows: [(&str, Form, &[&str], &[&str]); 4] = [
            (
                "name",
                name,
                &["a", "acct:9/x@y"],
                &["", " a", "é", "a*", "a,b", "a\"", "a\n", &long],
            ),
            (
                "host",
                host,
                &["api.test", "a-1.b:8443", "10.0.0.1"],
                &[
                    "", ".a", "a.", "A.b", "a..b", "*.b", "a:", "a:0", "a:08", "a:65536", "a_b",
                    "-a", "[::1]",
                ],
            ),
            (
                "method",
                method,
                &["GET", "PROPFIND"],
                &["", "get", "*", "M-SEARCH", "ABCDEFGHIJKLMNOPQ"],
            ),
            (
                "path",
                path,
                &["/", "/a", "/a/b.c", "/..a"],
                &[
                    "", "a", "//", "/a/", "/a//b", "/.", "/a/..", "/%61", "/a?b", "/a#b", "/a;b",
                    "/*", "/a\\b",
                ],
            ),
        ];
        for (form, holds, good, bad) in rows {
            good.iter().for_each(|text| assert!(holds(text), "{form}: {text}"));
            bad.iter().for_each(|text| assert!(!holds(text), "{form}: {text}"));
        }
    }
}
