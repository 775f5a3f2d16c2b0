//! The forms in which a secret is looked for: one row each in [`FORMS`].
//!
//! The only file of this crate that reads a secret. What it makes of one is wiped
//! when dropped.
//!
//! Invariant: the value injected is always a pattern, however short; a derived form
//! shorter than [`SHORTEST`] bytes never is, since it would hit by chance.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use postern_core::inject::InPlay;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Derived forms shorter than this are not looked for.
pub const SHORTEST: usize = 4;

/// Bytes to look for, wiped when dropped.
pub type Pattern = Zeroizing<Vec<u8>>;

/// One way in which an upstream may write a value.
pub struct Form {
    /// For tests and documents.
    pub name: &'static str,
    /// All spellings of the value in this form.
    pub spell: fn(&[u8]) -> Vec<Pattern>,
}

/// Every form that is looked for beside the value itself.
pub const FORMS: [Form; 9] = [
    Form { name: "base64 of exactly the value", spell: base64_whole },
    Form { name: "base64 at three alignments", spell: |v| base64_inside(v, &STANDARD_NO_PAD) },
    Form { name: "base64url at three alignments", spell: |v| base64_inside(v, &URL_SAFE_NO_PAD) },
    Form { name: "percent, every byte", spell: |v| percent(v, |_| false) },
    Form { name: "percent, reserved bytes (RFC 3986)", spell: |v| percent(v, unreserved) },
    Form { name: "percent, form encoding", spell: percent_form },
    Form { name: "hex", spell: hex },
    Form { name: "JSON string", spell: json },
    Form { name: "HTML text", spell: html },
];

/// All patterns for the secrets of one stream, in no particular order.
pub fn patterns(secrets: &[InPlay]) -> Vec<Pattern> {
    let mut all = Vec::new();
    for secret in secrets {
        let (value, rendered) = (secret.value.expose(), secret.rendered.expose());
        subject(value, &mut all);
        // `Basic …` does not contain the value but an encoding of it: that token is a
        // secret of its own. Otherwise this repeats the value or its template.
        subject(token(rendered), &mut all);
        all.push(owned(rendered));
    }
    all.retain(|pattern| !pattern.is_empty());
    all.sort_unstable_by(|a, b| a.as_slice().cmp(b.as_slice()));
    all.dedup();
    all
}

/// Names a set of secrets without keeping them: SHA-256 of values and rendered values.
pub fn digest(secrets: &[InPlay]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"postern scrub/1\0");
    for secret in secrets {
        for part in [&secret.value, &secret.rendered] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.expose());
        }
    }
    hash.finalize().into()
}

/// The value itself, and every derived form that is long enough.
fn subject(value: &[u8], all: &mut Vec<Pattern>) {
    all.push(owned(value));
    for form in &FORMS {
        all.extend((form.spell)(value).into_iter().filter(|p| p.len() >= SHORTEST));
    }
}

/// What follows the authentication scheme (RFC 9110, section 11.4), else all of it.
fn token(rendered: &[u8]) -> &[u8] {
    let mut parts = rendered.splitn(2, |&b| b == b' ');
    match (parts.next(), parts.next()) {
        (Some(_), Some(token)) => token,
        _ => rendered,
    }
}

fn owned(bytes: &[u8]) -> Pattern {
    Zeroizing::new(bytes.to_vec())
}

fn base64_whole(value: &[u8]) -> Vec<Pattern> {
    [&STANDARD, &STANDARD_NO_PAD, &base64::engine::general_purpose::URL_SAFE, &URL_SAFE_NO_PAD]
        .into_iter()
        .map(|engine| Zeroizing::new(engine.encode(value).into_bytes()))
        .collect()
}

/// The value inside a longer encoded text: at each of three alignments the digits
/// that depend on the value alone.
fn base64_inside(value: &[u8], engine: &GeneralPurpose) -> Vec<Pattern> {
    [(0_usize, 0_usize), (1, 2), (2, 3)]
        .into_iter()
        .filter_map(|(offset, first)| {
            let mut shifted: Pattern = Zeroizing::new(vec![0; offset]);
            shifted.extend_from_slice(value);
            let end = shifted.len().checked_mul(8)?.checked_div(6)?;
            let text = Zeroizing::new(engine.encode(&*shifted).into_bytes());
            text.get(first..end).map(owned)
        })
        .collect()
}

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

