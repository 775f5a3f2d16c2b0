//! Looks for a secret in what a caller got: decodes everything it can and searches the rest.
//!
//! Owns its own decoders and shares none with the scrubber, so that what the scrubber does not
//! know is not unknown here as well. It is slow and sees ghosts rather than nothing.
//!
//! Invariant: [`Seeker::find`] reads every byte; what is too large to be decoded in every way
//! is decoded in the plain ways and searched.

use std::collections::BTreeSet;
use std::io::Read;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::find;

use crate::forms::unhex;

/// How much of a value's beginning or end gives it away.
const PART: usize = 12;
/// Decoded texts of one answer.
const MOST_VIEWS: usize = 400;
/// Decodings on top of each other.
const DEEPEST: usize = 3;
/// Above this only the text itself and one decoding are searched.
const LARGE: usize = 128 * 1024;
/// Most bytes that a compressed text is followed for.
const EXPANDED: u64 = 8 * 1024 * 1024;

/// What must not be seen.
pub struct Seeker {
    needles: Vec<(String, Vec<u8>)>,
}

impl Seeker {
    /// Looks for values by their names.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut needles = Vec::new();
        for (name, value) in values {
            needles.push((format!("the value of {name}"), value.to_vec()));
            if value.len() > PART {
                let (start, end) = (&value[..PART], &value[value.len() - PART..]);
                needles.push((format!("the beginning of {name}"), start.to_vec()));
                needles.push((format!("the end of {name}"), end.to_vec()));
            }
        }
        Self { needles }
    }

    /// What is seen in `text`, and how it was decoded; `None` when nothing is.
    pub fn find(&self, text: &[u8]) -> Option<String> {
        let mut seen = BTreeSet::new();
        let mut views = vec![(String::from("as it is"), text.to_vec(), 0)];
        let mut at = 0;
        while let Some((how, bytes, depth)) = views.get(at).cloned() {
            at += 1;
            if let Some((name, _)) =
                self.needles.iter().find(|(_, value)| find(&bytes, value).is_some())
            {
                return Some(format!("{name}, {how}"));
            }
            let deepest = if bytes.len() > LARGE { 1 } else { DEEPEST };
            if depth >= deepest {
                continue;
            }
            for (name, view) in decoded(&bytes) {
                if views.len() < MOST_VIEWS && view.len() >= 4 && seen.insert(view.clone()) {
                    let how = if depth == 0 { name.to_owned() } else { format!("{how}, {name}") };
                    views.push((how, view, depth + 1));
                }
            }
        }
        None
    }
}

/// Every reading of `bytes` that differs from it.
fn decoded(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut views = vec![
        ("escapes", unescape(bytes, false)),
        ("escapes and plus signs", unescape(bytes, true)),
        ("without white space", without(bytes, b" \t\r\n")),
        ("without lines of events", without_lines(bytes)),
        ("without NUL", without(bytes, b"\0")),
        ("without separators", without(bytes, b"\0 \t\r\n\",:;-_'+.")),
    ];
    views.retain(|(_, view)| view != bytes);
    if bytes.len() <= LARGE {
        for run in runs(bytes, |byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte), 12) {
            views.extend(base64(run).map(|view| ("base64", view)));
        }
        for run in
            runs(bytes, |byte| byte.is_ascii_hexdigit() || b" :,-\n\r\tx".contains(&byte), 24)
        {
            views.extend(hex(run).map(|view| ("hex", view)));
        }
        for run in runs(bytes, |byte| byte.is_ascii_alphanumeric(), 16) {
            views.extend(base32(run).map(|view| ("base32", view)));
        }
        views.extend(numbers(bytes).map(|view| ("numbers", view)));
    }
    views.extend(expanded(bytes));
    views
}

/// Maximal runs of bytes that belong together.
fn runs(bytes: &[u8], belongs: impl Fn(u8) -> bool, shortest: usize) -> Vec<&[u8]> {
    let all = bytes.split(|byte| !belongs(*byte));
    all.filter(|run| run.len() >= shortest).collect()
}

/// All four offsets: what stands in front may be part of the run.
fn base64(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
    let plain: Vec<u8> = run
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    (0..4).filter_map(move |offset| {
        let rest = plain.get(offset..)?;
        let whole = if rest.len() % 4 == 1 { rest.get(..rest.len() - 1)? } else { rest };
        engine.decode(whole).ok()
    })
}

