//! Several sets of patterns, looked for in the same content.
//!
//! What a session keeps is compiled once for many requests; what one request alone carries
//! is a small set of its own, so that it does not cost the compiling of all the others.
//!
//! Invariant: what is found is what each set alone would find.

use std::rc::Rc;

use super::{Hit, Search};
use crate::automaton::Automaton;
use crate::coding::{Begin, Growth, Look};

/// Compiled sets of patterns.
pub(crate) type Sets = Rc<[Rc<Automaton>]>;

/// Looks for all of them in one content.
pub(crate) struct Searches(Vec<Search>);

impl Searches {
    pub(crate) fn new(sets: &Sets) -> Self {
        Self(sets.iter().map(|set| Search::new(Rc::clone(set))).collect())
    }

    /// Reads on.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|search| search.read(bytes));
    }

    /// Nothing follows.
    pub(crate) fn finish(&mut self) {
        self.0.iter_mut().for_each(Search::finish);
    }

    /// Whether something was found that was not taken yet.
    pub(crate) fn found(&self) -> bool {
        self.0.iter().any(|search| !search.hits().is_empty())
    }

    /// Takes what was found.
    pub(crate) fn drain_hits(&mut self) -> impl Iterator<Item = Hit> {
        self.0.iter_mut().flat_map(|search| search.drain_hits())
    }

    /// How many of the last bytes may belong to something that is not complete.
    pub(crate) fn open(&self) -> u64 {
        self.0.iter().map(Search::open).max().unwrap_or(0)
    }
}

impl Begin for Sets {
    type Look = Searches;

    const GROWTH: Growth = Growth::ANSWER;

    fn begin(&self) -> Searches {
        Searches::new(self)
    }
}

impl Look for Searches {
    fn look(&mut self, bytes: &[u8]) -> bool {
        self.read(bytes);
        self.found()
    }

    fn end(&mut self) -> bool {
        self.finish();
        self.found()
    }

    fn open(&self) -> u64 {
        Self::open(self)
    }
}
