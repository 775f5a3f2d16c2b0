//! What the workers of a process tell one another of an issuer's keys.
//!
//! Owns two values in shared data for each source: the notice, which says how fetches ended and
//! who fetches now, and the set that came last. The notice is small, since every worker reads it
//! each second; the set is read when the notice says that there is a newer one.
//!
//! Invariant: a notice that is not ours, or older than one that this worker has seen, says
//! nothing, and is counted.

use std::cell::Cell;
use std::rc::Rc;

use postern_core::commons::{Commons, Found};
use postern_core::config::gate::Endpoint;
use postern_core::effect::Metric;
use postern_core::hex;
use postern_core::key_service::Told;
use postern_core::receipt::ABSENT;
use postern_core::time::UnixMillis;
use postern_jose::Usage;
use sha2::{Digest, Sha256};

const FORGED: Metric = Metric("postern.keys.shared.reason=forged.total");

/// Where the workers of one source meet.
pub(super) struct Board {
    commons: Rc<dyn Commons>,
    notice: String,
    set: String,
    forged: Cell<bool>,
}

/// How fetches have ended, and who fetches now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// Fetches that have ended.
    pub ended: u64,
    /// When the last of them began.
    pub began: UnixMillis,
    /// How many brought nothing since one has brought a set.
    pub failures: u32,
    /// After one that brought nothing, none before this.
    pub next: UnixMillis,
    /// Somebody fetches until then.
    pub lease: UnixMillis,
    /// Sets that have come.
    pub generation: u64,
    /// When unknown ids have caused fetches lately.
    pub caused: Vec<UnixMillis>,
}

/// The set that came last.
pub(super) struct Left {
    pub generation: u64,
    /// When it came.
    pub at: UnixMillis,
    pub set: Vec<u8>,
}

impl Board {
    pub(super) fn new(commons: &Rc<dyn Commons>, from: &Endpoint, usage: Usage) -> Self {
        let usage: &[u8] = match usage {
            Usage::Signatures => b"signatures",
            Usage::Svids => b"svids",
        };
        let mut hash = Sha256::new();
        for part in [from.cluster.as_bytes(), from.authority.as_bytes(), from.path.as_bytes()] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.chain_update(usage).finalize().into();
        let digits = hex::lower(digest.get(..8).unwrap_or(&digest));
        let name = |what: &str| format!("keys/{digits}/{what}");
        let (notice, set) = (name("notice"), name("set"));
        Self { commons: Rc::clone(commons), notice, set, forged: Cell::new(false) }
    }

    /// The notice, of which `seen` fetches are known to have ended, and its version.
    pub(super) fn read(&self, seen: u64) -> (Notice, u32) {
        let found = self.commons.find(&self.notice);
        let version = found.version();
        let notice = match &found {
            Found::Nothing => return (Notice::default(), ABSENT),
            Found::Value(value, _) => Notice::decode(value).filter(|notice| notice.ended >= seen),
            Found::Forged(_) => None,
        };
        self.forged.set(self.forged.get() || notice.is_none());
        (notice.unwrap_or_default(), version)
    }

    /// Writes it unless another worker was faster.
    pub(super) fn write(&self, notice: &Notice, version: u32) -> bool {
        self.commons.replace(&self.notice, &notice.encode(), version)
    }

    /// The set that somebody has left here.
    pub(super) fn left(&self) -> Option<Left> {
        match self.commons.find(&self.set) {
            Found::Value(value, _) => Left::decode(&value),
            Found::Nothing => None,
            Found::Forged(_) => {
                self.forged.set(true);
                None
            }
        }
    }

    /// Leaves a set here. If another worker was faster, his comes from the same source.
    pub(super) fn leave(&self, left: &Left) {
        let version = self.commons.find(&self.set).version();
        let _ = self.commons.replace(&self.set, &left.encode(), version);
    }

    /// What operators are to know since the last time.
    pub(super) fn told(&self) -> Vec<Told> {
        if !self.forged.replace(false) {
            return Vec::new();
        }
        let text = "keys of an issuer in shared data are not ours or were put back".to_owned();
        vec![Told { metric: FORGED, text }]
    }
}

impl Notice {
    fn encode(&self) -> Vec<u8> {
        let failures = u64::from(self.failures);
        let numbers =
            [self.ended, self.began.0, failures, self.next.0, self.lease.0, self.generation];
        let caused = self.caused.iter().map(|at| at.0);
        numbers.into_iter().chain(caused).flat_map(u64::to_be_bytes).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = || numbers.next();
        Some(Self {
            ended: next()?,
            began: UnixMillis(next()?),
            failures: u32::try_from(next()?).ok()?,
            next: UnixMillis(next()?),
            lease: UnixMillis(next()?),
            generation: next()?,
            caused: numbers.map(UnixMillis).collect(),
        })
    }
}

impl Left {
    fn encode(&self) -> Vec<u8> {
        let numbers = [self.generation.to_be_bytes(), self.at.0.to_be_bytes()];
        [numbers.as_flattened(), &self.set].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, rest) = bytes.split_first_chunk()?;
        let (at, set) = rest.split_first_chunk()?;
        let (generation, at) = (u64::from_be_bytes(*generation), u64::from_be_bytes(*at));
        Some(Self { generation, at: UnixMillis(at), set: set.to_vec() })
    }
}
