//! `key_service.evidence`: what the key service has to prove, and to whom it is pinned.
//!
//! Owns the wire form and what can be checked without cryptography. Invariant: simulated
//! evidence and evidence of hardware exclude each other, so that neither can stand in for
//! the other; a kind is accepted only with everything that it is pinned by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{ConfigError, Problems, units};
use crate::hex;

/// `evidence` as written: `sim`, or a table.
#[derive(Clone, Debug, Default)]
pub enum Wire {
    /// Simulated, for development; needs `danger_allow_simulated`. The default.
    #[default]
    Simulated,
    /// Of hardware.
    Table(Box<Table>),
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Wire;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim or a table with require")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Wire, E> {
        (text == "sim")
            .then_some(Wire::Simulated)
            .ok_or_else(|| E::custom("expected sim or a table"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wire, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Wire::Table(Box::new(table)))
    }
}

/// What is required, and its pins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Kinds that all have to be shown: `maa`, `snp` or both; or `sim` alone. Required.
    pub require: Option<Vec<Kind>>,
    /// Pins of kind `maa`.
    pub maa: Option<MaaWire>,
    /// Pins of kind `snp`.
    pub snp: Option<SnpWire>,
    /// Whose release sets are believed. Required with `maa` or `snp`.
    pub releases: Option<ReleasesWire>,
}

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A token of Azure Attestation.
    Maa,
    /// An SEV-SNP report.
    Snp,
    /// A development key.
    Sim,
}

/// `evidence.maa` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaaWire {
    /// Issuers, each once, with their keys: two at all times, so that keys can roll. Required,
    /// at most 4.
    #[serde(default)]
    pub issuers: Vec<IssuerWire>,
    /// Accepted values of `x-ms-policy-hash`. Default: any.
    #[serde(default)]
    pub policy_hashes: Vec<String>,
    /// Age that a token may have, 1m to 8h. Default 1h.
    pub max_age: Option<String>,
    /// Least firmware versions: `guest`, `bootloader`, `tee`, `snp`, `microcode`.
    #[serde(default)]
    pub min_svn: BTreeMap<String, u64>,
    /// Accept tokens without `is-debuggable` and `vmpl`. Default false.
    #[serde(default)]
    pub danger_three_claims: bool,
}

/// An issuer as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerWire {
    /// `https://…`, exactly as in `iss`. Required.
    pub issuer: Option<String>,
    /// Keys. Required.
    #[serde(default)]
    pub keys: Vec<KeyWire>,
}

/// An RSA key as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyWire {
    /// Id, exactly as in `kid`. Required.
    #[serde(default)]
    pub kid: String,
    /// Modulus of 2048 to 4096 bits, base64url. Required. The exponent is 65537.
    #[serde(default)]
    pub n: String,
}

/// `evidence.snp` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpWire {
    /// `Milan`, `Genoa`, `Turin`. Default Genoa and Turin; Milan needs `chip_ids`.
    pub products: Option<Vec<String>>,
    /// Chips that are allowed, 128 hex digits each. Default: any of the products.
    #[serde(default)]
    pub chip_ids: Vec<String>,
    /// Oldest firmware by product; each of them is in `products`.
    #[serde(default)]
    pub min_tcb: BTreeMap<String, TcbWire>,
    /// Who may endorse the utility VM's measurement.
    #[serde(default)]
    pub uvm: Vec<UvmWire>,
    /// Measurements that need no endorsement, 96 hex digits each. One of `uvm` and
    /// `measurements` is required.
    #[serde(default)]
    pub measurements: Vec<String>,
    /// Roots instead of AMD's, by product: RSA moduli in base64url. For tests.
    #[serde(default)]
    pub danger_roots: BTreeMap<String, String>,
}

/// Firmware versions as written; what is absent is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcbWire {
    /// Turin only.
    pub fmc: u8,
    /// Boot loader.
    pub bootloader: u8,
    /// Secure processor's operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// An endorser as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UvmWire {
    /// `did:x509:0:sha256:…::eku:…`. Required.
    #[serde(default)]
    pub issuer: String,
    /// Such as `ContainerPlat-AMD-UVM`. Required.
    #[serde(default)]
    pub feed: String,
    /// Least version. Default 0.
    #[serde(default)]
    pub min_svn: u64,
}

/// `evidence.releases` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasesWire {
    /// Origin line of the release sets. Required.
    #[serde(default)]
    pub origin: String,
    /// Keys of the release authority, `name+hash+key`. Required, at most 4.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// Evidence that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Signed by this development key: proves nothing about hardware.
    Simulated {
        /// Ed25519 public key.
        key: [u8; 32],
    },
    /// Of hardware: every part that is there has to be shown.
    Hardware(Box<Hardware>),
}

