//! The offline verifier: finds the first event that is not as it was written, and names it.
//!
//! Knows no database: it reads an export, a public key and, to see a cut-off end, a
//! checkpoint that was kept apart. Invariant: `good` is said only after every line's
//! signature was checked and its number and predecessor compared, and every line that has bytes
//! was hashed; those without are counted.

use std::io::BufRead;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::{Signature, VerifyingKey};
use postern_core::chain::{START, service_link};

use crate::audit::Link;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::export::{Header, Line};

/// Longest line. The records of a batch have at most 60 KiB; as JSON text a byte takes up to
/// six (`\u0001`), and base64 adds a third to that.
const MAX_LINE: u64 = 1024 * 1024;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Events that are as they were written, from the first on.
    pub good: u64,
    /// Events among them whose bytes were withheld (another tenant's).
    pub withheld: u64,
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
    /// The chain verifies but is not the one the checkpoint was made of.
    #[error("event {n} is not the one the checkpoint was signed over")]
    Forked {
        /// Number in the checkpoint.
        n: u64,
    },
    /// The export could not be read to its end.
    #[error("the export could not be read after event {after}")]
    Unreadable {
        /// Last event read.
        after: u64,
    },
}

/// Verifies an export against `key` and, when given, a checkpoint note.
pub fn verify_export(reader: impl BufRead, key: &VerifyingKey, checkpoint: Option<&str>) -> Report {
    let mut chain = Verifier::new(key);
    let end = chain.run(reader, checkpoint);
    chain.report(end)
}

/// A line whose fields decode, and what its event says of itself.
struct Entry {
    n: u64,
    prev: [u8; 32],
    hash: [u8; 32],
    withheld: bool,
    genuine: bool,
}

impl Entry {
    /// A line that does not decode stands for an event that was changed.
    const UNREADABLE: Self =
        Self { n: 0, prev: START, hash: START, withheld: false, genuine: false };
}

/// The state of a verification: the last good event.
pub(super) struct Verifier<'a> {
    key: &'a VerifyingKey,
    last: Link,
    withheld: u64,
    point: Option<Checkpoint>,
    waiting: Option<Entry>,
}

impl<'a> Verifier<'a> {
    /// Starts before the first event.
    pub(super) fn new(key: &'a VerifyingKey) -> Self {
        let last = Link { n: 0, hash: START };
        Self { key, last, withheld: 0, point: None, waiting: None }
    }

    /// Compares with a checkpoint note too; of several with the one that covers most.
    pub(super) fn against(&mut self, note: &str) -> Result<(), Break> {
        let point = Checkpoint::open(note, self.key).map_err(|_| Break::Checkpoint)?;
        if self.point.is_none_or(|known| known.head.n <= point.head.n) {
            self.point = Some(point);
        }
        Ok(())
    }

    /// Takes the next line; the one before it is judged.
    pub(super) fn line(&mut self, line: Line) -> Result<(), Break> {
        let entry = self.decode(line).unwrap_or(Entry::UNREADABLE);
        self.push(entry)
    }

    /// Judges the last line; `count` events were promised.
    pub(super) fn finish(&mut self, count: u64) -> Result<(), Break> {
        if let Some(entry) = self.waiting.take() {
            self.step(&entry, None)?;
        }
        self.end(count)
    }

    /// What was found so far, with how it ended.
    pub(super) fn report(self, end: Result<(), Break>) -> Report {
        let Link { n: good, hash: head } = self.last;
        Report { good, withheld: self.withheld, head, broken: end.err() }
    }

    fn run(&mut self, reader: impl BufRead, checkpoint: Option<&str>) -> Result<(), Break> {
        let mut lines = Lines { reader };
        let header = lines.next_line().map_err(|()| Break::Header)?.ok_or(Break::Header)?;
        let header = self.header(&header)?;
        let count = decimal(&header.count).ok_or(Break::Header)?;
        if let Some(note) = checkpoint {
            self.against(note)?;
        }
        while let Some(text) =
            lines.next_line().map_err(|()| Break::Unreadable { after: self.last.n })?
        {
            match serde_json::from_str(&text) {
                Ok(line) => self.line(line)?,
                Err(_) => self.push(Entry::UNREADABLE)?,
            }
        }
        self.finish(count)?;
        // Nobody signs the header, but one that was edited says that someone was here.
        let (n, head) = (self.last.n.to_string(), B64.encode(self.last.hash));
        if (header.count, header.head) == (n, head) { Ok(()) } else { Err(Break::Header) }
    }

    fn push(&mut self, entry: Entry) -> Result<(), Break> {
        if let Some(waiting) = self.waiting.take() {
            self.step(&waiting, Some(&entry))?;
        }
        self.waiting = Some(entry);
        Ok(())
    }

    fn header(&self, text: &str) -> Result<Header, Break> {
        let header: Header = serde_json::from_str(text).map_err(|_| Break::Header)?;
        if header.postern_audit != 1 {
            return Err(Break::Header);
        }
        if header.key != B64.encode(self.key.as_bytes()) {
            return Err(Break::OtherKey);
        }
        Ok(header)
    }

    fn decode(&self, line: Line) -> Option<Entry> {
        let n = decimal(&line.n)?;
        let prev: [u8; 32] = B64.decode(line.prev).ok()?.try_into().ok()?;
        let hash: [u8; 32] = B64.decode(line.hash).ok()?.try_into().ok()?;
        let sig = Signature::from_slice(&B64.decode(line.sig).ok()?).ok()?;
        let bytes = match line.bytes {
            None => None,
            Some(text) => Some(B64.decode(text).ok()?),
        };
        let hashed = match &bytes {
            None => true,
            Some(bytes) => service_link(&prev, bytes) == hash && number(bytes) == Some(n),
        };
        let genuine = hashed && self.key.verify_strict(&hash, &sig).is_ok();
        Some(Entry { n, prev, hash, withheld: bytes.is_none(), genuine })
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
        self.last = Link { n: want, hash: entry.hash };
        self.withheld = self.withheld.saturating_add(u64::from(entry.withheld));
        match self.point {
            Some(point) if point.head.n == want && point.head.hash != entry.hash => {
                Err(Break::Forked { n: want })
            }
            _ => Ok(()),
        }
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

    fn end(&self, count: u64) -> Result<(), Break> {
        let promised = self.point.map_or(0, |point| point.head.n).max(count);
        if promised > self.last.n {
            return Err(Break::Truncated { first: self.last.n.saturating_add(1), last: promised });
        }
        Ok(())
    }
}

/// The number an event gives itself.
fn number(bytes: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: String,
    }
    decimal(&serde_json::from_slice::<Numbered>(bytes).ok()?.n)
}

/// A number as it is written: no sign, no zero in front.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|n: &u64| n.to_string() == text)
}

/// Lines with a limit.
struct Lines<R> {
    reader: R,
}

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> Result<Option<String>, ()> {
        let mut line = String::new();
        let read = std::io::Read::take(&mut self.reader, MAX_LINE).read_line(&mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) if line.len() as u64 == MAX_LINE => Err(()),
            Ok(_) => Ok(Some(line)),
            Err(_) => Err(()),
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "vectors.rs"]
mod vectors;
