//! Tokens of Microsoft Azure Attestation for confidential containers (kind `maa`).
//!
//! Invariant: the key is the one pinned for (issuer, key id); what the token says about keys
//! (`jku`, `x5c`, `jwk`, `x5u`) is never looked at. Claims count at the top level and in
//! their own type only.

use postern_core::hex;
use postern_jose::jws::{Keys, Unverified};
use postern_jose::{Key, KeySet, Pure, json};
use serde_json::{Map, Value};

use crate::{Context, Passed, Refusal, check};

/// Age that a token may have when it is appraised, in seconds, unless configured.
pub const MAX_AGE: u64 = 3600;
/// How far clocks may be apart, in seconds.
const SKEW: u64 = 60;

/// An issuer and its pinned keys.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// Keys of RS256, each with its id.
    pub keys: KeySet,
}

/// What is believed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Issuers.
    pub issuers: Vec<Issuer>,
    /// `x-ms-policy-hash` is one of these; with none, it is not looked at.
    pub policy_hashes: Vec<String>,
    /// Age that a token may have, in seconds.
    pub max_age: u64,
    /// Least values of claims such as `x-ms-sevsnpvm-bootloader-svn`.
    pub floors: Vec<(&'static str, u64)>,
    /// `is-debuggable` and `vmpl` may be absent; when they are there they have to be right.
    pub three_claims: bool,
}

impl Issuer {
    /// An issuer with keys by id, each a modulus in base64url with the exponent 65537.
    pub fn new<'a>(issuer: &str, keys: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let text = |text: &str| Value::from(text);
        let keys = keys.map(|(id, n)| {
            let members = [("kty", "RSA"), ("alg", "RS256"), ("kid", id), ("n", n), ("e", "AQAB")];
            let jwk = members.into_iter().map(|(name, value)| (name.to_owned(), text(value)));
            Key::read(&jwk.collect()).filter(|_| !id.is_empty())
        });
        let keys = KeySet::of(keys.collect::<Option<_>>()?).ok()?;
        Some(Self { issuer: issuer.to_owned(), keys })
    }
}

/// The claim of a firmware version by its short name.
pub fn floor(name: &str) -> Option<&'static str> {
    Some(match name {
        "guest" => "x-ms-sevsnpvm-guestsvn",
        "bootloader" => "x-ms-sevsnpvm-bootloader-svn",
        "tee" => "x-ms-sevsnpvm-tee-svn",
        "snp" => "x-ms-sevsnpvm-snpfw-svn",
        "microcode" => "x-ms-sevsnpvm-microcode-svn",
        _ => return None,
    })
}

/// Appraises a token; when it ends, in seconds.
///
/// # Errors
/// The first rule that is broken.
pub fn appraise(
    token: &[u8],
    policy: &Policy,
    context: &Context<'_>,
    passed: Passed<'_>,
) -> Result<u64, Refusal> {
    let claims = verified(token, policy, passed)?;
    appraise_claims(&claims, policy, context, passed)
}

fn appraise_claims(
    claims: &Map<String, Value>,
    policy: &Policy,
    context: &Context<'_>,
    passed: Passed<'_>,
) -> Result<u64, Refusal> {
    let end = times(claims, policy, context.now, passed)?;
    platform(claims, policy, passed)?;
    let host_data = text(claims, "x-ms-sevsnpvm-hostdata")
        .and_then(|digits| hex::read::<32>(digits.as_bytes()));
    let host_data = host_data.ok_or(Refusal::Claim("x-ms-sevsnpvm-hostdata"))?;
    let known = context.releases.admits(&host_data);
    check(known, "host data: in the release set", Refusal::HostData, passed)?;
    let bound = format!("{}{}", hex::lower(context.runtime_hash), "0".repeat(64));
    let binds = text(claims, "x-ms-sevsnpvm-reportdata") == Some(bound.as_str());
    check(binds, "report data: binds the runtime data", Refusal::ReportData, passed)?;
    Ok(end)
}

/// Claims of any bytes, as if a pinned key had signed them: nothing is authorised.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_claims(bytes: &[u8], context: &Context<'_>) {
    let policy = Policy {
        issuers: Vec::new(),
        policy_hashes: Vec::new(),
        max_age: u64::MAX,
        floors: Vec::new(),
        three_claims: true,
    };
    if let Some(claims) = json::object(bytes) {
        let judged = appraise_claims(&claims, &policy, context, &mut |_| ());
        assert!(judged.is_err(), "nothing is authorised");
    }
}

/// The claims under the pinned key of the issuer that the token names.
fn verified(
    token: &[u8],
    policy: &Policy,
    passed: Passed<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let unverified = Unverified::parse_with(token, Keys::Pinned).map_err(Refusal::Token)?;
    let issuer = unverified.claimed_issuer().ok_or(Refusal::Claim("iss"))?;
    let issuer = policy.issuers.iter().find(|pinned| pinned.issuer == issuer);
    let issuer = issuer.ok_or(Refusal::NotPinned)?;
    let pinned = unverified.key_id().is_some_and(|id| issuer.keys.knows(id));
    check(pinned, "token: issuer and key are pinned", Refusal::NotPinned, passed)?;
    let token = unverified.verify(&issuer.keys, &Pure).map_err(Refusal::Token)?;
    let typed = token.kind.as_deref() == Some("JWT");
    check(typed, "token: RS256 signature", Refusal::Token(postern_jose::Refusal::Type), passed)?;
    json::object(&token.payload).ok_or(Refusal::Token(postern_jose::Refusal::Json))
}

fn times(
    claims: &Map<String, Value>,
    policy: &Policy,
    now: u64,
    passed: Passed<'_>,
) -> Result<u64, Refusal> {
    let time = |name| number(claims, name).ok_or(Refusal::Claim(name));
    let (issued, start, end) = (time("iat")?, time("nbf")?, time("exp")?);
    let soon = now.saturating_add(SKEW);
    let young = now.saturating_sub(issued) <= policy.max_age;
    let valid = issued <= soon && start <= soon && now < end && young;
    check(valid, "token: valid now", Refusal::TokenTime, passed)?;
    Ok(end)
}

fn platform(
    claims: &Map<String, Value>,
    policy: &Policy,
    passed: Passed<'_>,
) -> Result<(), Refusal> {
    for (name, wanted) in
        [("x-ms-attestation-type", "sevsnpvm"), ("x-ms-compliance-status", "azure-compliant-uvm")]
    {
        check(text(claims, name) == Some(wanted), name, Refusal::Claim(name), passed)?;
    }
    for (name, wanted) in [
        ("x-ms-sevsnpvm-is-debuggable", Value::Bool(false)),
        ("x-ms-sevsnpvm-vmpl", Value::from(0_u64)),
    ] {
        let holds = claims.get(name).map_or(policy.three_claims, |value| *value == wanted);
        check(holds, name, Refusal::Claim(name), passed)?;
    }
    if !policy.policy_hashes.is_empty() {
        let name = "x-ms-policy-hash";
        let known = text(claims, name)
            .is_some_and(|hash| policy.policy_hashes.iter().any(|pinned| pinned == hash));
        check(known, name, Refusal::Claim(name), passed)?;
    }
    for (name, least) in &policy.floors {
        let reached = number(claims, name).is_some_and(|value| value >= *least);
        check(reached, name, Refusal::Claim(name), passed)?;
    }
    Ok(())
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// A whole number; `1.0` is none.
fn number(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    claims.get(name)?.as_u64()
}
