//! Information barriers: which sections of an answer a caller may see.
//!
//! Owns what a framework is (levels in order), where the sections of a document stand and
//! which member of a section holds its tags, and the filter that removes what a caller is
//! not cleared for while the answer streams. It knows nothing of requests and hosts.
//!
//! Invariant: a section leaves only after every tag that its rule names was read and found
//! to be the caller's: a tag that is missing, unknown, or no string removes the section.

mod filter;
#[cfg(feature = "fuzz")]
mod fuzz;
mod lexer;
mod pointer;

pub use filter::{Filter, MOST_DEPTH, MOST_NAMES};
#[cfg(feature = "fuzz")]
pub use fuzz::fuzz_barrier;
pub use pointer::Pointer;

/// Levels of one classification framework, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framework(Vec<String>);

/// A level by its place in the framework: the higher, the more is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(usize);

impl Framework {
    /// Levels in order, lowest first; the caller has checked that each is there once.
    pub(crate) fn new(levels: Vec<String>) -> Self {
        Self(levels)
    }

    /// The level of this name.
    pub fn level(&self, name: &str) -> Option<Level> {
        self.0.iter().position(|level| level == name).map(Level)
    }

    /// The level of this number, as capability tokens have it: 1 is the lowest.
    pub fn numbered(&self, number: usize) -> Option<Level> {
        let place = number.checked_sub(1)?;
        (place < self.0.len()).then_some(Level(place))
    }
}

/// Where sections stand, and the members that hold their tags. At least one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where in the document.
    pub at: Pointer,
    /// Member of the section that names its level.
    pub level: Option<String>,
    /// Member of the section that names the organisation it belongs to.
    pub organisation: Option<String>,
}

/// For whom an answer is filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The highest level that may be seen; `None` for none at all.
    pub clearance: Option<Level>,
    /// The organisation whose sections may be seen; an empty name is nobody's.
    pub organisation: String,
}

/// Why an answer cannot be filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no JSON (RFC 8259), or not whole.
    Form,
    /// An object has a name twice.
    Twice,
    /// Deeper, or with more or longer names, than is kept.
    Size,
    /// More of a section came before its tags than is held.
    Held,
}

#[cfg(test)]
mod tests;
