//! The scenario file, as `tests/scenarios/README.md` describes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use postern_rig::gateway::merge;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::capability;
use crate::certificates::{self, CertificateSeed};
use crate::dpop;
use crate::faults::{Fault, Kind};
use crate::world::{Authorised, EvidenceKind, InviteSeed, Ruling, Said, pins};

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one sentence.
    pub note: String,
    /// Overlays on the module configurations of the base, by module.
    #[serde(default)]
    pub config: BTreeMap<String, Value>,
    /// Overlay on the action of every route of the base.
    #[serde(default)]
    pub route: Value,
    /// What exists before the first step.
    #[serde(default)]
    pub seed: Seed,
    /// Where it runs; everywhere when absent.
    #[serde(default = "everywhere")]
    pub boundaries: Vec<Boundary>,
    /// Why a boundary is missing.
    pub why: Option<String>,
    /// Needs modules that hold nothing from earlier scenarios; on Envoy, nothing but shared data.
    #[serde(default)]
    pub fresh: bool,
    /// What happens.
    pub steps: Vec<Step>,
    /// What each step must give.
    pub want: Vec<Want>,
}

impl Scenario {
    /// How the key service behaves while the modules start: they fetch evidence and heads
    /// by themselves, and modules that are to know nothing must not get them before the
    /// first step.
    pub fn at_start(&self) -> Fault {
        let first = self.steps.first().filter(|_| self.fresh);
        first.map(|step| step.key_service.clone()).unwrap_or_default()
    }

    /// What the server of policy bundles says at first.
    pub fn bundle_at_start(&self) -> Said {
        self.steps.first().and_then(|step| step.bundle).unwrap_or_default()
    }
}

/// Where a scenario can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// The pipelines in this process, virtual time.
    Core,
    /// The built modules in our own gateway.
    Host,
    /// The built modules in a real Envoy.
    Envoy,
    /// The built component in our host for applications of Spin.
    Spin,
}

impl Boundary {
    /// As files and messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Host => "host",
            Self::Envoy => "envoy",
            Self::Spin => "spin",
        }
    }
}

fn everywhere() -> Vec<Boundary> {
    Boundary::value_variants().to_vec()
}

/// What the key service knows beside the credentials of the base.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// API keys by the name that steps use.
    #[serde(default)]
    pub keys: BTreeMap<String, KeySeed>,
    /// Invites by the name that steps use.
    #[serde(default)]
    pub invites: BTreeMap<String, InviteSeed>,
    /// Access tokens by the name that texts use.
    #[serde(default)]
    pub tokens: BTreeMap<String, TokenSeed>,
    /// Client certificates by the name that requests use. With any, the listener speaks TLS.
    #[serde(default)]
    pub certificates: BTreeMap<String, CertificateSeed>,
    /// Kinds of evidence that the key service shows and every module requires; simulated when
    /// empty.
    #[serde(default)]
    pub evidence: Vec<EvidenceKind>,
}

impl Seed {
    /// Of the certificate that a token is bound to.
    pub fn thumbprint(&self, token: &TokenSeed) -> Result<Option<String>> {
        let Some(name) = &token.certificate else { return Ok(None) };
        let seed = self.certificates.get(name).context("no such certificate")?;
        certificates::thumbprint(&*certificates::issued(seed)?).map(Some)
    }
}

/// One access token of the harness's issuer, signed with Ed25519 when it is used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSeed {
    /// Name of the key that signs it; `k1` when absent.
    pub key: Option<String>,
    /// Overlay on the header `{alg: EdDSA, kid: KEY, typ: at+jwt}`; null removes.
    pub header: Value,
    /// Overlay on the claims; null removes, `"+60"` is a minute from now.
    pub claims: Value,
    /// Name of the certificate that it is bound to (RFC 8705, 3.1).
    pub certificate: Option<String>,
    /// Name of the key that it is bound to (RFC 9449, 6.1).
    pub holder: Option<String>,
    /// The payload instead, as it stands; of an opaque token the endpoint's whole answer.
    pub payload: Option<String>,
    /// It is a text that says nothing: the introspection endpoint says the claims, and `active`
    /// and `token_type` beside them.
    pub opaque: bool,
    /// How the signature is changed; the words are in `hostile`.
    pub signature: Option<String>,
}

/// One API key.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySeed {
    /// Tenant of its owner.
    pub tenant: String,
    /// Prefix of the key's text.
    pub prefix: String,
    /// Agent that presents it.
    pub agent: String,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Organisation of its owner.
    pub organisation: String,
    /// Clearance of its owner.
    pub clearance: Option<String>,
    /// What the key service holds about it.
    pub state: KeyState,
}

