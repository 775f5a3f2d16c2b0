//! Spans of time as people write them (`30d`, `1h`) and moments as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_core::time::UnixMillis;

/// Parses `90s`, `15m`, `1h`, `30d`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a number and s, m, h or d, such as 30d, not {text:?}");
    let unit = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = text.get(..text.len() - 1).unwrap_or("").parse().map_err(|_| expected())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(expected)
}

/// The system's clock.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `2026-11-22T18:00:00Z` (RFC 3339).
pub fn shown(at: UnixMillis) -> String {
    let seconds = at.seconds();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Parses a day, `2026-11-22`: its first moment in UTC.
pub fn day(text: &str) -> Result<UnixMillis, String> {
    let expected = || format!("expected a day such as 2026-11-22, not {text:?}");
    let numbers = text.split('-').map(|part| part.parse::<u64>().ok());
    let [Some(year), Some(month), Some(day)] =
        <[_; 3]>::try_from(numbers.collect::<Vec<_>>()).map_err(|_| expected())?
    else {
        return Err(expected());
    };
    if !(1970..=9999).contains(&year) || text.len() != 10 {
        return Err(expected());
    }
    // Between the ends of the year before and the year after there is one such day, or none.
    let first = (year - 1970) * 365;
    let days = (first..first + 3000).find(|days| civil(*days) == (year, month, day));
    days.map(|days| UnixMillis(days * 86_400_000)).ok_or_else(expected)
}

/// Days since 1970 to a date of the Gregorian calendar (Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h", 3_600), ("30d", 2_592_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "d", "30", "-1d", "1.5h", "1w", "99999999999999999999d", "1é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_are_read_as_they_are_shown() {
        for text in ["1970-01-01", "2000-02-29", "2026-11-22", "9999-12-31"] {
            assert_eq!(shown(day(text).unwrap()), format!("{text}T00:00:00Z"));
        }
        for text in ["", "2026-02-29", "2026-13-01", "2026-11-2", "1969-12-31", "2026-11-22T"] {
            assert!(day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_shown() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_370_244_999, "2026-11-22T17:57:24Z"),
        ] {
            assert_eq!(shown(UnixMillis(millis)), text);
        }
    }
}
