//! As much of protobuf as the arguments of hostcalls need: numbers and bytes. Fields of a
//! fixed width are passed over.
//!
//! Invariant: parsing is total; what does not parse to the end is `None`.

/// Fields of a message; the last of a number counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    numbers: Vec<(u64, u64)>,
    bytes: Vec<(u64, &'a [u8])>,
}

impl<'a> Message<'a> {
    pub fn parse(mut rest: &'a [u8]) -> Option<Self> {
        let mut message = Self::default();
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            match tag & 7 {
                0 => message.numbers.push((tag >> 3, varint(&mut rest)?)),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (value, after) = rest.split_at_checked(length)?;
                    rest = after;
                    message.bytes.push((tag >> 3, value));
                }
                1 => rest = rest.split_at_checked(8)?.1,
                5 => rest = rest.split_at_checked(4)?.1,
                _ => return None,
            }
        }
        Some(message)
    }

    /// A number; 0 if it is absent.
    pub fn number(&self, field: u64) -> u64 {
        self.numbers.iter().rev().find(|(name, _)| *name == field).map_or(0, |(_, value)| *value)
    }

    /// Bytes; empty if absent.
    pub fn bytes(&self, field: u64) -> &'a [u8] {
        self.bytes.iter().rev().find(|(name, _)| *name == field).map_or(&[], |(_, value)| value)
    }
}

/// Appends a field of numbers.
pub(super) fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

/// Appends a field of bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_of_a_permit_parses() {
        let bytes = b"\x0a\x0epostern.permit\x10\x01";
        let message = Message::parse(bytes).unwrap();
        assert_eq!(
            (message.bytes(1), message.number(2), message.number(3)),
            (&b"postern.permit"[..], 1, 0)
        );
        assert_eq!(Message::parse(&bytes[..9]), None);
        assert_eq!(Message::parse(&[0xff; 12]), None);
    }

    #[test]
    fn what_is_written_is_read_again_and_fixed_widths_are_passed_over() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, 300);
        put_bytes(&mut bytes, 9, &[b'x'; 200]);
        bytes.extend(b"\x11 8 bytes\x1d 4 b");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.number(1), message.bytes(9)), (300, &[b'x'; 200][..]));
        assert_eq!(Message::parse(&bytes[..bytes.len() - 1]), None);
    }
}
