//! How much content of one direction the host keeps back, so that the core sees every
//! byte once.
//!
//! While a filter pauses, Envoy's buffer grows and every callback reports its whole size;
//! after `Continue` the buffer is empty again. Content that was replaced and then paused
//! comes back in front of the new bytes. (Tried in Envoy 1.40, both directions.)
//!
//! Invariant: offsets stay inside what the host reported; a buffer that shrank by itself
//! is [`Lost`].

use std::ops::Range;

use postern_core::effect::Flow;

/// Content at the host, of one direction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes the core has seen, or has put there, and that are still at the host.
    kept: usize,
    /// Bytes at the host now, the new ones included.
    whole: usize,
}

/// The host's buffer is shorter than what it was told to keep.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host lost content that it was told to keep")]
pub struct Lost;

impl Held {
    /// A callback reports a buffer of `whole` bytes: where in it the new ones are.
    pub fn arrived(&mut self, whole: usize) -> Result<Range<usize>, Lost> {
        if whole < self.kept {
            return Err(Lost);
        }
        self.whole = whole;
        Ok(self.kept..whole)
    }

    /// All content at the host is replaced by `length` bytes: how many bytes go.
    pub fn replaced(&mut self, length: usize) -> usize {
        std::mem::replace(&mut self.whole, length)
    }

    /// The callback ends with this.
    pub fn settle(&mut self, flow: Flow) {
        self.kept = match flow {
            Flow::Pause => self.whole,
            Flow::Continue => 0,
        };
        self.whole = self.kept;
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Lost};
    use postern_core::effect::Flow;

    #[test]
    fn content_that_goes_on_is_new_every_time() {
        let mut held = Held::default();
        assert_eq!(held.arrived(5), Ok(0..5));
        held.settle(Flow::Continue);
        assert_eq!(held.arrived(3), Ok(0..3));
    }

    #[test]
    fn kept_content_is_seen_once() {
        let mut held = Held::default();
        assert_eq!(held.arrived(5), Ok(0..5));
        held.settle(Flow::Pause);
        assert_eq!(held.arrived(11), Ok(5..11));
        held.settle(Flow::Pause);
        assert_eq!(held.arrived(11), Ok(11..11));
    }

    #[test]
    fn replaced_and_kept_content_comes_back_in_front() {
        let mut held = Held::default();
        assert_eq!(held.arrived(5), Ok(0..5));
        assert_eq!(held.replaced(7), 5);
        held.settle(Flow::Pause);
        assert_eq!(held.arrived(9), Ok(7..9));
        assert_eq!(held.replaced(0), 9);
        held.settle(Flow::Pause);
        assert_eq!(held.arrived(2), Ok(0..2));
    }

    #[test]
    fn content_kept_for_the_trailers_is_all_replaced_there() {
        let mut held = Held::default();
        assert_eq!(held.arrived(5), Ok(0..5));
        held.settle(Flow::Pause);
        assert_eq!(held.replaced(2), 5);
    }

    #[test]
    fn a_buffer_that_shrank_is_lost() {
        let mut held = Held::default();
        assert_eq!(held.arrived(5), Ok(0..5));
        held.settle(Flow::Pause);
        assert_eq!(held.arrived(4), Err(Lost));
    }
}
