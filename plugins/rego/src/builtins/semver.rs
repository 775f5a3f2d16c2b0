//! Versions, as OPA reads them: Semantic Versioning, with leading zeros and a `v` before.

use std::cmp::Ordering;

use regorus::Value;

use super::{Caches, Context, text};
use crate::machine::Fault;

struct Version<'a> {
    numbers: [i64; 3],
    pre: &'a str,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, metadata) = text.split_once('+').unwrap_or((text, ""));
        let (core, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = core.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        let fits = parts.next().is_none() && is_named(pre) && is_named(metadata);
        fits.then_some(Self { numbers, pre })
    }

    /// Whether OPA compares what stands behind `-` as it is written in the standard: numbers
    /// without leading zeros, of no more digits than it reads.
    fn is_plain(&self) -> bool {
        self.pre.split('.').all(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            !digits || part.len() < 2 || (!part.starts_with('0') && part.len() < 18)
        })
    }

    fn order(&self, other: &Self) -> Ordering {
        // A version is above what comes before its release.
        let released = self.pre.is_empty().cmp(&other.pre.is_empty());
        let parts = || compare_parts(self.pre, other.pre);
        self.numbers.cmp(&other.numbers).then(released).then_with(parts)
    }
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Names of letters, digits and `-`, separated by dots; or nothing.
fn is_named(text: &str) -> bool {
    let named = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.is_empty() || text.split('.').all(named)
}

/// Semantic Versioning 2.0.0, 11.4.
fn compare_parts(one: &str, other: &str) -> Ordering {
    let (mut ours, mut theirs) = (one.split('.'), other.split('.'));
    loop {
        let order = match (ours.next(), theirs.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => match (number(one), number(other)) {
                (Some(one), Some(other)) => one.cmp(&other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => one.cmp(other),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

pub(super) fn is_valid(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    Value::from(text(arg).is_some_and(|text| Version::parse(text).is_some()))
}

/// `semver.compare(a, b)`: -1, 0 or 1.
pub(super) fn compare(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::String(one), Value::String(other)] = args else { return Value::Undefined };
    let (Some(one), Some(other)) = (Version::parse(one), Version::parse(other)) else {
        return Value::Undefined;
    };
    if !one.is_plain() || !other.is_plain() {
        return context.fail(Fault::Failed);
    }
    Value::from(one.order(&other) as i64)
}
