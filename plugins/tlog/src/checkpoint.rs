//! Checkpoints (C2SP tlog-checkpoint): how large a log is and the root of its tree.
//!
//! Owns the text, not who has to sign it. Invariant: what [`Checkpoint::parse`] takes is
//! exactly what [`Checkpoint::text`] writes; only [`Checkpoint::parse_extended`], for witnesses
//! of other logs, takes lines of extension.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use crate::decimal;
use crate::merkle::Hash;
use crate::note;

/// The state of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a name that no other log has.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, B64.encode(self.root))
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split_terminator('\n');
        let origin = lines.next().filter(|origin| note::is_name(origin))?.to_owned();
        let size = lines.next().and_then(decimal)?;
        let root = B64.decode(lines.next()?).ok()?.try_into().ok()?;
        let checkpoint = Self { origin, size, root };
        // There is one tree without leaves (RFC 9162, section 2.1.1).
        if size == 0 && root != <[u8; 32]>::from(Sha256::digest([])) {
            return None;
        }
        (checkpoint.text() == text).then_some(checkpoint)
    }

    /// Reads a text that may have lines of extension behind it, which say nothing about the
    /// tree: none is empty.
    pub fn parse_extended(text: &str) -> Option<Self> {
        let end = text.match_indices('\n').nth(2)?.0.checked_add(1)?;
        let (own, extension) = text.split_at_checked(end)?;
        let lines = extension.split_terminator('\n');
        let whole = extension.is_empty() || extension.ends_with('\n');
        let good = whole && lines.clone().all(|line| !line.is_empty());
        Self::parse(own).filter(|_| good)
    }

    /// The note that the log signs; its key has the origin for a name. `None` for an origin
    /// that a note cannot have.
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        note::sign(&self.text(), &self.origin, &[key])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_form_is_read() {
        let point = Checkpoint { origin: "log.example/a".into(), size: 7, root: [5; 32] };
        let text = point.text();
        assert_eq!(Checkpoint::parse(&text), Some(point));
        for bad in [
            text.replace("\n7\n", "\n07\n"),
            text.replace("\n7\n", "\n+7\n"),
            text.replace("\n7\n", "\n-7\n"),
            text.replace("log.example/a", "log example"),
            text.replace("log.example/a", ""),
            text.replace("BQU=\n", "BQV=\n"),
            text.trim_end().to_owned(),
            format!("{text}extension\n"),
            format!("{text}\n"),
            String::new(),
        ] {
            assert_eq!(Checkpoint::parse(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_witness_reads_what_stands_before_the_extension() {
        let point = Checkpoint { origin: "log.example/a".into(), size: 7, root: [5; 32] };
        let text = point.text();
        for good in ["", "head x\n", "head x\ntime 7\n"] {
            let read = Checkpoint::parse_extended(&format!("{text}{good}"));
            assert_eq!(read, Some(point.clone()), "{good:?}");
        }
        for bad in ["head x", "\n", "head x\n\n", "\nhead x\n"] {
            assert_eq!(Checkpoint::parse_extended(&format!("{text}{bad}")), None, "{bad:?}");
        }
        assert_eq!(Checkpoint::parse_extended(&text.replace("\n7\n", "\n07\n")), None);
    }
}
