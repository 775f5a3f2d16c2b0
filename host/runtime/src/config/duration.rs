//! Spans as protobuf's JSON writes them: decimal seconds and an `s`.

use std::time::Duration;

/// `30s`, `0.1s`; `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_seconds_are_taken_and_nothing_else() {
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("0.1s"), Some(Duration::from_millis(100)));
        for bad in ["30", "s", "1m", "-1s", "1.s", ".5s", "1.0000000001s", "1e3s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
