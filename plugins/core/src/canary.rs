//! The mark by which the credential module knows the gate's canary, and the proof by which the
//! gate knows that its answer came from the upstream.
//!
//! A canary is sent to the cluster of its binding, whose filters it passes like any request,
//! but nobody has called, so there is no permit. What it carries instead is a mark under the
//! key of the permits. The credential module takes the mark off, lets exactly the binding's
//! canary request pass, and sets a proof on the answer; what the proxy itself answers has none.
//!
//! A mark can be used again while it lives: for another canary, with nothing secret in it. It
//! never leaves the proxy.
//!
//! Invariant: only holders of the permit key make a mark or a proof, and each under a label of
//! its own; a proof is for one mark.

use std::time::Duration;

use crate::hex;
use crate::mac::LENGTH;
use crate::permit::PermitKeys;
use crate::time::UnixMillis;

/// Field of the mark in the canary, and of the proof in its answer. No caller's line of it
/// passes the gate, and no upstream's line is believed.
pub const MARK: &str = "x-postern-canary";

/// How long a mark holds.
const LIFE: Duration = Duration::from_secs(10);
/// How far ahead the clock of the gate's callback may be.
const SKEW: Duration = Duration::from_secs(1);
const MARK_LABEL: &[u8] = b"postern canary/1\0";
const PROOF_LABEL: &[u8] = b"postern canary answer/1\0";
/// `nonce(32) expires(16) binding(64)`, in hexadecimal digits.
const DIGITS: usize = 112;

/// What a canary has shown, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Its value did not come back.
    Clean,
    /// Nobody can tell: no answer of the upstream's, or none that could be read.
    Unknown,
    /// Its value came back.
    Reflective,
}

impl Verdict {
    const ALL: [Self; 3] = [Self::Clean, Self::Unknown, Self::Reflective];

    /// The word in the audit record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Unknown => "unknown",
            Self::Reflective => "reflective",
        }
    }

    /// The verdict of this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}

/// What one canary is marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    nonce: [u8; 16],
    expires: UnixMillis,
    binding: [u8; 32],
}

impl Mark {
    /// A mark for the canary of the binding with this hash. The nonce is fresh.
    pub fn new(nonce: [u8; 16], binding: [u8; 32], now: UnixMillis) -> Self {
        Self { nonce, expires: now.after(LIFE), binding }
    }

    /// Hash of the binding whose canary it is.
    pub fn binding(&self) -> [u8; 32] {
        self.binding
    }

    /// The field's value.
    pub fn seal(&self, keys: &PermitKeys) -> String {
        let text = self.text();
        let mac = keys.macs().sign(MARK_LABEL, &[text.as_bytes()]);
        text + &hex::lower(&mac)
    }

    /// Reads a field's value; `None` unless it is authentic and holds now.
    pub fn open(keys: &PermitKeys, value: &[u8], now: UnixMillis) -> Option<Self> {
        let (text, mac) = value.split_at_checked(DIGITS)?;
        let mac: [u8; LENGTH] = hex::read(mac)?;
        if !keys.macs().verify(MARK_LABEL, &[text], &mac) {
            return None;
        }
        let (nonce, rest) = text.split_at_checked(32)?;
        let (expires, binding) = rest.split_at_checked(16)?;
        let expires = UnixMillis(u64::from_be_bytes(hex::read(expires)?));
        let holds = now < expires && expires <= now.after(LIFE).after(SKEW);
        let (nonce, binding) = (hex::read(nonce)?, hex::read(binding)?);
        holds.then_some(Self { nonce, expires, binding })
    }

    /// The value of the answer's field.
    pub fn prove(&self, keys: &PermitKeys) -> String {
        hex::lower(&keys.macs().sign(PROOF_LABEL, &[self.text().as_bytes()]))
    }

    /// Whether the answer to this canary came through the credential module.
    pub fn is_proved(&self, keys: &PermitKeys, value: &[u8]) -> bool {
        let mac: Option<[u8; LENGTH]> = hex::read(value);
        mac.is_some_and(|mac| keys.macs().verify(PROOF_LABEL, &[self.text().as_bytes()], &mac))
    }

    fn text(&self) -> String {
        let expires = self.expires.0.to_be_bytes();
        hex::lower(&[self.nonce.as_slice(), &expires, &self.binding].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::MacKeys;
    use crate::secret::Secret;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn keys(byte: u8) -> PermitKeys {
        PermitKeys::new(MacKeys::new(Secret::new(vec![byte; LENGTH]), None).unwrap())
    }

    #[test]
    fn a_mark_holds_under_its_key_and_for_its_life() {
        let mark = Mark::new([1; 16], [2; 32], NOW);
        let sealed = mark.seal(&keys(7));
        let open = |byte, sealed: &str, now| Mark::open(&keys(byte), sealed.as_bytes(), now);
        assert_eq!(open(7, &sealed, NOW), Some(mark));
        assert_eq!(open(8, &sealed, NOW), None);
        assert_eq!(open(7, &sealed, NOW.after(LIFE)), None);
        assert_eq!(open(7, &sealed, UnixMillis(NOW.0 - 1001)), None);
        assert_eq!(open(7, &format!("{sealed}0"), NOW), None);
        assert_eq!(open(7, &sealed.to_uppercase(), NOW), None);
        assert_eq!(open(7, "", NOW), None);
        for at in [0, 40, 60, sealed.len() - 1] {
            let mut other = sealed.clone().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(Mark::open(&keys(7), &other, NOW), None, "{at}");
        }
    }

    #[test]
    fn a_proof_is_for_one_mark_and_is_no_mark() {
        let mark = Mark::new([1; 16], [2; 32], NOW);
        let proof = mark.prove(&keys(7));
        assert!(mark.is_proved(&keys(7), proof.as_bytes()));
        assert!(!mark.is_proved(&keys(8), proof.as_bytes()));
        assert!(!Mark::new([3; 16], [2; 32], NOW).is_proved(&keys(7), proof.as_bytes()));
        let sealed = mark.seal(&keys(7));
        assert!(!mark.is_proved(&keys(7), &sealed.as_bytes()[DIGITS..]));
        assert!(!mark.is_proved(&keys(7), b""));
    }
}
