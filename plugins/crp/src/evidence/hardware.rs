//! Evidence of hardware: kinds `maa` and `snp`, and the release set behind both.
//!
//! Owns the document's members and the way from a configuration to what is pinned; the
//! checks themselves are `postern-attest`'s. Invariant: every kind that the configuration
//! requires has to be shown and has to pass, over the same runtime data.

use postern_attest::{Context, note, release_set};
use postern_core::config::evidence::{Hardware as Pins, Maa, Snp};
use postern_core::config::{ConfigError, Problems};
use postern_core::time::UnixMillis;

use super::{Refusal, bytes, exactly};
use crate::json::{Reader, Unexpected};

/// What a document may have beside its version, kind and runtime data.
#[derive(Default)]
pub(super) struct Members<'a> {
    pub(super) simulated: Option<[u8; 64]>,
    maa: Option<&'a str>,
    snp: Option<Direct>,
    releases: Option<Vec<u8>>,
}

/// Member `snp`.
#[derive(Default)]
struct Direct {
    report: Option<Vec<u8>>,
    vcek: Option<Vec<u8>>,
    ask: Option<Vec<u8>>,
    uvm: Option<Vec<u8>>,
}

impl<'a> Members<'a> {
    pub(super) fn member(&mut self, name: &str, value: &mut Reader<'a>) -> Result<(), Unexpected> {
        match name {
            "sim" => self.simulated = Some(exactly(value.string()?)?),
            "maa" => self.maa = Some(value.string()?),
            "snp" => {
                let mut direct = Direct::default();
                value.object(|name, value| direct.member(name, bytes(value.string()?)?))?;
                self.snp = Some(direct);
            }
            "release_set" => self.releases = Some(bytes(value.string()?)?),
            _ => return Err(Unexpected),
        }
        Ok(())
    }

    /// Whether the members are exactly those of a document of this kind.
    pub(super) fn are_of(&self, kind: &str) -> bool {
        let have = (self.simulated.is_some(), self.maa.is_some(), self.snp.is_some());
        let hardware = match kind {
            "sim" => return have == (true, false, false) && self.releases.is_none(),
            "maa" => have == (false, true, false),
            "snp" => have == (false, false, true),
            "maa+snp" => have == (false, true, true),
            _ => false,
        };
        hardware && self.releases.is_some()
    }
}

impl Direct {
    fn member(&mut self, name: &str, value: Vec<u8>) -> Result<(), Unexpected> {
        let member = match name {
            "report" => &mut self.report,
            "vcek" => &mut self.vcek,
            "ask" => &mut self.ask,
            "uvm" => &mut self.uvm,
            _ => return Err(Unexpected),
        };
        *member = Some(value);
        Ok(())
    }
}

/// What hardware has to show, ready to compare with.
#[derive(Clone, Debug)]
pub struct Hardware {
    releases: release_set::Pins,
    #[cfg(feature = "maa")]
    maa: Option<postern_attest::maa::Policy>,
    #[cfg(feature = "snp")]
    snp: Option<postern_attest::snp::Policy>,
}

const AT: &str = "key_service.evidence";

impl Hardware {
    /// From a configuration.
    pub(super) fn of(pins: &Pins) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let releases = releases(pins, &mut problems);
        let maa = optional(pins.maa.as_ref(), |it| maa(it, &mut problems));
        let snp = optional(pins.snp.as_ref(), |it| snp(it, &mut problems));
        let read = (|| {
            let (maa, snp) = (maa?, snp?);
            #[cfg(not(feature = "maa"))]
            drop(maa);
            #[cfg(not(feature = "snp"))]
            drop(snp);
            Some(Self {
                releases: releases?,
                #[cfg(feature = "maa")]
                maa,
                #[cfg(feature = "snp")]
                snp,
            })
        })();
        problems.finish(read)
    }

    /// Appraises what the document shows; when it ends, in seconds, and the sequence number
    /// of the release set.
    pub(super) fn appraise(
        &self,
        members: &Members<'_>,
        runtime_hash: &[u8; 32],
        last: u64,
        now: UnixMillis,
        passed: &mut dyn FnMut(&'static str),
    ) -> Result<(u64, u64), Refusal> {
        let refused = Refusal::Attestation;
        let now = now.seconds();
        let note = members.releases.as_deref().ok_or(Refusal::Kind)?;
        let releases = self.releases.open(note, last, now, passed).map_err(refused)?;
        let context = Context { runtime_hash, releases: &releases, now };
        let mut end = releases.set().not_after;
        #[cfg(feature = "maa")]
        if let Some(policy) = &self.maa {
            let token = members.maa.ok_or(Refusal::Kind)?;
            let token = postern_attest::maa::appraise(token.as_bytes(), policy, &context, passed);
            end = end.min(token.map_err(refused)?);
        }
        #[cfg(feature = "snp")]
        if let Some(policy) = &self.snp {
            let parts = members.snp.as_ref().ok_or(Refusal::Kind)?;
            let parts = parts.parts().ok_or(Refusal::Malformed)?;
            let chain = postern_attest::snp::appraise(&parts, policy, &context, passed);
            end = end.min(chain.map_err(refused)?);
        }
        Ok((end, releases.set().sequence))
    }
}

