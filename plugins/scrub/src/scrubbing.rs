//! Makes scrubbers, and keeps what spares a stream the building of an automaton.
//!
//! Invariant: at most [`CACHED`] automata live here, and no more of them than fit in
//! [`KEPT`] bytes. They are in the one VM that holds secrets anyway, and are wiped when
//! they go.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use postern_core::inject::InPlay;
use postern_core::scrubbing::{Detector, Known, Scan, Scrubber, Scrubbing};

use crate::automaton::Automaton;
use crate::coding::{Look as _, Room};
use crate::forms;
use crate::views::Search;
use crate::window::{Window, Withheld};

/// How many automata are kept: as many as credentials are. One is needed per set in use.
pub const CACHED: usize = 256;

/// How many bytes of automata are kept beside the newest. One for a token of 2 KiB takes
/// a few MiB, and a proxy ends a VM that has grown too large.
pub const KEPT: usize = 32 * 1024 * 1024;

/// Makes scrubbers; keeps the automata of the last sets of secrets.
pub struct PatternScrubbing {
    cache: RefCell<VecDeque<([u8; 32], Rc<Automaton>)>>,
    /// [`KEPT`].
    kept: usize,
    /// Memory for the windows of decoders.
    room: Room,
}

impl Default for PatternScrubbing {
    fn default() -> Self {
        Self { cache: RefCell::default(), kept: KEPT, room: Room::default() }
    }
}

impl PatternScrubbing {
    /// With an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The automaton for these secrets, compiled at most once while it is cached.
    fn automaton(&self, secrets: &[impl Borrow<InPlay>]) -> Option<Rc<Automaton>> {
        let key = forms::digest(secrets);
        let mut cache = self.cache.try_borrow_mut().ok()?;
        if let Some((_, found)) = cache.iter().find(|(k, _)| *k == key) {
            return Some(Rc::clone(found));
        }
        let made = Rc::new(Automaton::new(&forms::patterns(secrets))?);
        cache.push_back((key, Rc::clone(&made)));
        let size = |cache: &VecDeque<(_, Rc<Automaton>)>| -> usize {
            cache.iter().map(|(_, kept)| kept.size()).sum()
        };
        while cache.len() > CACHED || (cache.len() > 1 && size(&cache) > self.kept) {
            cache.pop_front();
        }
        Some(made)
    }

    /// A scrubber for one answer.
    pub fn scrubber(&self, secrets: &[impl Borrow<InPlay>]) -> Box<dyn Scrubber> {
        Ready { automaton: self.automaton(secrets), room: self.room.clone() }.scrubber()
    }
}

impl Scrubbing for PatternScrubbing {
    fn known(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Known> {
        Rc::new(Ready { automaton: self.automaton(secrets), room: self.room.clone() })
    }

    fn guard(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Detector> {
        let automaton = Automaton::new(&forms::wholes(secrets)).map(Rc::new);
        Rc::new(Ready { automaton, room: self.room.clone() })
    }
}

/// A compiled set; `None` when none could be made.
struct Ready {
    automaton: Option<Rc<Automaton>>,
    room: Room,
}

impl Known for Ready {
    fn scrubber(&self) -> Box<dyn Scrubber> {
        match &self.automaton {
            Some(automaton) => Box::new(Window::new(Rc::clone(automaton), self.room.clone())),
            // What cannot be looked for cannot be told from the rest.
            None => Box::new(Withheld::default()),
        }
    }
}

impl Detector for Ready {
    fn scan(&self) -> Box<dyn Scan> {
        match &self.automaton {
            Some(automaton) => Box::new(Sighting(Search::new(Rc::clone(automaton)))),
            None => Box::new(Withheld::default()),
        }
    }
}

/// Whether any pattern is there.
struct Sighting(Search);

impl Scan for Sighting {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.0.look(bytes)
    }

    fn finish(&mut self) -> bool {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use postern_core::inject::{InPlay, Keep};
    use postern_core::secret::Secret;

    use super::{PatternScrubbing, VecDeque};

    #[test]
    fn a_guard_for_as_much_as_is_guarded_takes_some_mebibytes() {
        for (count, length) in [(64, 40), (64, 128), (4, 2048)] {
            let value = |number: usize| Secret::new(format!("{number:0length$}").into_bytes());
            let of = |number| InPlay {
                value: value(number),
                rendered: value(number),
                keep: Keep::Worker,
            };
            let secrets: Vec<InPlay> = (0..count).map(of).collect();
            let automaton = super::Automaton::new(&crate::forms::wholes(&secrets)).unwrap();
            let size = automaton.size();
            assert!(size < 12 * 1024 * 1024, "{count} of {length} bytes: {size}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound_in_bytes_and_holds_the_newest() {
        let kept = 256 * 1024;
        let scrubbing = PatternScrubbing { kept, ..PatternScrubbing::new() };
        for (number, length) in (0..12).zip([[200; 11].as_slice(), &[1500]].concat()) {
            let value = || Secret::new(format!("{number:0length$}").into_bytes());
            let secrets = [InPlay { value: value(), rendered: value(), keep: Keep::Worker }];
            let _ = scrubbing.scrubber(&secrets);
            let cache: &VecDeque<_> = &scrubbing.cache.borrow();
            let bytes: usize = cache.iter().map(|(_, kept)| kept.size()).sum();
            assert!(bytes <= kept || cache.len() == 1, "{bytes} bytes after {number}");
            assert_eq!(cache.back().map(|(key, _)| *key), Some(crate::forms::digest(&secrets)));
        }
    }
}
