//! The ABI's serialised header map: a count, two lengths for each line, then `name NUL value
//! NUL` for each; numbers are 32 bits, little endian.
//!
//! Invariant: decoding is total; bytes that are cut short, lie about a length or carry more
//! than they declare are `None`, never a shorter map.

use crate::view::Pairs;

/// Most lines taken from a module.
const MOST_LINES: usize = 1024;

pub(super) fn encode(pairs: &Pairs) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let mut out = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        out.extend_from_slice(&number(name.len()));
        out.extend_from_slice(&number(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(text);
        out.push(0);
    }
    out
}

/// Sum of all names and values, as Envoy counts the size of a map.
pub(super) fn size(pairs: &Pairs) -> usize {
    pairs.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum()
}

pub(super) fn decode(bytes: &[u8]) -> Option<Pairs> {
    if bytes.is_empty() {
        return Some(Pairs::new());
    }
    let mut rest = bytes;
    let count = take_number(&mut rest)?;
    if count > MOST_LINES {
        return None;
    }
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push((take_number(&mut rest)?, take_number(&mut rest)?));
    }
    let mut pairs = Pairs::with_capacity(count);
    for (name, value) in lengths {
        let name = take_text(&mut rest, name)?.to_ascii_lowercase();
        pairs.push((name, take_text(&mut rest, value)?.to_vec()));
    }
    rest.is_empty().then_some(pairs)
}

/// Nothing here is longer than a guest's memory, which 32 bits address.
fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let (bytes, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

fn take_text<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (text, after) = rest.split_at_checked(length)?;
    let (end, after) = after.split_first()?;
    *rest = after;
    (*end == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, &str)]) -> Pairs {
        lines.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let pairs = lines(&[(":method", "GET"), ("x-a", ""), ("x-a", "2")]);
        assert_eq!(decode(&encode(&pairs)), Some(pairs));
        assert_eq!(decode(&[]), Some(Pairs::new()));
    }

    #[test]
    fn any_shorter_or_longer_map_is_refused() {
        let whole = encode(&lines(&[("a", "b"), ("c", "d")]));
        for end in 1..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "{end} bytes");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert_eq!(decode(&longer), None);
        assert_eq!(decode(&u32::MAX.to_le_bytes()), None);
    }
}