/// What hardware has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Kind `maa`, if required.
    pub maa: Option<Maa>,
    /// Kind `snp`, if required.
    pub snp: Option<Snp>,
    /// Whose release sets are believed.
    pub releases: ReleasesWire,
}

/// Pins of kind `maa`; keys are still text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maa {
    /// Issuers and their keys.
    pub issuers: Vec<(String, Vec<KeyWire>)>,
    /// Accepted policy hashes; none means any.
    pub policy_hashes: Vec<String>,
    /// Age that a token may have.
    pub max_age: Duration,
    /// Least firmware versions by short name.
    pub min_svn: BTreeMap<String, u64>,
    /// Two of the five claims may be absent.
    pub three_claims: bool,
}

/// Pins of kind `snp`; names and roots are still text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snp {
    /// Allowed products, each with its root where it is not AMD's.
    pub products: Vec<(String, Option<String>)>,
    /// Allowed chips; none means any.
    pub chip_ids: Vec<[u8; 64]>,
    /// Floors by product.
    pub min_tcb: BTreeMap<String, TcbWire>,
    /// Endorsers.
    pub uvm: Vec<UvmWire>,
    /// Accepted measurements.
    pub measurements: Vec<[u8; 48]>,
}

impl Evidence {
    /// How records and pages name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Simulated { .. } => "simulated",
            Self::Hardware(hardware) => match (&hardware.maa, &hardware.snp) {
                (Some(_), Some(_)) => "maa+snp",
                (Some(_), None) => "maa",
                _ => "snp",
            },
        }
    }
}

/// Reads a table of its own, as tools of operators keep it; simulated evidence is none.
///
/// # Errors
/// Every problem, below `key_service.evidence`.
pub fn parse(json: &[u8]) -> Result<Evidence, ConfigError> {
    super::read::<Table, Evidence>(json)
}

impl TryFrom<Table> for Evidence {
    type Error = ConfigError;

    fn try_from(table: Table) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let read = hardware(table, &mut problems);
        problems.finish(read).map(|hardware| Self::Hardware(Box::new(hardware)))
    }
}

const AT: &str = "key_service.evidence";
const PRODUCTS: [&str; 3] = ["Milan", "Genoa", "Turin"];
const SVN: [&str; 5] = ["guest", "bootloader", "tee", "snp", "microcode"];
const MOST: usize = 4;
const MAX_AGE: Duration = Duration::from_secs(3600);
const AGES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(8 * 3600);

/// What a table asks for; `None` where it asks for simulated evidence, or is noted as wrong.
pub(super) fn hardware(table: Table, problems: &mut Problems) -> Option<Hardware> {
    let require = table.require.unwrap_or_default();
    let wants = |kind| require.contains(&kind);
    let mut once = require.clone();
    once.sort();
    once.dedup();
    if require.is_empty() || once.len() != require.len() || (wants(Kind::Sim) && require.len() > 1)
    {
        problems.note(format!("{AT}.require"), "expected maa, snp, both of them, or sim alone");
        return None;
    }
    let maa = wanted("maa", wants(Kind::Maa), table.maa, problems);
    let snp = wanted("snp", wants(Kind::Snp), table.snp, problems);
    let releases = wanted("releases", !wants(Kind::Sim), table.releases, problems);
    if wants(Kind::Sim) {
        return None;
    }
    let maa = maa.and_then(|wire| read_maa(wire, problems));
    let snp = snp.and_then(|wire| read_snp(wire, problems));
    let releases = releases.and_then(|wire| read_releases(wire, problems));
    // A part that is wanted and could not be read leaves nothing that could be accepted.
    let whole = maa.is_some() == wants(Kind::Maa) && snp.is_some() == wants(Kind::Snp);
    releases.filter(|_| whole).map(|releases| Hardware { maa, snp, releases })
}

/// A part has to be there exactly when it is required.
fn wanted<T>(name: &str, wanted: bool, part: Option<T>, problems: &mut Problems) -> Option<T> {
    let path = format!("{AT}.{name}");
    match (wanted, &part) {
        (true, None) => problems.note(path, "missing: require asks for it"),
        (false, Some(_)) => problems.note(path, "require does not ask for it"),
        _ => {}
    }
    part.filter(|_| wanted)
}