fn percent(value: &[u8], keep: fn(u8) -> bool) -> Vec<Pattern> {
    [UPPER, LOWER]
        .into_iter()
        .map(|digits| {
            each(value, |b, out| {
                if keep(b) {
                    out.push(b)
                } else {
                    out.push(b'%');
                    pair(b, digits, out)
                }
            })
        })
        .collect()
}

/// `application/x-www-form-urlencoded` (URL standard, 5.2), with `+` or `%20`, and
/// what JavaScript's `encodeURIComponent` keeps beyond RFC 3986.
fn percent_form(value: &[u8]) -> Vec<Pattern> {
    let kept = |b: u8| b.is_ascii_alphanumeric() || b"*-._".contains(&b);
    let mut spellings = percent(value, |b| unreserved(b) || b"!'()*".contains(&b));
    spellings.extend(percent(value, kept));
    spellings.extend([UPPER, LOWER].into_iter().map(|digits| {
        each(value, |b, out| match b {
            b' ' => out.push(b'+'),
            _ if kept(b) => out.push(b),
            _ => {
                out.push(b'%');
                pair(b, digits, out)
            }
        })
    }));
    spellings
}

/// RFC 3986, section 2.3.
fn unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

fn hex(value: &[u8]) -> Vec<Pattern> {
    [UPPER, LOWER].into_iter().map(|digits| each(value, |b, out| pair(b, digits, out))).collect()
}

/// What common encoders make of it (RFC 8259, section 7): as little as must be, the
/// solidus escaped too, HTML-safe, and ASCII only.
fn json(value: &[u8]) -> Vec<Pattern> {
    let spell = |more: &[u8]| {
        each(value, |b, out| match b {
            b'"' | b'\\' => out.extend([b'\\', b]),
            b'/' if more.contains(&b) => out.extend([b'\\', b]),
            b'\n' => out.extend(*b"\\n"),
            b'\r' => out.extend(*b"\\r"),
            b'\t' => out.extend(*b"\\t"),
            0..0x20 | 0x7f => unicode(u16::from(b), out),
            _ if more.contains(&b) => unicode(u16::from(b), out),
            _ => out.push(b),
        })
    };
    let mut spellings =
        vec![spell(b""), spell(b"/"), spell(b"<>&"), spell(b"<>&'"), spell(b"/<>&'")];
    if !value.is_ascii()
        && let Ok(text) = std::str::from_utf8(value)
    {
        let mut out: Pattern = Zeroizing::new(Vec::new());
        for unit in text.encode_utf16() {
            match u8::try_from(unit) {
                Ok(b @ (b'"' | b'\\')) => out.extend([b'\\', b]),
                Ok(b @ 0x20..0x7f) => out.push(b),
                _ => unicode(unit, &mut out),
            }
        }
        spellings.push(out);
    }
    spellings
}

fn unicode(unit: u16, out: &mut Pattern) {
    out.extend(*b"\\u");
    for byte in unit.to_be_bytes() {
        pair(byte, LOWER, out);
    }
}

/// What common encoders make of the five characters that HTML reserves.
fn html(value: &[u8]) -> Vec<Pattern> {
    [
        ("&quot;", "&#39;"),
        ("&#34;", "&#39;"),
        ("&quot;", "&#x27;"),
        ("&quot;", "&apos;"),
        ("\"", "'"),
        ("&quot;", "'"),
    ]
    .into_iter()
    .map(|(double, single)| {
        each(value, |b, out| match b {
            b'&' => out.extend(*b"&amp;"),
            b'<' => out.extend(*b"&lt;"),
            b'>' => out.extend(*b"&gt;"),
            b'"' => out.extend(double.bytes()),
            b'\'' => out.extend(single.bytes()),
            _ => out.push(b),
        })
    })
    .collect()
}

fn each(value: &[u8], spell: impl Fn(u8, &mut Pattern)) -> Pattern {
    // Sized for the longest form, so that no unwiped copy is left by growing.
    let mut out: Pattern = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(6)));
    for &b in value {
        spell(b, &mut out);
    }
    out
}

fn pair(byte: u8, digits: &[u8; 16], out: &mut Pattern) {
    out.extend(
        digits.get(usize::from(byte >> 4)).into_iter().chain(digits.get(usize::from(byte & 15))),
    );
}
