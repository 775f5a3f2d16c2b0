//! Reading and writing of big-endian, length-prefixed bytes.
//!
//! Knows no message. Invariant: total; a reader never looks past its input, a writer
//! refuses what does not fit instead of cutting it, and neither keeps a copy of what
//! it handled outside a buffer that is wiped.

use zeroize::Zeroizing;

/// The bytes are not what the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message is malformed")]
pub struct Malformed;

/// A value does not fit the length prefix, or the message its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value is too long for its place in the message")]
pub struct TooLong;

/// Takes values off the front of a slice.
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Malformed)?;
        self.left = left;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes after an 8-bit length.
    pub fn lp8(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes after a 16-bit length.
    pub fn lp16(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 without control characters after an 8-bit length.
    pub fn text8(&mut self) -> Result<String, Malformed> {
        let text = str::from_utf8(self.lp8()?).map_err(|_| Malformed)?;
        if text.chars().any(char::is_control) {
            return Err(Malformed);
        }
        Ok(text.to_owned())
    }

    /// Up to 64 texts after an 8-bit count.
    pub fn texts8(&mut self) -> Result<Vec<String>, Malformed> {
        let count = self.u8()?;
        if usize::from(count) > MAX_TEXTS {
            return Err(Malformed);
        }
        (0..count).map(|_| self.text8()).collect()
    }

    /// What has not been read yet.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Most texts in one list.
pub const MAX_TEXTS: usize = 64;

/// Appends values to a buffer that is wiped when it is dropped.
pub struct Writer {
    out: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// A writer whose buffer holds `capacity` bytes without moving, so that no stale
    /// copy of a value stays behind.
    pub fn new(capacity: usize) -> Self {
        Self { out: Zeroizing::new(Vec::with_capacity(capacity)) }
    }

    /// Raw bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Bytes after an 8-bit length.
    pub fn lp8(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.u8(u8::try_from(bytes.len()).map_err(|_| TooLong)?);
        self.put(bytes);
        Ok(())
    }

    /// Bytes after a 16-bit length.
    pub fn lp16(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| TooLong)?);
        self.put(bytes);
        Ok(())
    }

    /// Texts after an 8-bit count.
    pub fn texts8(&mut self, texts: &[String]) -> Result<(), TooLong> {
        self.count8(texts.len(), MAX_TEXTS)?;
        texts.iter().try_for_each(|text| self.lp8(text.as_bytes()))
    }

    /// An 8-bit count that must not exceed `most`.
    pub fn count8(&mut self, count: usize, most: usize) -> Result<(), TooLong> {
        let narrow = u8::try_from(count).map_err(|_| TooLong)?;
        if count > most {
            return Err(TooLong);
        }
        self.u8(narrow);
        Ok(())
    }

    /// A 16-bit count that must not exceed `most`.
    pub fn count16(&mut self, count: usize, most: usize) -> Result<(), TooLong> {
        let narrow = u16::try_from(count).map_err(|_| TooLong)?;
        if count > most {
            return Err(TooLong);
        }
        self.u16(narrow);
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// The buffer.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new(64);
        writer.u8(1);
        writer.u16(2);
        writer.u32(3);
        writer.u64(4);
        writer.lp8(b"five").unwrap();
        writer.lp16(b"six").unwrap();
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(
            (reader.u8(), reader.u16(), reader.u32(), reader.u64()),
            (Ok(1), Ok(2), Ok(3), Ok(4))
        );
        assert_eq!((reader.lp8(), reader.lp16()), (Ok(&b"five"[..]), Ok(&b"six"[..])));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn short_input_and_bytes_left_over_are_malformed() {
        assert_eq!(Reader::new(&[3, 1, 2]).lp8(), Err(Malformed));
        assert_eq!(Reader::new(&[0, 9, 1]).lp16(), Err(Malformed));
        assert_eq!(Reader::new(&[0]).end(), Err(Malformed));
        assert_eq!(Reader::new(&[2, b'a', b'\n']).text8(), Err(Malformed));
    }

    #[test]
    fn a_value_too_long_for_its_prefix_is_refused() {
        assert_eq!(Writer::new(0).lp8(&[0; 256]), Err(TooLong));
        assert_eq!(Writer::new(0).lp16(&[0; 65_536]), Err(TooLong));
    }
}
