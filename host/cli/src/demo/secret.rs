//! The demonstration's secret, and every form in which it must not come back.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use postern_core::hex;

use crate::failure::Outcome;
use crate::random;

/// A value that no API accepts, new in each run.
pub fn draw() -> Outcome<String> {
    Ok(format!(
        "xoxb-demo/{}+{}",
        hex::lower(&random::bytes::<8>()?),
        hex::lower(&random::bytes::<4>()?)
    ))
}

/// Base64 as an upstream would write it.
pub fn base64(value: &str) -> String {
    BASE64_STANDARD.encode(value)
}

/// Every byte but the unreserved ones as `%XX` (RFC 3986, 2.1 and 2.3).
pub fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

/// What would give `value` away: as it is, percent-encoded, in hexadecimal, and in base64
/// at three alignments.
pub fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), percent(value), hex::lower(value.as_bytes())];
    for before in 0..3_usize {
        let padded = format!("{}{value}", "x".repeat(before));
        for text in [BASE64_STANDARD_NO_PAD.encode(&padded), BASE64_URL_SAFE_NO_PAD.encode(&padded)]
        {
            // The first and the last digits depend on what stands around the value.
            let from = before * 8 / 6 + usize::from(before > 0);
            forms.push(text.get(from..text.len() - 1).unwrap_or(&text).to_owned());
        }
    }
    forms.push(hex::lower(value.as_bytes()).to_uppercase());
    forms
}

/// Which form of `value` stands in `bytes`.
pub fn found(bytes: &[u8], value: &str) -> Option<String> {
    let holds = |form: &String| bytes.windows(form.len()).any(|window| window == form.as_bytes());
    forms(value).into_iter().find(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let value = draw().unwrap();
        for around in ["", "a", "ab", "abc"] {
            let text = format!("{around}{value}{around}");
            for hidden in [
                text.clone(),
                BASE64_STANDARD.encode(&text),
                percent(&text),
                hex::lower(text.as_bytes()),
            ] {
                assert!(found(hidden.as_bytes(), &value).is_some(), "{hidden}");
            }
        }
        assert_eq!(found(b"[REDACTED]", &value), None);
    }
}
