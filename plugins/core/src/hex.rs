//! Hexadecimal digits, written and read in their one form: lower case, no prefix.

/// Two lower-case digits for each byte.
pub fn lower(bytes: &[u8]) -> String {
    let digit =
        |half: u8| char::from(if half < 10 { b'0' | half } else { b'W'.wrapping_add(half) });
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The bytes of `2 * N` lower-case digits; of anything else none.
pub fn read<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a' - 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_of_the_exact_length_is_read() {
        assert_eq!(read::<3>(b"00af19"), Some([0, 0xaf, 0x19]));
        for text in ["00AF19", "0xaf19", "00af1", "00af190", "", "00af1g", "+0af19", "00af1\u{e9}"]
        {
            assert_eq!(read::<3>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(lower(&[0, 0xaf, 0x19]), "00af19");
    }
}
