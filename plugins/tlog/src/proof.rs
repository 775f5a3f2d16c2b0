//! A proof that stands alone (C2SP tlog-proof): a leaf, where it is in the tree, and the
//! signed checkpoint of that tree.
//!
//! Owns the text; [`crate::policy`] says whose checkpoints count. Invariant:
//! [`Proof::parse`] takes exactly what [`Proof::text`] writes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;

use crate::merkle::{self, Hash};
use crate::{decimal, hashes, lines, note};

const HEADING: &str = "c2sp.org/tlog-proof@v1";
/// Most bytes of a leaf.
pub const LEAF: usize = 4 << 10;
/// Most bytes of a proof: a leaf in base64, its hashes, a note.
pub const LENGTH: usize = 3 * note::LENGTH;

/// That a leaf is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// Its number, from 0.
    pub index: u64,
    /// The hashes beside its way to the root.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

impl Proof {
    /// The text.
    pub fn text(&self) -> String {
        let (leaf, index, path) = (B64.encode(&self.leaf), self.index, lines(&self.path));
        format!("{HEADING}\nextra {leaf}\nindex {index}\n{path}\n{}", self.note)
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, note) = Some(text).filter(|text| text.len() <= LENGTH)?.split_once("\n\n")?;
        let mut words = head.split('\n');
        words.next().filter(|line| *line == HEADING)?;
        let leaf = B64.decode(words.next()?.strip_prefix("extra ")?).ok()?;
        let index = words.next()?.strip_prefix("index ").and_then(decimal)?;
        let proof = Self { leaf, index, path: hashes(words)?, note: note.to_owned() };
        (proof.leaf.len() <= LEAF && proof.text() == text).then_some(proof)
    }

    /// The root of a tree of this size that has the leaf where the proof says.
    pub fn root(&self, size: u64) -> Option<Hash> {
        merkle::root_of_inclusion(self.index, size, merkle::leaf(&self.leaf), &self.path)
    }
}
