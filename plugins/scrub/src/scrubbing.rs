//! Makes scrubbers, and keeps what spares a stream the building of an automaton.
//!
//! Invariant: at most [`CACHED`] automata live here, and no more of them than fit in
//! [`KEPT`] bytes. They are in the one VM that holds secrets anyway, and are wiped when
//! they go.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use postern_core::inject::{InPlay, Keep};
use postern_core::scrubbing::{Detector, Known, Scan, Scrubber, Scrubbing};

use crate::automaton::Automaton;
use crate::coding::{Look as _, Room};
use crate::forms;
use crate::views::{Searches, Sets};
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

    /// The automaton for these secrets, compiled at most once while it is cached. The longest
    /// unused makes room.
    fn automaton<S: Borrow<InPlay>>(&self, secrets: &[S]) -> Option<Rc<Automaton>> {
        let key = forms::digest(secrets);
        let mut cache = self.cache.try_borrow_mut().ok()?;
        if let Some(at) = cache.iter().rposition(|(known, _)| *known == key) {
            let found = cache.remove(at)?;
            let automaton = Rc::clone(&found.1);
            cache.push_back(found);
            return Some(automaton);
        }
        let made = compiled(secrets)?;
        cache.push_back((key, Rc::clone(&made)));
        let size = |cache: &VecDeque<(_, Rc<Automaton>)>| -> usize {
            cache.iter().map(|(_, kept)| kept.size()).sum()
        };
        while cache.len() > CACHED || (cache.len() > 1 && size(&cache) > self.kept) {
            cache.pop_front();
        }
        Some(made)
    }

    /// Two sets at most: what requests to come may carry as well, and what only this one does
    /// (a signature), which must not cost the compiling of the others.
    fn ready<S: Borrow<InPlay>>(&self, secrets: &[S]) -> Ready {
        let (once, kept): (Vec<&InPlay>, Vec<&InPlay>) =
            secrets.iter().map(Borrow::borrow).partition(|it| it.keep == Keep::Request);
        let kept = (!kept.is_empty()).then(|| self.automaton(&kept));
        let once = (!once.is_empty()).then(|| compiled(&once));
        Ready { sets: kept.into_iter().chain(once).collect(), room: self.room.clone() }
    }

    /// A scrubber for one answer.
    pub fn scrubber(&self, secrets: &[impl Borrow<InPlay>]) -> Box<dyn Scrubber> {
        self.ready(secrets).scrubber()
    }
}

impl Scrubbing for PatternScrubbing {
    fn known(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Known> {
        Rc::new(self.ready(secrets))
    }

    fn guard(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Detector> {
        let sets = Automaton::new(&forms::wholes(secrets)).map(|set| [Rc::new(set)].into());
        Rc::new(Ready { sets, room: self.room.clone() })
    }
}

fn compiled(secrets: &[impl Borrow<InPlay>]) -> Option<Rc<Automaton>> {
    Automaton::new(&forms::patterns(secrets)).map(Rc::new)
}

/// Compiled sets; `None` when one could not be made.
struct Ready {
    sets: Option<Sets>,
    room: Room,
}

impl Known for Ready {
    fn scrubber(&self) -> Box<dyn Scrubber> {
        match &self.sets {
            Some(sets) => Box::new(Window::new(Rc::clone(sets), self.room.clone())),
            // What cannot be looked for cannot be told from the rest.
            None => Box::new(Withheld::default()),
        }
    }
}

impl Detector for Ready {
    fn scan(&self) -> Box<dyn Scan> {
        match &self.sets {
            Some(sets) => Box::new(Sighting(Searches::new(sets))),
            None => Box::new(Withheld::default()),
        }
    }
}

/// Whether any pattern is there.
struct Sighting(Searches);

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

    /// A signature is another one with each request, and is found beside what is kept.
    #[test]
    fn what_one_request_alone_carries_does_not_compile_the_others_again() {
        let of = |text: &str, keep| {
            let value = || Secret::new(text.as_bytes().to_vec());
            InPlay { value: value(), rendered: value(), keep }
        };
        let scrubbing = PatternScrubbing::new();
        for number in 0..3 {
            let once = format!("signature-{number}-of-a-request");
            let kept = || ["first-secret-value", "other-secret-value"];
            let mut names: Vec<&str> = kept().into();
            names.rotate_left(number & 1);
            let mut all: Vec<InPlay> = names.iter().map(|it| of(it, Keep::Worker)).collect();
            all.push(of(&once, Keep::Request));
            let mut scrubber = scrubbing.scrubber(&all);
            let body = [kept()[0], &once, kept()[1]].join(" ; ");
            let out = scrubber.chunk(body.as_bytes(), true).unwrap().replace.unwrap();
            assert_eq!(out, b"[REDACTED] ; [REDACTED] ; [REDACTED]");
            assert_eq!(scrubbing.cache.borrow().len(), 1, "what is kept is one set");
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
