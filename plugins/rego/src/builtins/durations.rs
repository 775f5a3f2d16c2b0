//! `time.parse_duration_ns`: Go's durations, and days, weeks and years.

use regorus::Value;

use super::{Caches, Context, defined, text};

pub(super) fn parse(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).and_then(nanoseconds))
}

fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    let mut rest = Some(text).filter(|text| !text.is_empty())?;
    while !rest.is_empty() {
        let (part, behind) = part(rest)?;
        total = total.checked_add(part)?;
        rest = behind;
    }
    i64::try_from(if negative { total.checked_neg()? } else { total }).ok()
}

/// One number with its unit.
fn part(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(end)?;
    let unit = length(unit)?;
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part = i128::from(whole).checked_mul(unit)?.checked_add(fraction_of(fraction, unit))?;
    Some((part, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// As Go computes it: in floats, of as many digits as 63 bits take.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as in Go")]
fn fraction_of(digits: &str, unit: i128) -> i128 {
    let (mut value, mut scale) = (0_i64, 1.0_f64);
    for digit in digits.bytes() {
        let digit = i64::from(digit.saturating_sub(b'0'));
        let next = value.checked_mul(10).and_then(|value| value.checked_add(digit));
        let Some(next) = next else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as i128
}

/// Nanoseconds of a unit.
fn length(unit: &str) -> Option<i128> {
    const SECOND: i128 = 1_000_000_000;
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 7 * 86_400 * SECOND,
        "y" => 365 * 86_400 * SECOND,
        _ => return None,
    })
}
