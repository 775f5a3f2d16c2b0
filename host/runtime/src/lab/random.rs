//! Randomness that is the same again for the same seed.
//!
//! Blocks of HMAC-SHA-256 over a label and a counter: nobody who lacks the seed can tell
//! them from the system's randomness, so that a recording may use it as well.

use ring::hmac::{HMAC_SHA256, Key, sign};

/// A stream of bytes.
pub(crate) struct Random {
    key: Key,
    label: u64,
    counter: u64,
}

impl Random {
    pub fn new(seed: &[u8]) -> Self {
        Self { key: Key::new(HMAC_SHA256, seed), label: 0, counter: 0 }
    }

    /// Begins anew under a label, so that what one event takes changes no other.
    pub fn begin(&mut self, label: u64) {
        (self.label, self.counter) = (label, 0);
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(32) {
            let input = [self.label.to_le_bytes(), self.counter.to_le_bytes()].concat();
            let block = sign(&self.key, &input);
            piece.iter_mut().zip(block.as_ref()).for_each(|(to, from)| *to = *from);
            self.counter += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    fn take(random: &mut Random) -> [u8; 40] {
        let mut bytes = [0; 40];
        random.fill(&mut bytes);
        bytes
    }

    #[test]
    fn the_same_seed_and_label_give_the_same_bytes_and_others_give_others() {
        let (mut one, mut two) = (Random::new(b"a"), Random::new(b"a"));
        let first = take(&mut one);
        assert_eq!(first, take(&mut two));
        assert_ne!(first, take(&mut one));
        two.begin(1);
        assert_ne!(first, take(&mut two));
        two.begin(0);
        assert_eq!(first, take(&mut two));
        assert_ne!(first, take(&mut Random::new(b"b")));
    }
}
