//! Durations and sizes as text with a unit: `10s`, `256KiB`.

use std::time::Duration;

/// `250ms`, `10s`, `5m`, `1h`: digits and one unit.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a duration such as \"10s\" (units ms, s, m, h)";
    let (number, unit) = split(text).ok_or(EXPECTED)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or(EXPECTED)
}

/// `4096B`, `256KiB`, `1MiB`: digits and one unit.
pub fn size(text: &str) -> Result<usize, &'static str> {
    const EXPECTED: &str = "expected a size such as \"256KiB\" (units B, KiB, MiB)";
    let (number, unit) = split(text).ok_or(EXPECTED)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(EXPECTED),
    };
    number.checked_mul(bytes).and_then(|size| usize::try_from(size).ok()).ok_or(EXPECTED)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(at)?;
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_anything_else_says_what_was_expected() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("256KiB"), Ok(262_144));
        assert_eq!(size("12B"), Ok(12));
        for text in ["", "10", "s", "-1s", "1 s", "1S", "99999999999999999999s", "1.5s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        for text in ["", "10", "10KB", "18446744073709551615MiB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
