//! The offline verifier: finds the first event that is not as it was written, and names it.
//!
//! Knows no database: it reads an export, a public key and, to see a cut-off end or a log
//! written anew, checkpoints that were kept apart. Lines are judged by several threads and
//! put in order here. Invariant: `good` is said only after every line's signature was checked
//! and its number and predecessor compared, every line that has bytes was hashed (those
//! without are counted), and every checkpoint's head and root were found.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::VerifyingKey;
use postern_core::chain::START;

use crate::audit::Link;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::entry::{Entry, decimal, object};
use crate::audit::export::Header;
use crate::audit::merkle::{self, Growing};
use crate::audit::read::{self, Lines};
use crate::audit::removal::Tally;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Events that are as they were written, from the first on.
    pub good: u64,
    /// Events among them whose bytes were withheld (another tenant's).
    pub withheld: u64,
    /// Events among them whose content was taken out, as later events say.
    pub removed: u64,
    /// Hash of the last good event.
    pub head: [u8; 32],
    /// The first break; `None` when everything holds.
    pub broken: Option<Break>,
}

/// How the chain is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// The first line is not a header of this format, or not the one of these events.
    #[error("the export has no valid header")]
    Header,
    /// The header names another key than the one given.
    #[error("the export names another signing key")]
    OtherKey,
    /// Bytes, hash or signature are not those that were written.
    #[error("event {n} was changed")]
    Changed {
        /// Its number.
        n: u64,
    },
    /// Events are missing between two others.
    #[error("event {first} was deleted (events {first} to {last} are missing)")]
    Deleted {
        /// First missing number.
        first: u64,
        /// Last missing number.
        last: u64,
    },
    /// An event stands where the chain has none.
    #[error("an event was inserted before event {n}")]
    Inserted {
        /// Number of the event that belongs there.
        n: u64,
    },
    /// The end is missing.
    #[error("the chain was truncated: events {first} to {last} are missing")]
    Truncated {
        /// First missing number.
        first: u64,
        /// Last missing number.
        last: u64,
    },
    /// The checkpoint does not verify.
    #[error("the checkpoint is not signed by this key")]
    Checkpoint,
    /// The chain verifies but is not the one the checkpoint was made of, by its head or by
    /// the root of its tree.
    #[error("event {n} is not the one the checkpoint was signed over")]
    Forked {
        /// Number in the checkpoint.
        n: u64,
    },
    /// Content is missing that no tombstone names, or is there although one says it is not.
    #[error("event {n} is not as event {tombstone} says of removed content")]
    Removed {
        /// The first event that a wrong tombstone is about.
        n: u64,
        /// The tombstone, or what stands in its place.
        tombstone: u64,
    },
    /// The export could not be read to its end.
    #[error("the export could not be read after event {after}")]
    Unreadable {
        /// Last event read.
        after: u64,
    },
}

/// Verifies an export against `key` and any checkpoint notes there are.
pub fn verify_export<'n>(
    reader: impl BufRead,
    key: &VerifyingKey,
    notes: impl IntoIterator<Item = &'n str>,
) -> Report {
    let mut chain = Verifier::new(key);
    let end = chain.run(reader, notes);
    chain.report(end)
}

/// The state of a verification: the last good event.
#[derive(Clone)]
pub(super) struct Verifier<'a> {
    key: &'a VerifyingKey,
    last: Link,
    withheld: u64,
    removed: u64,
    /// Events without content, by the tombstones that are still to come.
    gone: BTreeMap<u64, Tally>,
    tree: Growing,
    /// Checkpoints that were not reached yet, the smallest first.
    points: VecDeque<Checkpoint>,
    waiting: Option<Entry>,
}

impl<'a> Verifier<'a> {
    /// Starts before the first event.
    pub(super) fn new(key: &'a VerifyingKey) -> Self {
        let (last, tree) = (Link { n: 0, hash: START }, Growing::default());
        let (gone, points) = (BTreeMap::new(), VecDeque::new());
        Self { key, last, withheld: 0, removed: 0, gone, tree, points, waiting: None }
    }

    /// Compares with a checkpoint note too. To be called before the first event.
    pub(super) fn against(&mut self, note: &str) -> Result<(), Break> {
        let point = Checkpoint::open(note, self.key).map_err(|_| Break::Checkpoint)?;
        let at = self.points.partition_point(|known| known.head.n <= point.head.n);
        self.points.insert(at, point);
        Ok(())
    }

