//! As much of protobuf as the arguments of foreign functions need: numbers and bytes.
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
}
