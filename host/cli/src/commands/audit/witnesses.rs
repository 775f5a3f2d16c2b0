//! Which witnesses have signed a checkpoint.

use ed25519_dalek::VerifyingKey;
use postern_core::time::UnixMillis;
use postern_keys::audit::checkpoint::{Checkpoint, seen_by};
use postern_tlog::cosignature::Witness;

use crate::failure::{Failure, Outcome};
use crate::span;

/// Witnesses, and how many of them have to have signed the same checkpoint.
pub(super) struct Asked {
    witnesses: Vec<Witness>,
    quorum: usize,
}

impl Asked {
    pub(super) fn read(texts: &[String], quorum: Option<usize>) -> Outcome<Self> {
        let expected = "--witness: expected name+hash+key of a witness (cosignature/v1)";
        let read = texts.iter().map(|text| Witness::parse(text)).collect::<Option<Vec<_>>>();
        let witnesses = read.ok_or_else(|| Failure::usage(expected))?;
        let apart = witnesses
            .iter()
            .enumerate()
            .all(|(at, one)| witnesses.iter().skip(at + 1).all(|other| !one.is(other)));
        if !apart {
            return Err(Failure::usage("--witness: expected keys that differ"));
        }
        let quorum = quorum.unwrap_or(witnesses.len());
        if !(1..=witnesses.len()).contains(&quorum) {
            let expected = format_args!("--quorum: expected 1 to {}", witnesses.len()).to_string();
            return Err(Failure::usage(expected));
        }
        Ok(Self { witnesses, quorum })
    }

    /// Who has signed the checkpoint that most have; why that is not enough.
    pub(super) fn looked(
        &self,
        notes: &[String],
        key: &VerifyingKey,
    ) -> Result<Vec<String>, String> {
        let mut best = Vec::new();
        for note in notes {
            let point = Checkpoint::open(note, key).map_err(|error| error.to_string())?;
            let seen = seen_by(note, &self.witnesses).map_err(|name| {
                format!("checkpoint of {} events: the signature of {name} is forged", point.head.n)
            })?;
            let seen: Vec<String> = seen
                .into_iter()
                .map(|(name, at)| {
                    format!(
                        "{name} ({} events at {})",
                        point.head.n,
                        span::shown(UnixMillis(at.saturating_mul(1000)))
                    )
                })
                .collect();
            if seen.len() > best.len() {
                best = seen;
            }
        }
        if best.len() < self.quorum {
            return Err(format!(
                "{} of {} witnesses have signed a checkpoint, {} have to",
                best.len(),
                self.witnesses.len(),
                self.quorum
            ));
        }
        Ok(best)
    }
}