fn read_maa(wire: MaaWire, problems: &mut Problems) -> Option<Maa> {
    let at = |key: &str| format!("{AT}.maa.{key}");
    if wire.issuers.is_empty() || wire.issuers.len() > MOST {
        problems.note(at("issuers"), "expected 1 to 4 issuers");
    }
    let issuers = wire.issuers.into_iter().enumerate();
    let mut names = BTreeSet::new();
    let issuers = issuers.filter_map(|(index, issuer)| {
        let path = at(&format!("issuers[{index}]"));
        let name = issuer.issuer.filter(|name| name.starts_with("https://"));
        match &name {
            None => problems.note(format!("{path}.issuer"), "expected https://…"),
            // Only the first entry of an issuer would ever be looked at.
            Some(name) if !names.insert(name.clone()) => {
                problems.note(format!("{path}.issuer"), "stands twice: give its keys in one entry");
            }
            Some(_) => {}
        }
        if issuer.keys.is_empty() || issuer.keys.len() > MOST {
            problems.note(format!("{path}.keys"), "expected 1 to 4 keys");
        }
        Some((name?, issuer.keys))
    });
    let issuers = issuers.collect();
    let max_age = wire.max_age.as_deref().map_or(Ok(MAX_AGE), units::duration);
    let max_age =
        max_age.and_then(|age| AGES.contains(&age).then_some(age).ok_or("expected 1m to 8h"));
    let max_age = problems.scalar(&at("max_age"), max_age);
    known(&at("min_svn"), wire.min_svn.keys(), &SVN, problems);
    Some(Maa {
        issuers,
        policy_hashes: wire.policy_hashes,
        max_age: max_age?,
        min_svn: wire.min_svn,
        three_claims: wire.danger_three_claims,
    })
}

fn read_snp(wire: SnpWire, problems: &mut Problems) -> Option<Snp> {
    let at = |key: &str| format!("{AT}.snp.{key}");
    let products = wire.products.unwrap_or_else(|| vec!["Genoa".into(), "Turin".into()]);
    if products.is_empty() {
        problems.note(at("products"), "expected at least one product");
    }
    known(&at("products"), products.iter(), &PRODUCTS, problems);
    known(&at("min_tcb"), wire.min_tcb.keys(), &PRODUCTS, problems);
    known(&at("danger_roots"), wire.danger_roots.keys(), &PRODUCTS, problems);
    let chip_ids = all(&at("chip_ids"), &wire.chip_ids, problems);
    let measurements = all(&at("measurements"), &wire.measurements, problems);
    if products.iter().any(|product| product == "Milan") && chip_ids.is_empty() {
        problems.note(at("chip_ids"), "required with Milan, whose root seed has been extracted");
    }
    if wire.uvm.is_empty() && measurements.is_empty() {
        problems.note(at("uvm"), "expected uvm or measurements");
    }
    // A name that is none was noted.
    let listed = |name: &String| products.contains(name) || !PRODUCTS.contains(&name.as_str());
    for name in wire.min_tcb.keys().filter(|name| !listed(name)) {
        let path = at(&format!("min_tcb.{name}"));
        problems.note(path, "a floor of a product that is not allowed: list it in products");
    }
    let mut roots = wire.danger_roots;
    let products = products.into_iter().map(|product| {
        let root = roots.remove(&product);
        (product, root)
    });
    let products = products.collect();
    if let Some(product) = roots.keys().next() {
        let path = at(&format!("danger_roots.{product}"));
        problems.note(path, "a root of a product that is not allowed");
    }
    Some(Snp { products, chip_ids, min_tcb: wire.min_tcb, uvm: wire.uvm, measurements })
}

fn read_releases(wire: ReleasesWire, problems: &mut Problems) -> Option<ReleasesWire> {
    let keyed = (1..=MOST).contains(&wire.keys.len());
    if wire.origin.is_empty() {
        problems.note(format!("{AT}.releases.origin"), "missing");
    }
    if !keyed {
        problems.note(format!("{AT}.releases.keys"), "expected 1 to 4 keys");
    }
    (keyed && !wire.origin.is_empty()).then_some(wire)
}

fn known<'a>(
    path: &str,
    names: impl Iterator<Item = &'a String>,
    known: &[&str],
    problems: &mut Problems,
) {
    for name in names.filter(|name| !known.contains(&name.as_str())) {
        problems.note(format!("{path}.{name}"), format!("expected one of {}", known.join(", ")));
    }
}

fn all<const N: usize>(path: &str, texts: &[String], problems: &mut Problems) -> Vec<[u8; N]> {
    let read = texts.iter().enumerate().filter_map(|(index, text)| {
        let bytes = hex::read(text.as_bytes());
        if bytes.is_none() {
            problems.note(format!("{path}[{index}]"), format!("expected {N} bytes in hex"));
        }
        bytes
    });
    read.collect()
}