    /// Takes the next event; the one before it is judged.
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), Break> {
        if let Some(waiting) = self.waiting.take() {
            self.step(&waiting, Some(&entry))?;
        }
        self.waiting = Some(entry);
        Ok(())
    }

    /// Judges the last event; `count` events were promised.
    pub(super) fn finish(&mut self, count: u64) -> Result<(), Break> {
        if let Some(entry) = self.waiting.take() {
            self.step(&entry, None)?;
        }
        let promised = self.points.back().map_or(0, |point| point.head.n).max(count);
        if promised > self.last.n {
            return Err(Break::Truncated { first: self.last.n.saturating_add(1), last: promised });
        }
        match self.gone.first_key_value() {
            None => Ok(()),
            Some((tombstone, events)) => {
                Err(Break::Removed { n: events.first(), tombstone: *tombstone })
            }
        }
    }

    /// What was found so far, with how it ended.
    pub(super) fn report(self, end: Result<(), Break>) -> Report {
        let Link { n: good, hash: head } = self.last;
        let Self { withheld, removed, .. } = self;
        Report { good, withheld, removed, head, broken: end.err() }
    }

    fn run<'n>(
        &mut self,
        reader: impl BufRead,
        notes: impl IntoIterator<Item = &'n str>,
    ) -> Result<(), Break> {
        let mut lines = Lines::new(reader);
        let header = lines.next_line().map_err(|_| Break::Header)?.ok_or(Break::Header)?;
        let header = self.header(&header)?;
        let count = decimal(&header.count).ok_or(Break::Header)?;
        notes.into_iter().try_for_each(|note| self.against(note))?;
        self.events(lines)?;
        self.finish(count)?;
        // Nobody signs the header, but one that was edited says that someone was here.
        let (n, head) = (self.last.n.to_string(), B64.encode(self.last.hash));
        if (header.count, header.head) == (n, head) { Ok(()) } else { Err(Break::Header) }
    }

    /// Every further line.
    pub(super) fn events(&mut self, lines: Lines<impl BufRead>) -> Result<(), Break> {
        read::judged(self.key, lines, |entry| match entry {
            Ok(entry) => self.push(entry),
            Err(read::Unreadable) => Err(Break::Unreadable { after: self.last.n }),
        })
    }

    fn header(&self, text: &str) -> Result<Header, Break> {
        let text = object(text).ok_or(Break::Header)?;
        let header: Header = serde_json::from_str(text).map_err(|_| Break::Header)?;
        if header.postern_audit != 1 {
            return Err(Break::Header);
        }
        if header.key != B64.encode(self.key.as_bytes()) {
            return Err(Break::OtherKey);
        }
        Ok(header)
    }

    fn step(&mut self, entry: &Entry, next: Option<&Entry>) -> Result<(), Break> {
        let want = self.last.n.saturating_add(1);
        if !entry.genuine {
            return Err(self.explain(want, next));
        }
        if entry.n > want {
            return Err(Break::Deleted { first: want, last: entry.n.saturating_sub(1) });
        }
        if entry.n < want || entry.prev != self.last.hash {
            return Err(Break::Inserted { n: want });
        }
        self.removals(entry)?;
        self.last = Link { n: want, hash: entry.hash };
        self.withheld = self.withheld.saturating_add(u64::from(entry.withheld));
        self.tree.push(merkle::leaf(&entry.hash));
        while let Some(point) = self.points.pop_front_if(|point| point.head.n == want) {
            if (point.head.hash, point.root) != (entry.hash, self.tree.root()) {
                return Err(Break::Forked { n: want });
            }
        }
        Ok(())
    }

    /// Counts an event without content for its tombstone; compares a tombstone with what it is
    /// for.
    fn removals(&mut self, entry: &Entry) -> Result<(), Break> {
        if let Some(tombstone) = entry.gone {
            self.removed = self.removed.saturating_add(1);
            self.gone.entry(tombstone).or_default().push(entry.n, &entry.hash);
        }
        let events = self.gone.remove(&entry.n);
        let first = events.as_ref().map(Tally::first).or(entry.removed.map(|told| told.first));
        if events.map(Tally::removed) == entry.removed {
            return Ok(());
        }
        Err(Break::Removed { n: first.unwrap_or(entry.n), tombstone: entry.n })
    }

    /// A bad line was inserted when the one behind it is the event that belongs here;
    /// otherwise it is that event, changed.
    fn explain(&self, want: u64, next: Option<&Entry>) -> Break {
        match next {
            Some(next) if next.genuine && next.n == want && next.prev == self.last.hash => {
                Break::Inserted { n: want }
            }
            _ => Break::Changed { n: want },
        }
    }
}

#[cfg(test)]
use crate::audit::export::Line;

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "vectors.rs"]
mod vectors;
