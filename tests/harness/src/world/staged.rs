//! The genuine key service's evidence: simulated, or made by `postern-attester` as if it ran
//! on hardware, good or with one flaw.
//!
//! What a gateway has to pin for it is written here too, so that a scenario only names kinds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use postern_attester::{self as made, ISSUER, KEY_ID, ORIGIN, Uvm, Vcek};
use postern_core::time::UnixMillis;
use postern_crp::evidence::simulate;
use postern_keys::Fault;
use postern_keys::evidence::Attester;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::keys::derive;

/// A kind of hardware evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A token.
    Maa,
    /// A report.
    Snp,
}

/// What is wrong with it during a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// Of an image that is not in the release set.
    HostData,
    /// Of a guest that can be debugged.
    Debug,
    /// A token of two hours ago, and a release set that has ended.
    Stale,
    /// Signed in the right name by another key.
    ForeignKey,
    /// About other runtime data.
    Unbound,
    /// Simulated instead.
    Downgrade,
}

/// What is shown now.
#[derive(Clone, Debug, Default)]
pub struct Shows {
    /// Kinds; none is simulated evidence.
    pub kinds: Vec<Kind>,
    /// The flaw of the moment.
    pub flaw: Option<Flaw>,
}

/// Shared with whoever sets the stage.
#[derive(Clone, Default)]
pub struct Stage(Arc<Mutex<Shows>>);

impl Stage {
    /// Changes what is shown.
    pub fn set(&self, change: impl FnOnce(&mut Shows)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Shows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attester of the genuine service.
pub struct Staged {
    seed: Zeroizing<[u8; 32]>,
    stage: Stage,
}

impl Staged {
    /// Shows what `stage` says.
    pub fn new(stage: Stage) -> Self {
        Self { seed: Zeroizing::new(derive("staged evidence")), stage }
    }
}

impl Attester for Staged {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn sim_key(&self) -> Option<[u8; 32]> {
        Some(ed25519_dalek::SigningKey::from_bytes(&self.seed).verifying_key().to_bytes())
    }

    fn attest(&self, runtime: &[u8], now: UnixMillis) -> Result<Vec<u8>, Fault> {
        let shows = self.stage.lock().clone();
        if shows.kinds.is_empty() || shows.flaw == Some(Flaw::Downgrade) {
            return Ok(simulate(runtime, &self.seed));
        }
        Ok(document(&shows, runtime, now.seconds()).into_bytes())
    }
}

fn document(shows: &Shows, runtime: &[u8], now: u64) -> String {
    let is = |flaw| shows.flaw == Some(flaw);
    let end = if is(Flaw::Stale) { now.saturating_sub(1) } else { now + 3600 };
    let bound = if is(Flaw::Unbound) { b"other runtime data" } else { runtime };
    let host_data = if is(Flaw::HostData) { [0xcb; 32] } else { made::HOST_DATA };
    let mut members = Vec::new();
    if shows.kinds.contains(&Kind::Maa) {
        let issued = if is(Flaw::Stale) { now.saturating_sub(7200) } else { now };
        let mut claims = made::claims(bound, issued);
        claims["x-ms-sevsnpvm-hostdata"] = made::hex(&host_data).into();
        claims["x-ms-sevsnpvm-is-debuggable"] = is(Flaw::Debug).into();
        let sign = if is(Flaw::ForeignKey) { made::token_by_stranger } else { made::token };
        members.push(format!("\"maa\":\"{}\"", sign(&made::header(), &claims)));
    }
    if shows.kinds.contains(&Kind::Snp) {
        let report = made::report(bound, |report| {
            report[0xc0..0xe0].copy_from_slice(&host_data);
            report[0x0a] |= u8::from(is(Flaw::Debug)) << 3;
        });
        let ask = if is(Flaw::ForeignKey) { made::ask_by_stranger() } else { made::ask() };
        let [report, vcek, ask, uvm] =
            [report, Vcek::default().der(), ask, Uvm::default().cose()].map(|it| B64.encode(it));
        members.push(format!(
            "\"snp\":{{\"report\":\"{report}\",\"vcek\":\"{vcek}\",\"ask\":\"{ask}\",\"uvm\":\"{uvm}\"}}"
        ));
    }
    let kind = names(&shows.kinds).join("+");
    let set = B64.encode(made::release_set(1, end, &[made::HOST_DATA]));
    let (members, runtime) = (members.join(","), B64.encode(runtime));
    format!(
        "{{\"v\":1,\"kind\":\"{kind}\",\"runtime\":\"{runtime}\",{members},\"release_set\":\"{set}\"}}"
    )
}

fn names(kinds: &[Kind]) -> Vec<&'static str> {
    let all = [(Kind::Maa, "maa"), (Kind::Snp, "snp")];
    all.into_iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, name)| name).collect()
}

/// What a module pins to accept this evidence and no other.
pub fn pins(kinds: &[Kind]) -> Value {
    let mut evidence = json!({
        "require": names(kinds),
        "releases": {"origin": ORIGIN, "keys": [made::release_vkey()]},
    });
    if kinds.contains(&Kind::Maa) {
        let key = json!({"kid": KEY_ID, "n": made::maa_key()["n"]});
        evidence["maa"] = json!({"issuers": [{"issuer": ISSUER, "keys": [key]}]});
    }
    if kinds.contains(&Kind::Snp) {
        let uvm = json!({
            "issuer": made::uvm_fingerprint(), "feed": "ContainerPlat-AMD-UVM", "min_svn": 100,
        });
        evidence["snp"] = json!({
            "products": ["Genoa"], "uvm": [uvm],
            "danger_roots": {"Genoa": B64.encode(made::root_modulus())},
        });
    }
    json!({"danger_allow_simulated": null, "key_service": {"evidence": evidence}})
}