impl Default for KeySeed {
    fn default() -> Self {
        Self {
            tenant: "acme".into(),
            prefix: "pk_".into(),
            agent: "agent-7".into(),
            scopes: vec!["documents:read".into(), "documents:write".into()],
            organisation: "research".into(),
            clearance: None,
            state: KeyState::Active,
        }
    }
}

/// State of a seeded key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Works.
    #[default]
    Active,
    /// Its time is over.
    Expired,
    /// Taken back.
    Revoked,
    /// Well formed, but never stored.
    Unknown,
    /// The id is stored with another secret.
    Mismatch,
}

/// One step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What the caller sends.
    pub request: RequestSpec,
    /// What the upstream answers if it is asked.
    #[serde(default)]
    pub upstream: AnswerSpec,
    /// What the upstream answers to a canary if it gets one; `200` without content when absent.
    #[serde(default)]
    pub canary: AnswerSpec,
    /// How the key service behaves during the step.
    #[serde(default)]
    pub key_service: Fault,
    /// Keys that the issuer publishes from this step on; `k1` at first.
    pub issuer: Option<Vec<String>>,
    /// What the server of policy bundles says from this step on. Everybody who polls has seen it
    /// before the request is made.
    pub bundle: Option<Said>,
    /// What the introspection endpoint says of opaque tokens from this step on: overlays.
    #[serde(default)]
    pub answers: BTreeMap<String, Value>,
    /// How revocation heads go from this step on, until the scenario ends.
    pub feed: Option<Kind>,
    /// A key to take back before the step, `invite:NAME`, or `KIND:ID` of anything else.
    pub revoke: Option<String>,
    /// The sets that gateways of the tenant are held to from this step on, until the scenario ends.
    pub authorised: Option<Vec<Authorised>>,
    /// What an operator says about an approval before the step.
    pub decide: Option<Ruling>,
    /// Time that passes before the step, such as `5s`.
    pub advance: Option<String>,
}

/// Field lines in order: a list of one-entry maps.
pub type FieldList = Vec<BTreeMap<String, String>>;

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestSpec {
    /// Method.
    pub method: String,
    /// `Host`.
    pub authority: String,
    /// Request target.
    pub path: String,
    /// Name of a key, sent as `x-tap-key`.
    pub key: Option<String>,
    /// Further field lines.
    pub fields: FieldList,
    /// Content with a length.
    pub body: Option<String>,
    /// Content in chunks.
    pub chunks: Option<Vec<String>>,
    /// Trailer section; makes the content chunked.
    pub trailers: FieldList,
    /// A capability token to send, with a proof.
    pub capability: Option<capability::Spec>,
    /// A token to send with a proof.
    pub dpop: Option<dpop::Spec>,
    /// Name of the certificate that the caller shows.
    pub certificate: Option<String>,
}

impl Default for RequestSpec {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            authority: "api.test".into(),
            path: "/api/things".into(),
            key: None,
            fields: Vec::new(),
            body: None,
            chunks: None,
            trailers: Vec::new(),
            capability: None,
            dpop: None,
            certificate: None,
        }
    }
}

/// An upstream's answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerSpec {
    /// Status.
    pub status: u16,
    /// Field lines.
    pub fields: FieldList,
    /// Content with a length.
    pub body: Option<String>,
    /// Content in chunks, written one by one.
    pub chunks: Option<Vec<String>>,
    /// Trailer section; makes the content chunked.
    pub trailers: FieldList,
    /// Instead of all that: these bytes, and then the connection closes.
    pub raw: Option<String>,
    /// Nothing comes, or nothing more after `raw`, and the connection stays open.
    pub silent: bool,
}

impl Default for AnswerSpec {
    fn default() -> Self {
        Self {
            status: 200,
            fields: Vec::new(),
            body: None,
            chunks: None,
            trailers: Vec::new(),
            raw: None,
            silent: false,
        }
    }
}

impl AnswerSpec {
    /// Whether only who reads HTTP can say what it is.
    fn is_for_proxies(&self) -> bool {
        self.raw.is_some() || self.silent
    }
}

/// What a step must give. Every key but the optional ones has to be there: silence is
/// not a wish.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// Status the client gets.
    pub status: u16,
    /// Problem code of our refusal.
    pub code: Option<String>,
    /// Response fields; null means absent.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// The whole content.
    pub body: Option<String>,
    /// Response trailers; null means absent.
    #[serde(default)]
    pub trailers: BTreeMap<String, Option<String>>,
    /// The answer ends early.
    #[serde(default)]
    pub cut: bool,
    /// The answer comes within this time, such as `3s`.
    pub within: Option<String>,
    /// The request as the upstream got it; null means it got none.
    #[serde(deserialize_with = "present")]
    pub upstream: Option<SeenWant>,
    /// The canary as the upstream got it; none came when absent.
    #[serde(default)]
    pub canary: Option<SeenWant>,
    /// Fields of the audit record; null means absent.
    pub audit: BTreeMap<String, Value>,
    /// How often the introspection endpoint was asked; not looked at when absent.
    pub asked: Option<usize>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SeenWant>, D::Error> {
    Option::deserialize(deserializer)
}

