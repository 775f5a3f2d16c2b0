//! Checkpoints (C2SP tlog-checkpoint): how large a log is and the root of its tree.
//!
//! Owns the text, not who has to sign it. Invariant: what [`Checkpoint::parse`] takes is
//! exactly what [`Checkpoint::text`] writes; lines of extension are refused.

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
}