/// Both offsets; `0x` in front of a pair is a separator like others.
fn hex(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let text = String::from_utf8_lossy(run).replace("0x", "");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    (0..2).filter_map(move |offset| {
        let rest = digits.get(offset..)?;
        unhex(rest.get(..rest.len() / 2 * 2)?)
    })
}

/// All eight offsets.
fn base32(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let value = |byte: &u8| match byte.to_ascii_uppercase() {
        letter @ b'A'..=b'Z' => Some(letter - b'A'),
        digit @ b'2'..=b'7' => Some(digit - b'2' + 26),
        _ => None,
    };
    let fives: Option<Vec<u8>> = run.iter().filter(|byte| **byte != b'=').map(value).collect();
    let fives = fives.unwrap_or_default();
    (0..8).filter_map(move |offset| {
        let bits: Vec<u8> = fives
            .get(offset..)?
            .iter()
            .flat_map(|five| (0..5).rev().map(move |at| five >> at & 1))
            .collect();
        let byte = |bits: &[u8]| bits.iter().fold(0_u8, |sum, bit| sum << 1 | bit);
        Some(bits.chunks_exact(8).map(byte).collect())
    })
}

/// Decimal numbers below 256, whatever stands between them.
fn numbers(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let found: Vec<u8> = numbers.filter_map(|part| part.parse().ok()).collect();
    (found.len() >= 8).then_some(found)
}

fn without(bytes: &[u8], left_out: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !left_out.contains(byte)).collect()
}

/// Server-sent events, and folded lines of other kinds: line ends and what begins a line go.
fn without_lines(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"data:").unwrap_or(line);
        let line = line.strip_prefix(b" ").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\\").unwrap_or(line));
    }
    out
}

/// One pass over all escapes at once: percent, backslashes, character references,
/// quoted-printable.
fn unescape(bytes: &[u8], plus: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let step = match byte {
            b'%' | b'=' => pair(rest).or_else(|| soft_break(rest)),
            b'\\' => backslash(rest),
            b'&' => reference(rest),
            b'+' if plus => Some((Some(b' '), 1)),
            _ => None,
        };
        let (decoded, length) = step.unwrap_or((Some(*byte), 1));
        out.extend(decoded);
        at += length;
    }
    out
}

type Step = Option<(Option<u8>, usize)>;

fn pair(rest: &[u8]) -> Step {
    let byte = unhex(rest.get(1..3)?)?;
    Some((byte.first().copied(), 3))
}

fn soft_break(rest: &[u8]) -> Step {
    let after = rest.strip_prefix(b"=")?;
    match after {
        [b'\r', b'\n', ..] => Some((None, 3)),
        [b'\n', ..] => Some((None, 2)),
        _ => None,
    }
}

fn backslash(rest: &[u8]) -> Step {
    match rest.get(1)? {
        b'u' if rest.get(2) == Some(&b'{') => {
            let end = rest.iter().position(|byte| *byte == b'}')?;
            Some((Some(number(rest.get(3..end)?, 16)?), end + 1))
        }
        b'u' | b'U' => Some((Some(number(rest.get(2..6)?, 16)?), 6)),
        b'x' | b'X' => Some((Some(number(rest.get(2..4)?, 16)?), 4)),
        b'0'..=b'7' => {
            let digits =
                rest.iter().skip(1).take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            Some((Some(number(rest.get(1..=digits)?, 8)?), digits + 1))
        }
        b'n' | b'r' | b't' => Some((None, 2)),
        b'\n' => Some((None, 2)),
        other => Some((Some(*other), 2)),
    }
}

fn reference(rest: &[u8]) -> Step {
    const NAMED: [(&[u8], u8); 10] = [
        (b"&sol", b'/'),
        (b"&plus", b'+'),
        (b"&equals", b'='),
        (b"&colon", b':'),
        (b"&quot", b'"'),
        (b"&amp", b'&'),
        (b"&lt", b'<'),
        (b"&gt", b'>'),
        (b"&period", b'.'),
        (b"&lowbar", b'_'),
    ];
    let semicolon = |length: usize| length + usize::from(rest.get(length) == Some(&b';'));
    if let Some((name, byte)) = NAMED.iter().find(|(name, _)| rest.starts_with(name)) {
        return Some((Some(*byte), semicolon(name.len())));
    }
    let (from, radix) = match rest.get(1..3)? {
        [b'#', b'x' | b'X'] => (3, 16),
        [b'#', _] => (2, 10),
        _ => return None,
    };
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let digits = rest.iter().skip(from).take_while(is_digit).count();
    Some((Some(number(rest.get(from..from + digits)?, radix)?), semicolon(from + digits)))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let value = u32::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()?;
    u8::try_from(value).ok()
}

