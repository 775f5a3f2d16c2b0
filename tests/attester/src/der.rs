//! Writing DER.

pub const BIT_STRING: u8 = 3;
pub const SEQUENCE: u8 = 0x30;

/// Tag, length, content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A small non-negative INTEGER.
pub fn small(number: u8) -> Vec<u8> {
    if number < 0x80 { vec![2, 1, number] } else { vec![2, 2, 0, number] }
}

pub fn bits(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content].concat())
}

/// An RSAPublicKey's modulus (RFC 8017, A.1.1), without a sign byte.
pub fn modulus(key: &[u8]) -> Vec<u8> {
    // 30 82 xx xx 02 82 yy yy 00 n…
    let length = usize::from(u16::from_be_bytes([key[6], key[7]]));
    key[9..8 + length].to_vec()
}

/// A SubjectPublicKeyInfo of an RSA key.
pub fn rsa_info(key: &[u8]) -> Vec<u8> {
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0].to_vec();
    sequence(&[sequence(&[oid]), bits(key)])
}

/// A name with one common name.
pub fn name(text: &str) -> Vec<u8> {
    let pair = sequence(&[vec![6, 3, 0x55, 4, 3], element(0x0c, text.as_bytes())]);
    sequence(&[element(0x31, &pair)])
}

/// An extension of the value's own encoding.
pub fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { vec![1, 1, 0xff] } else { Vec::new() };
    sequence(&[element(6, oid), critical, element(4, value)])
}
