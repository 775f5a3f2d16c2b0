//! What tells the requests of an instance that another one has done something.
//!
//! A count and no wakers: in the bindings that a component has today, a task cannot wake
//! another one (wit-bindgen 0.57; its feature for that cancels a read which is still in a waitable
//! set, and wasmtime 48 traps), so who waits looks again ten times a second.

use std::cell::Cell;
use std::time::Duration;

/// How often to look.
pub const LOOK: Duration = Duration::from_millis(100);
/// Looks in a second.
pub const LOOKS: usize = 10;

/// Rung when something may have changed for requests that wait.
#[derive(Debug, Default)]
pub struct Bell(Cell<u64>);

impl Bell {
    /// Tells everybody who waits.
    pub fn ring(&self) {
        self.0.set(self.0.get().wrapping_add(1));
    }

    /// How often it rang, to compare with later.
    pub fn rung(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_later_sees_that_it_rang() {
        let bell = Bell::default();
        let before = bell.rung();
        assert_eq!(bell.rung(), before);
        bell.ring();
        assert_ne!(bell.rung(), before);
    }
}
