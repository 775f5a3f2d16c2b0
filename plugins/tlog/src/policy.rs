//! Whose checkpoints are believed: the log's key, and how many of which witnesses.
//!
//! Owns the judgement, in one place for gateways and commands. Invariant: a [`Cosigned`] and a
//! [`Published`] come only from [`Policy`]'s checks; a quorum of none is no policy.

use crate::checkpoint::Checkpoint;
use crate::cosignature::Witness;
use crate::note::{self, Key, NotOpened};
use crate::proof::Proof;

/// How far a witness's clock may be ahead, in seconds.
const SKEW: u64 = 60;
/// Most witnesses of a policy: as many as a note has room for, beside the log.
const WITNESSES: usize = 15;

/// What has to stand under a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    origin: String,
    log: Key,
    witnesses: Vec<Witness>,
    quorum: usize,
    max_age: u64,
}

/// A checkpoint that the log has signed and enough witnesses have seen lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned(Checkpoint);

/// A leaf that is in such a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    leaf: Vec<u8>,
    index: u64,
    checkpoint: Cosigned,
}

/// Why a checkpoint or a proof is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    /// Not in its one form.
    #[error("log: not as specified")]
    Malformed,
    /// The checkpoint is another log's.
    #[error("log: not of the pinned origin")]
    Origin,
    /// The pinned key has not signed.
    #[error("log: not signed by the pinned key")]
    Unsigned,
    /// A signature in the name of the log or of a witness does not hold.
    #[error("log: a signature is forged")]
    Forged,
    /// Fewer witnesses than asked for have signed.
    #[error("log: too few witnesses")]
    Witnesses,
    /// Enough have signed, and too few of them lately.
    #[error("log: the witnesses' signatures are too old, or from the future")]
    Stale,
    /// The leaf is not in this tree.
    #[error("log: the leaf is not in the tree of this checkpoint")]
    Inclusion,
}

impl Policy {
    /// `quorum` of `witnesses` have to have signed within `max_age` seconds. `None` unless
    /// there are that many with keys of their own, and the quorum is at least one.
    pub fn new(
        origin: &str,
        log: Key,
        witnesses: Vec<Witness>,
        quorum: usize,
        max_age: u64,
    ) -> Option<Self> {
        // The log cannot vouch for itself under another name.
        let others = witnesses.iter().all(|one| !one.has_key_of(&log));
        let apart = others
            && witnesses.iter().enumerate().all(|(at, one)| {
                witnesses.iter().skip(at.saturating_add(1)).all(|other| !one.is(other))
            });
        let enough = (1..=witnesses.len()).contains(&quorum) && witnesses.len() <= WITNESSES;
        let good = apart && enough && note::is_name(origin);
        good.then(|| Self { origin: origin.to_owned(), log, witnesses, quorum, max_age })
    }

    /// Verifies a checkpoint.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn open(&self, note: &str, now: u64) -> Result<Cosigned, NotShown> {
        let text = note::open(note, std::slice::from_ref(&self.log)).map_err(|why| match why {
            NotOpened::Malformed => NotShown::Malformed,
            NotOpened::UnknownKey => NotShown::Unsigned,
            NotOpened::Forged => NotShown::Forged,
        })?;
        let checkpoint = Checkpoint::parse(text).ok_or(NotShown::Malformed)?;
        if checkpoint.origin != self.origin {
            return Err(NotShown::Origin);
        }
        let times = self.times(note)?;
        if times.len() < self.quorum {
            return Err(NotShown::Witnesses);
        }
        let lately = |time: &&u64| {
            now.saturating_sub(**time) <= self.max_age && **time <= now.saturating_add(SKEW)
        };
        if times.iter().filter(lately).count() < self.quorum {
            return Err(NotShown::Stale);
        }
        Ok(Cosigned(checkpoint))
    }

    /// The latest time of each witness that has signed.
    fn times(&self, note: &str) -> Result<Vec<u64>, NotShown> {
        let (text, lines) = note::parts(note).ok_or(NotShown::Malformed)?;
        let mut times = Vec::new();
        for witness in &self.witnesses {
            let mut latest = None;
            for line in &lines {
                let time = witness.time(line, text).map_err(|_| NotShown::Forged)?;
                latest = latest.max(time);
            }
            times.extend(latest);
        }
        Ok(times)
    }

    /// Verifies a proof: its checkpoint, and that its leaf is in that tree.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn verify(&self, proof: &str, now: u64) -> Result<Published, NotShown> {
        let proof = Proof::parse(proof).ok_or(NotShown::Malformed)?;
        let checkpoint = self.open(&proof.note, now)?;
        if proof.root(checkpoint.0.size) != Some(checkpoint.0.root) {
            return Err(NotShown::Inclusion);
        }
        Ok(Published { leaf: proof.leaf, index: proof.index, checkpoint })
    }
}

impl Cosigned {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.0
    }
}

impl Published {
    /// The leaf's bytes.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Its number, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The log at that moment.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.checkpoint.checkpoint()
    }
}
