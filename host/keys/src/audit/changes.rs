//! Every change of a single byte of an export, tried against the verifier.
//!
//! For tests and measurements alone. A change is judged with the verifier as it stood before
//! the line, so that each costs one line and not the whole export. Invariant: the verdict is
//! that of the code that verifies exports; nothing here decides what is genuine.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::VerifyingKey;
use postern_core::chain::{START, service_link};
use postern_core::time::UnixMillis;

use crate::audit::entry::{Entry, Judge};
use crate::audit::export::{Header, Line};
use crate::audit::read::Lines;
use crate::audit::verify::{Verifier, verify_export};
use crate::audit::{AuditLog, Event};

/// A gateway's record of usual size.
const RECORD: &str = r#"{"agent":"triage-bot","attestation":"maa","binding":"5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c","credentials":["slack"],"decide_ms":1,"decision":"allow","decision_id":"000102030405060708090a0b0c0d0e0f","gateway":"101112131415161718191a1b1c1d1e1f","kind":"request","method":"POST","route":"slack","scope_check":"passed","seq":"17","status":200,"tenant":"acme","time":"1795332000000","v":1}"#;

/// Writes an export of `count` events.
///
/// # Errors
/// What `out` has.
pub fn write_export(out: &mut impl Write, log: &AuditLog, count: u64) -> std::io::Result<()> {
    let bytes = |n| {
        let event = Event::new("request", "acme").with("record", RECORD);
        event.bytes(n, UnixMillis(1_795_332_000_000 + n), "maa")
    };
    let head = (1..=count).fold(START, |prev, n| service_link(&prev, &bytes(n)));
    let header = Header {
        postern_audit: 1,
        key: B64.encode(log.public_key().as_bytes()),
        count: count.to_string(),
        head: B64.encode(head),
    };
    writeln!(out, "{}", serde_json::to_string(&header)?)?;
    let mut prev = START;
    for n in 1..=count {
        let bytes = bytes(n);
        let hash = service_link(&prev, &bytes);
        let line = Line {
            n: n.to_string(),
            prev: B64.encode(prev),
            hash: B64.encode(hash),
            sig: B64.encode(log.sign(&hash)),
            bytes: Some(B64.encode(bytes)),
            gone: None,
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        prev = hash;
    }
    Ok(())
}

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Changes.
    pub changes: u64,
    /// Place and new value of each that the verifier did not find.
    pub unseen: Vec<(usize, u8)>,
}

/// The lines of a good export, and the verifier before each.
struct Stages<'a> {
    key: &'a VerifyingKey,
    judge: Judge,
    starts: Vec<usize>,
    before: Vec<Verifier<'a>>,
    entries: Vec<Entry>,
}

impl<'a> Stages<'a> {
    fn of(export: &[u8], key: &'a VerifyingKey) -> Option<Self> {
        let (judge, mut chain) = (Judge::of_many(key), Verifier::new(key));
        let (mut starts, mut before, mut entries) = (vec![0], Vec::new(), Vec::new());
        for line in str::from_utf8(export).ok()?.split_inclusive('\n') {
            before.push(chain.clone());
            let entry = judge.text(line);
            if starts.len() > 1 {
                chain.push(entry).ok()?;
            }
            entries.push(entry);
            starts.push(starts.last()? + line.len());
        }
        chain.finish(entries.len() as u64 - 1).ok()?;
        Some(Self { key, judge, starts, before, entries })
    }

    fn last(&self) -> usize {
        self.entries.len() - 1
    }

    /// Whether the verifier finds that line `index` of `export` is not as it was written.
    fn finds(&self, export: &[u8], index: usize, moved_ends: bool) -> bool {
        if index == 0 {
            return verify_export(export, self.key, None).broken.is_some();
        }
        let mut chain = self.before[index].clone();
        let count = self.last() as u64;
        if moved_ends {
            // As much of what follows as a verdict can need.
            let until = (index + 3).min(self.last() + 1);
            let lines = &export[self.starts[index]..self.starts[until]];
            let judged = chain.events(Lines::new(lines));
            let end = until > self.last();
            let ended = judged.and_then(|()| if end { chain.finish(count) } else { Ok(()) });
            return ended.is_err();
        }
        let line = &export[self.starts[index]..self.starts[index + 1]];
        // The reader of lines refuses what is no text.
        let Ok(line) = str::from_utf8(line) else { return true };
        let judged = chain.push(self.judge.text(line));
        let followed = judged.and_then(|()| match self.entries.get(index + 1) {
            Some(next) => chain.push(*next),
            None => chain.finish(count),
        });
        followed.is_err()
    }
}

/// Tries, at every place of a good export, the values that `others` gives for it; `None` when
/// the export is not good.
pub fn every_byte(
    export: &[u8],
    key: &VerifyingKey,
    others: impl Fn(usize, u8) -> Vec<u8>,
) -> Option<Tried> {
    let stages = Stages::of(export, key)?;
    let (mut export, mut tried) = (export.to_vec(), Tried::default());
    for index in 0..=stages.last() {
        for at in stages.starts[index]..stages.starts[index + 1] {
            let written = export[at];
            for other in others(at, written) {
                export[at] = other;
                tried.changes += 1;
                if !stages.finds(&export, index, written == b'\n' || other == b'\n') {
                    tried.unseen.push((at, other));
                }
            }
            export[at] = written;
        }
    }
    Some(tried)
}
