//! One request and its response, as hosts drive it.

use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::time::UnixMillis;

/// A running pipeline. Total: no event and no order of events makes it panic; an event
/// it does not expect is a denial.
pub trait Stream {
    /// Takes what happened.
    fn handle(&mut self, event: Event, now: UnixMillis);
    /// The next thing to do, oldest first; poll until `None` after every event.
    fn poll(&mut self) -> Option<Effect>;
    /// Whether the part of the last event may go on. After a [`Effect::Reply`] or
    /// [`Effect::Reset`] it stays `Pause`.
    fn flow(&self) -> Flow;
    /// Whether all content of the answer that comes now goes on as it is, whatever it says: it
    /// need not be told, and is not copied then.
    fn passes_answer(&self) -> bool {
        false
    }
}
