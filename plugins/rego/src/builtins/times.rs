//! Time: that of the decision, and its parts in UTC. Time zones are not supported.

use regorus::Value;

use super::{Caches, Context, defined, text};
use crate::machine::Fault;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The same at every call within a decision.
pub(super) fn now(_: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    Value::from(context.now)
}

fn nanoseconds(args: &[Value], context: &mut Context) -> Option<i64> {
    match args {
        [Value::Number(number)] => number.as_i64(),
        [Value::Array(_)] => {
            // With a time zone, which has an answer in OPA.
            context.fail(Fault::Failed);
            None
        }
        _ => None,
    }
}

/// `[hour, minute, second]`.
pub(super) fn clock(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let parts = nanoseconds(args, context).map(|time| {
        let second = time.rem_euclid(DAY).div_euclid(SECOND);
        let parts = [second.div_euclid(3600), second.div_euclid(60) % 60, second % 60];
        parts.map(Value::from).to_vec()
    });
    defined(parts)
}

/// `[year, month, day]`.
pub(super) fn date(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let parts = nanoseconds(args, context).map(|time| {
        let (year, month, day) = civil(time.div_euclid(DAY));
        [year, month, day].map(Value::from).to_vec()
    });
    defined(parts)
}

pub(super) fn weekday(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    // The epoch was a Thursday.
    const NAMES: [&str; 7] =
        ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let name = nanoseconds(args, context).and_then(|time| {
        let day = usize::try_from(time.div_euclid(DAY).rem_euclid(7)).ok()?;
        NAMES.get(day).copied()
    });
    defined(name)
}

/// Year, month and day of a day since the epoch, by the usual count from 1 March of year 0,
/// with eras of 400 years. A day from nanoseconds in 64 bits is within 292 years.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day.saturating_add(719_468);
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let leaps = (of_era / 1_460).saturating_sub(of_era / 36_524).saturating_add(of_era / 146_096);
    let year = of_era.saturating_sub(leaps) / 365;
    let before = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let of_year = of_era.saturating_sub(before);
    let shifted = of_year.saturating_mul(5).saturating_add(2) / 153;
    let days = shifted.saturating_mul(153).saturating_add(2) / 5;
    let month = if shifted < 10 { shifted.saturating_add(3) } else { shifted.saturating_sub(9) };
    let year = year.saturating_add(era.saturating_mul(400));
    let year = if month <= 2 { year.saturating_add(1) } else { year };
    (year, month, of_year.saturating_sub(days).saturating_add(1))
}

/// In RFC 3339, with as many digits of the second as it has.
pub(super) fn format(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    defined(nanoseconds(args, context).map(|time| {
        let (year, month, day) = civil(time.div_euclid(DAY));
        let second = time.rem_euclid(DAY).div_euclid(SECOND);
        let (hour, minute, second) =
            (second.div_euclid(3600), second.div_euclid(60) % 60, second % 60);
        let fraction = format!(".{:09}", time.rem_euclid(SECOND));
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }))
}

/// `time.add_date(time, years, months, days)`: days beyond a month's end are of the next one.
pub(super) fn add_date(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [time, years, months, days] = args else { return Value::Undefined };
    let Some(time) = nanoseconds(std::slice::from_ref(time), context) else {
        return Value::Undefined;
    };
    let count = |value: &Value| match value {
        Value::Number(number) => number.as_i64(),
        _ => None,
    };
    defined(count(years).zip(count(months)).zip(count(days)).and_then(|((years, months), days)| {
        let (year, month, day) = civil(time.div_euclid(DAY));
        let month = month.checked_sub(1)?.checked_add(months)?;
        let year = year.checked_add(years)?.checked_add(month.div_euclid(12))?;
        let first = since_epoch(year, month.rem_euclid(12).checked_add(1)?)?;
        let day = first.checked_add(day)?.checked_sub(1)?.checked_add(days)?;
        day.checked_mul(DAY)?.checked_add(time.rem_euclid(DAY))
    }))
}

/// Days from the epoch to the first of a month; the other way round than [`civil`].
fn since_epoch(year: i64, month: i64) -> Option<i64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let shifted = month.checked_add(9)?.checked_rem(12)?;
    let of_year = shifted.checked_mul(153)?.checked_add(2)? / 5;
    let era = year.div_euclid(400);
    let in_era = year.rem_euclid(400);
    let days = in_era.checked_mul(365)?.checked_add(in_era / 4)?.checked_sub(in_era / 100)?;
    let days = days.checked_add(of_year)?.checked_add(era.checked_mul(146_097)?)?;
    days.checked_sub(719_468)
}

/// RFC 3339 to nanoseconds.
pub(super) fn parse_rfc3339(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).and_then(parse))
}

fn parse(text: &str) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?.strip_prefix('T')?);
    let (year, month, day) = (digits(date, 0, 4)?, digits(date, 5, 2)?, digits(date, 8, 2)?);
    let marks = date.as_bytes();
    let shaped = marks.get(4) == Some(&b'-') && marks.get(7) == Some(&b'-');
    let (hour, minute, second) = (digits(rest, 0, 2)?, digits(rest, 3, 2)?, digits(rest, 6, 2)?);
    let marks = rest.as_bytes();
    let shaped = shaped && marks.get(2) == Some(&b':') && marks.get(5) == Some(&b':');
    let (fraction, zone) = fraction(rest.get(8..)?)?;
    let days = (0..=366_i64)
        .map(|of_year| year.saturating_sub(1970).saturating_mul(365).saturating_add(of_year));
    let near = days.clone().next()?.saturating_add(year.saturating_sub(1969).div_euclid(4));
    let day = (near.saturating_sub(40)..near.saturating_add(400))
        .find(|candidate| civil(*candidate) == (year, month, day))?;
    let fits = shaped && hour < 24 && minute < 60 && second < 60;
    let seconds =
        hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    let seconds = day.checked_mul(86_400)?.checked_add(seconds)?.checked_sub(offset(zone)?)?;
    seconds.checked_mul(SECOND)?.checked_add(fraction).filter(|_| fits)
}

fn digits(text: &str, at: usize, count: usize) -> Option<i64> {
    let digits = text.get(at..at.checked_add(count)?)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Nanoseconds of the fraction, and what stands behind it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let digits = rest.get(..end).filter(|digits| !digits.is_empty())?;
    let kept: String = digits.chars().chain("000000000".chars()).take(9).collect();
    Some((kept.parse().ok()?, rest.get(end..)?))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('+') { 1 } else { -1 };
    let shaped = zone.len() == 6 && zone.starts_with(['+', '-']) && zone.get(3..4) == Some(":");
    let (hours, minutes) = (digits(zone, 1, 2)?, digits(zone, 4, 2)?);
    let fits = shaped && hours < 24 && minutes < 60;
    let seconds: i64 = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    seconds.checked_mul(sign).filter(|_| fits)
}