/// What of the forwarded request is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeenWant {
    /// Method.
    pub method: Option<String>,
    /// Path with query.
    pub path: Option<String>,
    /// `Host`.
    pub authority: Option<String>,
    /// Fields; null means absent.
    pub fields: BTreeMap<String, Option<String>>,
    /// Content.
    pub body: Option<String>,
    /// Trailers; null means absent.
    pub trailers: BTreeMap<String, Option<String>>,
}

/// A scenario with its name, `group/file`.
#[derive(Clone, Debug)]
pub struct Named {
    /// Name.
    pub name: String,
    /// The file's content.
    pub scenario: Scenario,
}

/// Every scenario below `folder`, sorted by name.
pub fn load(folder: &Path) -> Result<Vec<Named>> {
    let mut files = Vec::new();
    for group in folders(folder)? {
        files.extend(
            entries(&group)?.into_iter().filter(|f| f.extension().is_some_and(|e| e == "yaml")),
        );
    }
    files.sort();
    files.iter().map(|file| read(folder, file)).collect()
}

fn read(folder: &Path, file: &Path) -> Result<Named> {
    let name = file.strip_prefix(folder)?.with_extension("").display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    let mut scenario: Scenario = serde_saphyr::from_str(&text).with_context(|| name.clone())?;
    pin(&mut scenario);
    check(&scenario).with_context(|| name.clone())?;
    Ok(Named { name, scenario })
}

/// Modules pin the evidence that is shown, unless the scenario says otherwise.
fn pin(scenario: &mut Scenario) {
    if scenario.seed.evidence.is_empty() {
        return;
    }
    for module in ["gate", "credential", "audit"] {
        let mut config = pins(&scenario.seed.evidence);
        if let Some(own) = scenario.config.get(module) {
            merge(&mut config, own);
        }
        scenario.config.insert(module.to_owned(), config);
    }
}

/// What the types do not say about a file.
fn check(scenario: &Scenario) -> Result<()> {
    ensure!(!scenario.steps.is_empty(), "no steps");
    ensure!(scenario.steps.len() == scenario.want.len(), "one want for each step");
    let missing: Vec<&str> = everywhere()
        .into_iter()
        .filter(|boundary| !scenario.boundaries.contains(boundary))
        .map(Boundary::name)
        .collect();
    let why = scenario.why.is_some();
    ensure!(
        missing.is_empty() || why,
        "not on {}: a missing boundary needs `why`",
        missing.join(", ")
    );
    ensure!(!missing.is_empty() || !why, "`why` is for a missing boundary, and none is");
    let raw = scenario
        .steps
        .iter()
        .any(|step| step.upstream.is_for_proxies() || step.canary.raw.is_some());
    let core = scenario.boundaries.contains(&Boundary::Core);
    ensure!(!(raw && core), "`raw` and `silent` are read by proxies: leave out core");
    ensure!(scenario.route.is_null() || !core, "the core has no routes: leave it out");
    Ok(())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    list.map(|entry| Ok(entry?.path())).collect()
}

/// `250ms`, `5s`, `2m`.
pub fn duration(text: &str) -> Result<std::time::Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().with_context(|| format!("duration {text:?}"))?;
    let unit = match text.strip_prefix(digits) {
        Some("ms") => 1,
        Some("s") => 1000,
        Some("m") => 60_000,
        _ => anyhow::bail!("duration {text:?}: expected ms, s or m"),
    };
    Ok(std::time::Duration::from_millis(count.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(head: &str) -> Option<String> {
        let text = format!(
            "note: n\n{head}steps: [{{request: {{}}}}]\n\
            want: [{{status: 200, upstream: null, audit: {{}}}}]\n"
        );
        let scenario = serde_saphyr::from_str(&text).unwrap();
        check(&scenario).err().map(|error| error.to_string())
    }

    #[test]
    fn a_boundary_is_left_out_only_with_a_reason() {
        assert_eq!(problem(""), None);
        assert_eq!(problem("boundaries: [spin, envoy, host, core]\n"), None);
        assert_eq!(problem("boundaries: [core]\nwhy: proxies refuse it\n"), None);
        let missing = "not on core, host, spin: a missing boundary needs `why`";
        assert_eq!(problem("boundaries: [envoy]\n").as_deref(), Some(missing));
        let idle = "`why` is for a missing boundary, and none is";
        assert_eq!(problem("why: because\n").as_deref(), Some(idle));
    }
}
