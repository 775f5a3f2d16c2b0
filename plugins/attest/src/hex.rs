//! Lower-case hexadecimal of a fixed length, in its one form.

/// `N` bytes from `2 N` lower-case digits.
pub fn exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N.checked_mul(2)? {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a').and_then(|digit| digit.checked_add(10)),
        _ => None,
    }
}

/// Lower-case digits.
pub fn lower(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_of_the_exact_length_is_read() {
        assert_eq!(exactly::<3>("00af19"), Some([0, 0xaf, 0x19]));
        for text in ["00AF19", "0xaf19", "00af1", "00af190", "", "00af1g", "00af1é"] {
            assert_eq!(exactly::<3>(text), None, "{text}");
        }
        assert_eq!(lower(&[0, 0xaf, 0x19]), "00af19");
    }
}
