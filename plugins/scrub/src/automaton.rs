//! The compiled pattern set, and the cache that spares a stream the building of it.
//!
//! Contiguous Aho-Corasick automaton with every match reported, not only the leftmost
//! longest: the scrubber covers the union of all matches, so that of two overlapping
//! secrets no end sticks out.
//!
//! Invariant: at most [`CACHED`] automata live here, and no more of them than fit in
//! [`KEPT`] bytes. Their memory holds spellings of secrets and is not wiped when freed
//! (the crate gives no access to it); the cache is bounded instead, and lives in the one
//! VM that holds secrets anyway.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use postern_core::inject::InPlay;
use postern_core::scrubbing::{Detector, Known, Scan, Scrubber, Scrubbing};

use crate::coding::{Look as _, Room};
use crate::forms::{self, Pattern};
use crate::views::Search;
use crate::window::{Window, Withheld};

/// How many automata are kept. One is needed per set of credentials in use.
pub const CACHED: usize = 64;

/// How many bytes of automata are kept beside the newest. One for a token of 2 KiB takes
/// a few MiB, and a proxy ends a VM that has grown too large.
pub const KEPT: usize = 32 * 1024 * 1024;

/// Finds every pattern; knows at each position how much of one may still be open.
pub struct Automaton {
    nfa: NFA,
    start: StateID,
    /// For each state but the start, how many bytes of a pattern are open there.
    open: BTreeMap<StateID, usize>,
    first: [bool; 256],
    /// Length of the longest pattern.
    most: usize,
}

impl Automaton {
    /// Compiles `patterns`; `None` when they are too many or too long.
    pub fn new(patterns: &[Pattern]) -> Option<Self> {
        let nfa = NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(patterns.iter().map(|p| p.as_slice()))
            .ok()?;
        let start = nfa.start_state(Anchored::No).ok()?;
        let mut made = Self { nfa, start, open: BTreeMap::new(), first: [false; 256], most: 0 };
        for pattern in patterns {
            made.most = made.most.max(pattern.len());
            if let Some(slot) = pattern.first().and_then(|b| made.first.get_mut(usize::from(*b))) {
                *slot = true;
            }
            made.note_prefixes(pattern);
        }
        let mut shortest_first: Vec<&[u8]> = patterns.iter().map(|p| p.as_slice()).collect();
        shortest_first.sort_unstable_by_key(|pattern| pattern.len());
        for pattern in shortest_first {
            made.note_end(pattern);
        }
        Some(made)
    }

    /// Following a pattern from the start, each state is the one whose longest live
    /// prefix is exactly what was read.
    fn note_prefixes(&mut self, pattern: &[u8]) {
        let mut state = self.start;
        for (at, &byte) in (0_usize..).zip(pattern) {
            if at > 0 {
                self.open.insert(state, at);
            }
            state = self.nfa.next_state(Anchored::No, state, byte);
        }
    }

    /// Behind a whole pattern that no other continues, what is open is what is open
    /// behind the pattern less its first byte; shorter patterns are noted already.
    fn note_end(&mut self, pattern: &[u8]) {
        let state = self.follow(pattern);
        let shorter = self.follow(pattern.get(1..).unwrap_or_default());
        if !self.open.contains_key(&state)
            && let Some(&live) = self.open.get(&shorter)
        {
            self.open.insert(state, live);
        }
    }

    fn follow(&self, bytes: &[u8]) -> StateID {
        bytes.iter().fold(self.start, |state, &b| self.nfa.next_state(Anchored::No, state, b))
    }

    /// The state in which nothing is open.
    pub fn start(&self) -> StateID {
        self.start
    }

    /// The state after one more byte.
    pub(crate) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.nfa.next_state(Anchored::No, state, byte)
    }

    /// Whether patterns end in `state`.
    pub(crate) fn is_match(&self, state: StateID) -> bool {
        self.nfa.is_match(state)
    }

    /// Length of the longest pattern there is.
    pub(crate) fn longest_pattern(&self) -> usize {
        self.most
    }

    /// Length of the longest suffix read that is a proper prefix of some pattern.
    pub fn live(&self, state: StateID) -> usize {
        self.open.get(&state).copied().unwrap_or(0)
    }

    /// Whether some pattern begins with `byte`.
    pub(crate) fn begins(&self, byte: u8) -> bool {
        self.first.get(usize::from(byte)).copied().unwrap_or(true)
    }

    /// About how many bytes it takes.
    fn size(&self) -> usize {
        let entry = size_of::<(StateID, usize)>().saturating_mul(2);
        self.nfa.memory_usage().saturating_add(self.open.len().saturating_mul(entry))
    }

    /// Length of the longest pattern that ends in `state`.
    pub(crate) fn longest(&self, state: StateID) -> usize {
        (0..self.nfa.match_len(state))
            .map(|i| self.nfa.pattern_len(self.nfa.match_pattern(state, i)))
            .max()
            .unwrap_or(0)
    }
}

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
            println!("{count} x {length}: {size}");
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
