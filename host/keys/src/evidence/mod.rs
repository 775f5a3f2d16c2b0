//! Where the evidence comes from that speaks for the epoch's keys.
//!
//! Owns the trait and the choice by configuration. Knows nothing of epochs: it gets runtime
//! data and gives a document (`plugins/crp/SPEC.md`, section 3). Invariant: the label of
//! simulated evidence is `simulated`, and it is given by [`Simulated`] alone.

pub(crate) mod challenges;
mod hardware;
mod host;
mod kept;
mod maa;
mod tsm;

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::evidence::simulate;
use zeroize::Zeroizing;

pub use hardware::Hardware;
pub use host::Host;
pub use maa::Maa;
pub use tsm::{Entries, ReportSource, Tsm};

use crate::config::{Config, Evidence};
use crate::fault::Fault;
use crate::store::exact;
use crate::{files, random};

/// Makes evidence. Called from a thread that may wait.
pub trait Attester: Send + Sync {
    /// The kind in the document: `sim`, `maa`, `snp` or `maa+snp`.
    fn kind(&self) -> &'static str;

    /// How audit events and pages name it.
    fn label(&self) -> &'static str {
        match self.kind() {
            "sim" => "simulated",
            kind => kind,
        }
    }

    /// Public key of the development key, where that is all there is.
    fn sim_key(&self) -> Option<[u8; 32]> {
        None
    }

    /// A document whose report or signature binds exactly `runtime`.
    ///
    /// # Errors
    /// What the machine or its attestation service refuses.
    fn attest(&self, runtime: &[u8], now: UnixMillis) -> Result<Vec<u8>, Fault>;

    /// A document made now, for runtime data that answers challenges.
    ///
    /// # Errors
    /// As [`Attester::attest`].
    fn answer(&self, runtime: &[u8], now: UnixMillis) -> Result<Vec<u8>, Fault> {
        self.attest(runtime, now)
    }

    /// A token of the attestation service about `runtime`, for who releases keys against one.
    ///
    /// # Errors
    /// As [`Attester::attest`]; always where no attestation service is configured.
    fn token(&self, _runtime: &[u8]) -> Result<String, Fault> {
        Err(Fault::Attestation(Redacted::new("no attestation service is configured")))
    }

    /// Least time between two of those: anybody may challenge.
    fn between_challenges(&self) -> Duration {
        Duration::ZERO
    }

    /// The signed note of the release set that is served, where there is one.
    fn releases(&self) -> Option<Vec<u8>> {
        None
    }

    /// Makes what [`Attester::attest`] will need, before somebody has to wait for it.
    ///
    /// # Errors
    /// As [`Attester::attest`].
    fn renew(&self, _runtime: &[u8], _now: UnixMillis) -> Result<(), Fault> {
        Ok(())
    }
}

/// Evidence of kind `sim`: signed by a development key, proves nothing about the machine.
pub struct Simulated(Zeroizing<[u8; 32]>);

impl Simulated {
    /// Signs with the key of this seed.
    ///
    /// # Errors
    /// When the seed does not have 32 bytes.
    pub fn new(seed: &Secret) -> Result<Self, Fault> {
        Ok(Self(Zeroizing::new(exact(seed.expose(), "sim key")?)))
    }
}

impl Attester for Simulated {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn sim_key(&self) -> Option<[u8; 32]> {
        Some(SigningKey::from_bytes(&self.0).verifying_key().to_bytes())
    }

    fn attest(&self, runtime: &[u8], _: UnixMillis) -> Result<Vec<u8>, Fault> {
        Ok(simulate(runtime, &self.0))
    }
}

/// The attester that `config` asks for.
///
/// # Errors
/// When a key file cannot be read or made.
pub fn attester(config: &Config) -> Result<Arc<dyn Attester>, Fault> {
    Ok(match &config.evidence {
        Evidence::Sim => {
            let seed = files::key_or_new(&config.sim_key_file(), random::key)?;
            Arc::new(Simulated::new(&seed)?)
        }
        Evidence::Hardware(settings) => Arc::new(Hardware::new(settings, Box::new(Tsm::default()))),
    })
}
