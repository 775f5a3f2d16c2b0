//! Zero padding to a block, so that lengths say little.
//!
//! Invariant: there is one padding for each length: the fewest zero bytes that reach
//! a multiple of the block. Any other is malformed, so nothing can hide in it.

use crate::wire::{Malformed, Writer};

/// Block of a request's plaintext before its signature.
pub const REQUEST_BLOCK: usize = 64;
/// Block of a reply's plaintext.
pub const REPLY_BLOCK: usize = 256;

/// Appends zeros until the length is a multiple of `block`.
pub fn pad(writer: &mut Writer, block: usize) {
    while writer.bytes().len().checked_rem(block).is_some_and(|over| over != 0) {
        writer.u8(0);
    }
}

/// Checks that `rest` is the padding of a plaintext of `whole` bytes.
pub fn check(rest: &[u8], whole: usize, block: usize) -> Result<(), Malformed> {
    let aligned = whole.checked_rem(block) == Some(0);
    if aligned && rest.len() < block && rest.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_zero_padding_is_accepted() {
        let mut writer = Writer::new(64);
        writer.put(b"abc");
        pad(&mut writer, 64);
        let bytes = writer.finish();
        assert_eq!(bytes.len(), 64);
        assert_eq!(check(&bytes[3..], 64, 64), Ok(()));
        assert_eq!(check(&[0; 64], 128, 64), Err(Malformed));
        assert_eq!(check(&[0, 1], 64, 64), Err(Malformed));
        assert_eq!(check(&[0, 0], 65, 64), Err(Malformed));
    }
}
