//! Signed checkpoints: what shows that the end of the log was cut off, or that the log was
//! written anew.
//!
//! A checkpoint is a C2SP tlog-checkpoint, a signed note, with two lines more:
//! ```text
//! postern-audit
//! 300
//! <base64 of the root over the first 300 events>
//! head <base64 of the 32-byte hash of event 300>
//! time 1795332000000
//!
//! — postern-audit <base64(key id(4) || Ed25519 signature(64))>
//! ```
//! Owns that text and its signature. Invariant: [`Checkpoint::open`] returns only what the
//! key signed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use ed25519_dalek::VerifyingKey;
use postern_attest::note::{self, Key};
use postern_core::time::UnixMillis;
use postern_tlog::cosignature::Witness;

use crate::audit::merkle::Hash;
use crate::audit::{AuditLog, Link};

/// The log's origin, and the name of its key.
pub const ORIGIN: &str = "postern-audit";
/// A checkpoint is due after this many events, unless there was one just now: each is a
/// synced file, and thousands of events a second need no more than one of them.
pub const EVERY_EVENTS: u64 = 100;
/// Least time between two checkpoints.
pub const LEAST_MILLIS: u64 = 1_000;
/// Or, when there is any new event, after this long.
pub const EVERY_MILLIS: u64 = 60_000;

/// The head of the chain and the tree over it at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number and hash of the last event.
    pub head: Link,
    /// Root of the tree over the events up to it.
    pub root: Hash,
    /// When it was signed.
    pub at: UnixMillis,
}

/// The note is not a checkpoint that this key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint is not signed by this key")]
pub struct NotSigned;

impl Checkpoint {
    /// Whether a new one is due after `last`, with the chain at `head`.
    pub fn due(last: Option<(u64, UnixMillis)>, head: Link, now: UnixMillis) -> bool {
        let (count, at) = last.unwrap_or((0, UnixMillis(0)));
        let new = head.n.saturating_sub(count);
        // A clock that went back must not put the next one off.
        let since = now.0.abs_diff(at.0);
        (new >= EVERY_EVENTS && since >= LEAST_MILLIS) || (new > 0 && since >= EVERY_MILLIS)
    }

    /// Whether enough time has gone by since `last` for another, however many events there are.
    pub fn may_be_due(last: UnixMillis, now: UnixMillis) -> bool {
        now.0.abs_diff(last.0) >= LEAST_MILLIS
    }

    /// The signed note.
    pub fn sign(&self, log: &AuditLog) -> String {
        log.note(&self.text(), ORIGIN)
    }

    fn text(&self) -> String {
        let [root, head] = [self.root, self.head.hash].map(|hash| B64.encode(hash));
        format!("{ORIGIN}\n{}\n{root}\nhead {head}\ntime {}\n", self.head.n, self.at.0)
    }

    /// Reads a note. Signatures of other keys are ignored, as the note format asks; a bad
    /// one in this key's name refuses the note.
    ///
    /// # Errors
    /// [`NotSigned`] for any other text.
    pub fn open(note: &str, key: &VerifyingKey) -> Result<Self, NotSigned> {
        let key = Key::new(ORIGIN, key.as_bytes()).ok_or(NotSigned)?;
        let text = note::open(note, &[key]).map_err(|_| NotSigned)?;
        parse(text).filter(|checkpoint| checkpoint.text() == text).ok_or(NotSigned)
    }
}

/// Which of these witnesses have signed a note, and when (seconds since 1970, the latest).
///
/// # Errors
/// The name of one whose signature does not hold.
pub fn seen_by(note: &str, witnesses: &[Witness]) -> Result<Vec<(String, u64)>, String> {
    let Some((text, lines)) = note::parts(note) else { return Ok(Vec::new()) };
    let mut seen = Vec::new();
    for witness in witnesses {
        let mut latest = None;
        for line in &lines {
            let time = witness.time(line, text).map_err(|_| witness.name().to_owned())?;
            latest = latest.max(time);
        }
        seen.extend(latest.map(|time| (witness.name().to_owned(), time)));
    }
    Ok(seen)
}

fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    lines.next().filter(|line| *line == ORIGIN)?;
    let n = lines.next()?.parse().ok().filter(|n| *n > 0)?;
    let root = B64.decode(lines.next()?).ok()?.try_into().ok()?;
    let hash = B64.decode(lines.next()?.strip_prefix("head ")?).ok()?.try_into().ok()?;
    let at = UnixMillis(lines.next()?.strip_prefix("time ")?.parse().ok()?);
    Some(Checkpoint { head: Link { n, hash }, root, at })
}

#[cfg(test)]
mod tests {
    use postern_core::secret::Secret;

    use super::*;

    fn log(seed: u8) -> AuditLog {
        AuditLog::new(&Secret::new(vec![seed; 32]), "simulated").unwrap()
    }

    const POINT: Checkpoint =
        Checkpoint { head: Link { n: 300, hash: [7; 32] }, root: [8; 32], at: UnixMillis(1000) };

    #[test]
    fn a_signed_note_opens_under_its_key_alone() {
        let note = POINT.sign(&log(1));
        assert_eq!(Checkpoint::open(&note, &log(1).public_key()), Ok(POINT));
        assert_eq!(Checkpoint::open(&note, &log(2).public_key()), Err(NotSigned));
    }

    #[test]
    fn any_changed_character_of_the_text_refuses_the_note() {
        let note = POINT.sign(&log(1));
        let key = log(1).public_key();
        for (from, to) in
            [("300", "200"), ("time 1000", "time 1001"), ("CAgI", "CAgJ"), ("\n\n", "\n")]
        {
            assert_eq!(
                Checkpoint::open(&note.replacen(from, to, 1), &key),
                Err(NotSigned),
                "{from}"
            );
        }
    }

    #[test]
    fn witnesses_that_have_signed_are_told_with_their_time_and_a_forged_line_is_named() {
        let (key, name) = (ed25519_dalek::SigningKey::from_bytes(&[7; 32]), "w.example");
        let witness = Witness::new(name, key.verifying_key().as_bytes()).unwrap();
        let note = POINT.sign(&log(1));
        let cosigned = |text: &str, time| {
            let line = postern_tlog::cosignature::sign(text, time, name, &key).unwrap();
            format!("{note}{line}")
        };
        let both = [witness];
        assert_eq!(seen_by(&note, &both), Ok(vec![]));
        assert_eq!(seen_by(&cosigned(&POINT.text(), 77), &both), Ok(vec![(name.to_owned(), 77)]));
        assert_eq!(seen_by(&cosigned("x\n", 77), &both), Err(name.to_owned()));
        assert_eq!(Checkpoint::open(&cosigned("x\n", 77), &log(1).public_key()), Ok(POINT));
    }

    #[test]
    fn due_after_a_hundred_events_and_a_second_or_a_minute_with_any() {
        let head = |n| Link { n, hash: [0; 32] };
        let last = Some((100, UnixMillis(1_000_000)));
        let due = |n, now| Checkpoint::due(last, head(n), UnixMillis(now));
        assert_eq!((due(199, 1_001_000), due(200, 1_001_000)), (false, true));
        assert!(!due(9_999, 1_000_999), "one a second is enough");
        assert_eq!((due(101, 1_060_000), due(100, 1_060_000)), (true, false));
    }
}
