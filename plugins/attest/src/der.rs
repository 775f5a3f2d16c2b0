//! Reading DER (X.690): definite, minimal lengths and single-byte tags.
//!
//! Invariant: total; never reads outside of what it was given.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Walks over elements.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

/// One element: its tag, its content, and both with the length between them.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// The next element.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = self.left.split_first()?;
        // Tags over 30 take more bytes; nothing that is read here has one.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        let (whole, _) = self.left.split_at_checked(self.left.len().checked_sub(rest.len())?)?;
        self.left = rest;
        Some(Element { tag: *tag, content, whole })
    }

    /// The content of the next element, which has to have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|element| element.tag == tag).map(|element| element.content)
    }

    /// The next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.left.first() == Some(&tag)).then(|| self.take(tag)).flatten()
    }

    /// Elements inside of the next one.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self::new)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Nothing may follow.
    pub(crate) fn end(self) -> Option<()> {
        self.left.is_empty().then_some(())
    }
}

/// A length and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short, rest @ ..] if *short < 0x80 => Some((usize::from(*short), rest)),
        [0x81, one, rest @ ..] if *one >= 0x80 => Some((usize::from(*one), rest)),
        [0x82, high, low, rest @ ..] if *high > 0 => {
            Some((usize::from(u16::from_be_bytes([*high, *low])), rest))
        }
        _ => None,
    }
}

/// A non-negative INTEGER in its one form, without the sign byte.
pub(crate) fn unsigned(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0] => Some(content),
        [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => Some(rest),
        [first, ..] if (1..0x80).contains(first) => Some(content),
        _ => None,
    }
}

/// Bits without unused ones.
pub(crate) fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
}

/// A whole value that is one element of this tag.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let content = reader.take(tag)?;
    reader.end().map(|()| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_definite_minimal_and_inside() {
        assert_eq!(only(&[4, 1, 7], OCTET_STRING), Some(&[7][..]));
        let long = [&[4, 0x81, 0x80][..], &[1; 128]].concat();
        assert_eq!(only(&long, OCTET_STRING).map(<[u8]>::len), Some(128));
        let longer = [&[4, 0x82, 1, 0][..], &[1; 256]].concat();
        assert_eq!(only(&longer, OCTET_STRING).map(<[u8]>::len), Some(256));
        let rows: [&[u8]; 9] = [
            &[],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 7],
            &[4, 0x82, 0, 1, 7],
            &[4, 0x83, 0, 0, 1, 7],
            &[4, 1, 7, 7],
            &[0x1f, 1, 7],
        ];
        for bytes in rows {
            assert_eq!(only(bytes, OCTET_STRING), None, "{bytes:?}");
        }
    }

    #[test]
    fn integers_are_minimal_and_not_negative() {
        assert_eq!(unsigned(&[0]), Some(&[0][..]));
        assert_eq!(unsigned(&[0, 0xd3]), Some(&[0xd3][..]));
        for bytes in [&[][..], &[0x80], &[0, 1], &[0, 0]] {
            assert_eq!(unsigned(bytes), None, "{bytes:?}");
        }
    }
}