#[cfg(feature = "snp")]
impl Direct {
    fn parts(&self) -> Option<postern_attest::snp::Parts<'_>> {
        Some(postern_attest::snp::Parts {
            report: self.report.as_deref()?,
            vcek: self.vcek.as_deref()?,
            ask: self.ask.as_deref()?,
            uvm: self.uvm.as_deref(),
        })
    }
}

/// An absent part stays absent; one that cannot be read is nothing at all.
fn optional<P, T>(part: Option<P>, read: impl FnOnce(P) -> Option<T>) -> Option<Option<T>> {
    part.map_or(Some(None), |part| read(part).map(Some))
}

fn releases(pins: &Pins, problems: &mut Problems) -> Option<release_set::Pins> {
    let origin = pins.releases.origin.clone();
    if !release_set::is_origin(&origin) {
        problems.note(format!("{AT}.releases.origin"), "expected printable ASCII without spaces");
    }
    let keys = pins.releases.keys.iter().enumerate().map(|(index, text)| {
        let key = note::Key::parse(text).ok_or("expected name+hash+key of Ed25519");
        problems.scalar(&format!("{AT}.releases.keys[{index}]"), key)
    });
    let keys: Vec<Option<note::Key>> = keys.collect();
    Some(release_set::Pins { origin, keys: keys.into_iter().collect::<Option<_>>()? })
}

#[cfg(not(feature = "maa"))]
fn maa(_: &Maa, problems: &mut Problems) -> Option<()> {
    problems.note(format!("{AT}.maa"), "this module was built without kind maa");
    None
}

#[cfg(feature = "maa")]
fn maa(pins: &Maa, problems: &mut Problems) -> Option<postern_attest::maa::Policy> {
    let issuers = pins.issuers.iter().enumerate().map(|(index, (issuer, keys))| {
        let keys = keys.iter().map(|key| (key.kid.as_str(), key.n.as_str()));
        let pinned = postern_attest::maa::Issuer::new(issuer, keys);
        let pinned = pinned.ok_or("expected RSA keys of 2048 to 4096 bits, each id once");
        problems.scalar(&format!("{AT}.maa.issuers[{index}].keys"), pinned)
    });
    let issuers: Vec<Option<_>> = issuers.collect();
    let floor = |(name, least): (&String, &u64)| Some((postern_attest::maa::floor(name)?, *least));
    Some(postern_attest::maa::Policy {
        issuers: issuers.into_iter().collect::<Option<_>>()?,
        policy_hashes: pins.policy_hashes.clone(),
        max_age: pins.max_age.as_secs(),
        floors: pins.min_svn.iter().map(floor).collect::<Option<_>>()?,
        three_claims: pins.three_claims,
    })
}

#[cfg(not(feature = "snp"))]
fn snp(_: &Snp, problems: &mut Problems) -> Option<()> {
    problems.note(format!("{AT}.snp"), "this module was built without kind snp");
    None
}

#[cfg(feature = "snp")]
fn snp(pins: &Snp, problems: &mut Problems) -> Option<postern_attest::snp::Policy> {
    use postern_attest::snp::{Policy, Product, Root, pinned, tcb::Tcb, uvm::Endorser};
    let roots = pins.products.iter().map(|(name, own)| {
        let product = Product::find(name)?;
        let own = own.as_ref().map(|modulus| {
            let root = bytes(modulus).ok().and_then(|modulus| Root::new(product, &modulus));
            let root = root.ok_or("expected an RSA modulus of 2048 to 4096 bits in base64url");
            problems.scalar(&format!("{AT}.snp.danger_roots.{name}"), root)
        });
        own.unwrap_or_else(|| pinned(product))
    });
    let roots: Vec<Option<Root>> = roots.collect();
    let endorsers = pins.uvm.iter().enumerate().map(|(index, pin)| {
        let endorser = Endorser::new(&pin.issuer, &pin.feed, pin.min_svn);
        let endorser = endorser.ok_or("expected did:x509:0:sha256:<hash>::eku:<oid>");
        problems.scalar(&format!("{AT}.snp.uvm[{index}].issuer"), endorser)
    });
    let endorsers: Vec<Option<Endorser>> = endorsers.collect();
    let floor = |(name, floor): (&String, &postern_core::config::evidence::TcbWire)| {
        let postern_core::config::evidence::TcbWire { fmc, bootloader, tee, snp, microcode } =
            *floor;
        Some((Product::find(name)?, Tcb { fmc, bootloader, tee, snp, microcode }))
    };
    Some(Policy {
        roots: roots.into_iter().collect::<Option<_>>()?,
        chip_ids: pins.chip_ids.clone(),
        floors: pins.min_tcb.iter().map(floor).collect::<Option<_>>()?,
        endorsers: endorsers.into_iter().collect::<Option<_>>()?,
        measurements: pins.measurements.clone(),
    })
}
