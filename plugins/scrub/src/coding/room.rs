//! The memory that decoders may take for their windows, all streams of a VM together.
//!
//! Invariant: what is taken comes back when the decoder is dropped.

use std::cell::Cell;
use std::rc::Rc;

use postern_core::denial::Unscannable;

/// All windows together. A VM that outgrows its limit is ended with every stream in it,
/// so one stream too many is refused instead.
const MOST: usize = 96 * 1024 * 1024;

/// What is left.
#[derive(Clone)]
pub(crate) struct Room(Rc<Cell<usize>>);

impl Default for Room {
    fn default() -> Self {
        Self(Rc::new(Cell::new(MOST)))
    }
}

impl Room {
    /// Takes `bytes` for as long as the lease lives.
    pub(super) fn take(&self, bytes: usize) -> Result<Lease, Unscannable> {
        let left = self.0.get().checked_sub(bytes).ok_or(Unscannable::Crowded)?;
        self.0.set(left);
        Ok(Lease { room: self.clone(), bytes })
    }
}

/// Memory that was taken.
pub(super) struct Lease {
    room: Room,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.0.set(self.room.0.get().saturating_add(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Room};
    use postern_core::denial::Unscannable;

    #[test]
    fn what_is_taken_is_not_there_twice_and_comes_back() {
        let room = Room::default();
        let first = room.take(MOST).unwrap();
        assert_eq!(room.take(1).err(), Some(Unscannable::Crowded));
        drop(first);
        assert!(room.take(MOST).is_ok());
    }
}
