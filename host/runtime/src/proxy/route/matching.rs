//! Whether a request is what a route wants.

use super::split_query;
use crate::config::{
    Condition, FieldMatch, PathMatch, QueryMatch, QueryTest, Test, TextKind, TextMatch,
};

/// Whether a route takes a request.
pub(super) fn takes(
    wanted: &Condition,
    path: &[u8],
    field: &impl Fn(&str) -> Option<Vec<u8>>,
) -> bool {
    let (bare, query) = split_query(path);
    matched(wanted, bare).is_some()
        && wanted.fields.iter().all(|wanted| holds(wanted, field))
        && wanted.query.iter().all(|wanted| asked(wanted, query))
}

/// Length of the part of the path, without its query, that a condition covers.
pub(super) fn matched(wanted: &Condition, path: &[u8]) -> Option<usize> {
    let ignore_case = !wanted.case_sensitive;
    let starts = |text: &str| starts(path, text.as_bytes(), ignore_case).then_some(text.len());
    match &wanted.path {
        PathMatch::Prefix(text) => starts(text),
        PathMatch::Exact(text) => starts(text).filter(|length| *length == path.len()),
        PathMatch::Separated(text) => {
            starts(text).filter(|length| matches!(path.get(*length), None | Some(b'/')))
        }
        PathMatch::Pattern(pattern) => pattern.fits(path).then_some(path.len()),
    }
}

/// Whether a condition on a field holds. A field that is not there fails every test, and
/// `invert` turns that round only for presence, as in Envoy.
pub fn holds(wanted: &FieldMatch, field: impl Fn(&str) -> Option<Vec<u8>>) -> bool {
    let value = field(&wanted.name);
    let value = match (&wanted.test, value, wanted.missing_is_empty) {
        (Test::Present, value, _) => return value.is_some() != wanted.invert,
        (_, Some(value), _) => value,
        (_, None, true) => Vec::new(),
        (_, None, false) => return false,
    };
    let found = match &wanted.test {
        Test::Present => true,
        Test::Text(text) => is(text, &value),
        Test::Range(from, to) => number(&value).is_some_and(|number| (from..to).contains(&&number)),
    };
    found != wanted.invert
}

/// Whether a text is as wanted.
fn is(wanted: &TextMatch, text: &[u8]) -> bool {
    let TextMatch { kind, ignore_case } = wanted;
    let fold = |text: &[u8]| if *ignore_case { text.to_ascii_lowercase() } else { text.to_vec() };
    let same =
        |test: fn(&[u8], &[u8]) -> bool, wanted: &str| test(&fold(text), &fold(wanted.as_bytes()));
    match kind {
        TextKind::Exact(wanted) => same(|text, wanted| text == wanted, wanted),
        TextKind::Prefix(wanted) => same(|text, wanted| text.starts_with(wanted), wanted),
        TextKind::Suffix(wanted) => same(|text, wanted| text.ends_with(wanted), wanted),
        TextKind::Contains(wanted) => same(contains, wanted),
        TextKind::Pattern(pattern) => pattern.fits(text),
    }
}

/// Whether a parameter of the query (with its `?`) is as wanted. Names and values are taken
/// as they stand, without decoding, as in Envoy; the first value counts.
fn asked(wanted: &QueryMatch, query: &[u8]) -> bool {
    let pairs = query.get(1..).unwrap_or_default().split(|byte| *byte == b'&');
    let mut pairs = pairs.map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (&pair[..end], pair.get(end + 1..).unwrap_or_default())
    });
    let value = pairs.find(|(name, _)| *name == wanted.name.as_bytes()).map(|(_, value)| value);
    match &wanted.test {
        QueryTest::Present(present) => value.is_some() == *present,
        QueryTest::Text(text) => value.is_some_and(|value| is(text, value)),
    }
}

fn starts(path: &[u8], wanted: &[u8], ignore_case: bool) -> bool {
    let Some(start) = path.get(..wanted.len()) else { return false };
    if ignore_case { start.eq_ignore_ascii_case(wanted) } else { start == wanted }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

/// A whole number as the whole of a text.
fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
}
