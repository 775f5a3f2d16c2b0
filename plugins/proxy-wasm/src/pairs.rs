//! The ABI's serialised header map: a count, then two lengths for each line, then
//! `name NUL value NUL` for each; all numbers are 32 bits, little endian.
//!
//! Owns both directions. Invariant: total on any bytes; a map that is cut short, lies
//! about a length or carries more than it declares is `None`, never a shorter map.

use postern_core::fields::{Field, Fields};

/// Most lines that are taken; Envoy's own default limit is 100.
const MOST_LINES: usize = 1024;

/// Serialises `lines` for the host.
pub fn encode(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&length(lines.len()));
    for (name, value) in lines {
        out.extend_from_slice(&length(name.len()));
        out.extend_from_slice(&length(value.len()));
    }
    for (name, value) in lines {
        for text in [name, value] {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
    }
    out
}

/// A length beyond 32 bits cannot exist in a 32-bit module; it would be refused by the
/// host as a lie.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Reads what the host serialised. No bytes at all are an empty map.
pub fn decode(bytes: &[u8]) -> Option<Fields> {
    if bytes.is_empty() {
        return Some(Fields::default());
    }
    let mut rest = bytes;
    let count = number(&mut rest)?;
    if count > MOST_LINES {
        return None;
    }
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push((number(&mut rest)?, number(&mut rest)?));
    }
    let mut fields = Vec::with_capacity(count);
    for (name, value) in lengths {
        let mut name = text(&mut rest, name)?.to_vec();
        name.make_ascii_lowercase();
        fields.push(Field { name, value: text(&mut rest, value)?.to_vec() });
    }
    rest.is_empty().then_some(Fields(fields))
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (bytes, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

fn text<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (text, after) = rest.split_at_checked(length)?;
    let (nul, after) = after.split_first()?;
    *rest = after;
    (*nul == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use postern_core::fields::Fields;

    #[test]
    fn encoded_lines_come_back_in_order() {
        let lines = [(":path", "/a?b"), ("accept", ""), ("accept", "x")];
        assert_eq!(decode(&encode(&lines)), Some(lines.into_iter().collect::<Fields>()));
    }

    #[test]
    fn bytes_that_are_not_utf8_and_inner_nul_survive() {
        let bytes = b"\x01\0\0\0\x01\0\0\0\x03\0\0\0A\0\xff\0\xfe\0";
        assert_eq!(decode(bytes), Some([("a", b"\xff\0\xfe")].into_iter().collect::<Fields>()));
    }

    #[test]
    fn every_cut_and_every_excess_is_refused() {
        let whole = encode(&[(":path", "/"), ("accept", "*/*")]);
        for end in 1..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(decode(&[whole.as_slice(), b"x"].concat()), None);
    }

    #[test]
    fn lengths_that_lie_are_refused_without_allocating_them() {
        assert_eq!(decode(b"\xff\xff\xff\xff"), None);
        assert_eq!(decode(b"\x01\0\0\0\xff\xff\xff\xff\0\0\0\0a\0\0"), None);
    }

    #[test]
    fn an_empty_answer_is_an_empty_map() {
        assert_eq!(decode(b""), Some(Fields::default()));
        assert_eq!(decode(b"\0\0\0\0"), Some(Fields::default()));
    }
}
