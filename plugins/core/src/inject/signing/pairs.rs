//! Parameters of queries and forms, read strictly and written in the one form that both
//! schemes sign.
//!
//! Invariant: what is read means the same to every parser, or is not read at all.

use zeroize::Zeroizing;

use crate::slots;

/// Decoded names and values in the order in which they stand.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Parameters of `text`; one without `=` has an empty value. `None` for an escape that is
/// none, and for a `+` where that is no blank.
pub(super) fn read(text: &[u8], plus_is_blank: bool) -> Option<Pairs> {
    if !plus_is_blank && text.contains(&b'+') {
        return None;
    }
    let parts = text.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    let pair = |part: &[u8]| {
        let sign = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let (name, value) = part.split_at_checked(sign)?;
        let value = value.strip_prefix(b"=").unwrap_or(value);
        Some((decoded(name, plus_is_blank)?, decoded(value, plus_is_blank)?))
    };
    parts.map(pair).collect()
}

/// `text` without its escapes; `None` when one of them is none.
pub(super) fn decoded(text: &[u8], plus_is_blank: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            b'+' if plus_is_blank => b' ',
            other => other,
        });
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Stands between name and value while they are sorted: it comes before every byte of an
/// escaped one, so that `a` comes before `a-` as it would alone.
const BETWEEN: u8 = 0;

/// `name=value`, both escaped (RFC 3986 2.3, RFC 5849 3.6), sorted by the escaped name and
/// then the value, joined by `&` (RFC 5849 3.4.1.3.2). One of them may be a token.
pub(super) fn sorted<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Zeroizing<Vec<u8>> {
    let escaped = |(name, value)| {
        let (name, value) = (slots::percent(name), slots::percent(value));
        Zeroizing::new([name.as_slice(), &[BETWEEN], value.as_slice()].concat())
    };
    let mut all: Vec<Zeroizing<Vec<u8>>> = pairs.map(escaped).collect();
    all.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    let all: Vec<&[u8]> = all.iter().map(|pair| pair.as_slice()).collect();
    let mut out = Zeroizing::new(all.join(&b'&'));
    out.iter_mut().filter(|byte| **byte == BETWEEN).for_each(|byte| *byte = b'=');
    out
}