/// What is compressed, or could be.
fn expanded(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut views = Vec::new();
    let mut take = |name, reader: &mut dyn Read| {
        let mut view = Vec::new();
        // As far as it can be read: a broken end does not hide the beginning.
        let _ = reader.take(EXPANDED).read_to_end(&mut view);
        if view.len() >= 8 {
            views.push((name, view));
        }
    };
    if bytes.starts_with(b"\x1f\x8b") {
        take("gzip", &mut flate2::read::MultiGzDecoder::new(bytes));
    }
    if bytes.first().is_some_and(|byte| byte & 0x0f == 8) {
        take("zlib", &mut flate2::read::ZlibDecoder::new(bytes));
    }
    if bytes.starts_with(b"\x28\xb5\x2f\xfd")
        && let Ok(mut decoder) = ruzstd::decoding::StreamingDecoder::new(bytes)
    {
        take("zstd", &mut decoder);
    }
    if !bytes.is_ascii() && bytes.len() <= LARGE {
        take("deflate", &mut flate2::read::DeflateDecoder::new(bytes));
        take("br", &mut brotli_decompressor::Decompressor::new(bytes, 4096));
    }
    views
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::filter;

    const SECRET: &[u8] = b"xoxb-7/Gq+secret=Zk4Qw~31";

    fn find(text: &[u8]) -> Option<String> {
        Seeker::new([("slack", SECRET)]).find(text)
    }

    /// `see: SECRET ;` through these filters.
    fn seen(filters: &[(&str, &str)]) -> bool {
        let encoded = filters.iter().fold(SECRET.to_vec(), |bytes, (verb, argument)| {
            filter(bytes, verb, argument).unwrap_or_else(|| panic!("no filter {verb}"))
        });
        find(&[b"see: ", encoded.as_slice(), b" ;"].concat()).is_some() || find(&encoded).is_some()
    }

    #[test]
    fn every_form_that_cases_use_is_seen() {
        for verb in [
            "base64",
            "base64url",
            "base32",
            "hex",
            "HEX",
            "percent",
            "percent-lower",
            "percent-all",
            "percent-form",
            "unicode",
            "UNICODE",
            "unicode-brace",
            "backslash-x",
            "octal",
            "html-dec",
            "html-hex",
            "html-zeros",
            "html-named",
            "json",
            "quoted-printable",
            "numbers",
            "utf16le",
            "utf16be",
            "mixed",
            "gzip",
            "zlib",
            "deflate",
            "zstd",
            "brotli",
        ] {
            assert!(seen(&[(verb, "")]), "{verb}");
        }
        for front in ["a", "ab", "abc", "user:"] {
            assert!(seen(&[("after", front), ("before", ":x"), ("base64", "")]), "{front}");
        }
        for filters in [
            &[("percent", ""), ("percent", "")][..],
            &[("base64", ""), ("base64", "")],
            &[("base64", ""), ("wrap", "20")],
            &[("hex", ""), ("hex", "")],
            &[("hex-by", ",\\s0x")],
            &[("hex-by", ":")],
            &[("hex-by", "\\s")],
            &[("between", "\\n")],
            &[("wrap", "9 \\ndata:\\s")],
            &[("percent", ""), ("gzip", "")],
            &[("gzip", ""), ("base64", "")],
            &[("gzip", ""), ("brotli", "")],
            &[("first", "12")],
            &[("last", "12")],
        ] {
            assert!(seen(filters), "{filters:?}");
        }
    }

    #[test]
    fn what_gives_nothing_away_is_not_seen() {
        assert!(!seen(&[("first", "11")]));
        assert!(!seen(&[("sha256", "")]));
        for text in ["", "see: [REDACTED] ;", "YX[REDACTED]FiYw== ;", "xoxb-7/Gq+s"] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_large_text_is_read_to_its_end() {
        let text = [b"x".repeat(1 << 20).as_slice(), SECRET].concat();
        assert_eq!(find(&text).as_deref(), Some("the value of slack, as it is"));
    }
}
