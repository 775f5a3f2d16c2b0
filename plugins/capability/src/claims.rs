//! What one block says (SPEC.md, 3).
//!
//! Owns the numbers of the claims and their order. Invariant: decoding refuses what
//! encoding would not have written; whether a claim may stand in a block's place is
//! [`Claims::check`]'s to say.

use crate::cbor::{self, Value};
use crate::form::{self, Set};
use crate::key::PublicKey;
use crate::refusal::Refusal;

/// Numbers of claims: RFC 8392, RFC 8747, and private ones.
pub mod label {
    #![allow(missing_docs, reason = "the names are those of SPEC.md, section 3")]
    pub const ISSUER: i64 = 1;
    pub const SUBJECT: i64 = 2;
    pub const AUDIENCE: i64 = 3;
    pub const EXPIRES: i64 = 4;
    pub const NOT_BEFORE: i64 = 5;
    pub const ISSUED_AT: i64 = 6;
    pub const ID: i64 = 7;
    pub const CONFIRMATION: i64 = 8;
    pub const PREVIOUS: i64 = -65_537;
    pub const TENANT: i64 = -65_538;
    pub const ORGANISATION: i64 = -65_539;
    pub const SCOPES: i64 = -65_540;
    pub const ROLES: i64 = -65_541;
    pub const TRUST: i64 = -65_542;
    pub const CLEARANCE: i64 = -65_543;
    pub const CREDENTIALS: i64 = -65_544;
    pub const HOSTS: i64 = -65_545;
    pub const METHODS: i64 = -65_546;
    pub const PATHS: i64 = -65_547;
    pub const TOOLS: i64 = -65_548;
    pub const MODELS: i64 = -65_549;
    pub const BUDGET: i64 = -65_550;
    pub const DOCUMENT: i64 = -65_551;
    pub const APPROVAL: i64 = -65_552;
    pub const DEPTH: i64 = -65_553;
}

/// Highest level of trust and of approval.
const HIGHEST: u8 = 3;
/// Most blocks that can follow one.
const DEEPEST: u8 = 7;

/// The claims of a block; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iss`: who issued the token.
    pub issuer: Option<String>,
    /// `sub`: for whom, or to whom it was passed.
    pub subject: Option<String>,
    /// `aud`: the gateway that it is for.
    pub audience: Option<String>,
    /// `exp`, in seconds.
    pub expires: Option<u64>,
    /// `nbf`, in seconds.
    pub not_before: Option<u64>,
    /// `iat`, in seconds.
    pub issued_at: Option<u64>,
    /// `cti`.
    pub id: Option<[u8; 16]>,
    /// `cnf`: the key that signs the next block, or the request.
    pub holder: Option<PublicKey>,
    /// SHA-256 of the block before.
    pub previous: Option<[u8; 32]>,
    /// Tenant.
    pub tenant: Option<String>,
    /// Organisation.
    pub organisation: Option<String>,
    /// Scopes.
    pub scopes: Option<Set>,
    /// Roles.
    pub roles: Option<Set>,
    /// Level of trust, 0 to 3.
    pub trust: Option<u8>,
    /// Level of clearance.
    pub clearance: Option<u8>,
    /// Names of credentials.
    pub credentials: Option<Set>,
    /// Hosts.
    pub hosts: Option<Set>,
    /// Methods.
    pub methods: Option<Set>,
    /// Path prefixes.
    pub paths: Option<Set>,
    /// Tools.
    pub tools: Option<Set>,
    /// Models.
    pub models: Option<Set>,
    /// Budget, in the unit of the route's meter.
    pub budget: Option<u64>,
    /// The one document.
    pub document: Option<String>,
    /// Class of approval, 0 to 3; higher is stricter.
    pub approval: Option<u8>,
    /// How many blocks may follow.
    pub depth: Option<u8>,
}

impl Claims {
    /// Reads the payload of a block.
    pub fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        let value = cbor::decode(payload).ok_or(Refusal::Encoding)?;
        let entries = value.into_map().map_err(|_| Refusal::Structure)?;
        let mut claims = Self::default();
        for (label, value) in entries {
            let label = label.into_integer().ok().and_then(|label| i64::try_from(label).ok());
            claims.take(label.ok_or(Refusal::UnknownClaim)?, value)?;
        }
        Ok(claims)
    }

    /// One claim. A map has no label twice once `cbor::decode` has taken it.
    fn take(&mut self, claim: i64, value: Value) -> Result<(), Refusal> {
        let known = match claim {
            label::ISSUER => put(&mut self.issuer, form::text(value, form::name)),
            label::SUBJECT => put(&mut self.subject, form::text(value, form::name)),
            label::AUDIENCE => put(&mut self.audience, form::text(value, form::name)),
            label::EXPIRES => put(&mut self.expires, form::time(value)),
            label::NOT_BEFORE => put(&mut self.not_before, form::time(value)),
            label::ISSUED_AT => put(&mut self.issued_at, form::time(value)),
            label::ID => put(&mut self.id, form::bytes(value)),
            label::CONFIRMATION => put(&mut self.holder, holder(value)),
            label::PREVIOUS => put(&mut self.previous, form::bytes(value)),
            label::TENANT => put(&mut self.tenant, form::text(value, form::name)),
            label::ORGANISATION => put(&mut self.organisation, form::text(value, form::name)),
            label::DOCUMENT => put(&mut self.document, form::text(value, form::name)),
            label::BUDGET => put(&mut self.budget, form::number(value)),
            label::TRUST => put(&mut self.trust, form::level(value, HIGHEST)),
            label::CLEARANCE => put(&mut self.clearance, form::level(value, u8::MAX)),
            label::APPROVAL => put(&mut self.approval, form::level(value, HIGHEST)),
            label::DEPTH => put(&mut self.depth, form::level(value, DEEPEST)),
            _ => return self.take_set(claim, value),
        };
        known.ok_or(Refusal::Claim(name(claim)))
    }

    fn take_set(&mut self, claim: i64, value: Value) -> Result<(), Refusal> {
        let (slot, form): (_, form::Form) = match claim {
            label::SCOPES => (&mut self.scopes, form::name),
            label::ROLES => (&mut self.roles, form::name),
            label::CREDENTIALS => (&mut self.credentials, form::name),
            label::HOSTS => (&mut self.hosts, form::host),
            label::METHODS => (&mut self.methods, form::method),
            label::PATHS => (&mut self.paths, form::path),
            label::TOOLS => (&mut self.tools, form::name),
            label::MODELS => (&mut self.models, form::name),
            _ => return Err(Refusal::UnknownClaim),
        };
        put(slot, form::set(value, form)).ok_or(Refusal::Claim(name(claim)))
    }

    /// Whether every claim may stand in this place of the chain and none is missing there.
    pub fn check(&self, first: bool) -> Result<(), Refusal> {
        let rows = [
            (label::ISSUER, self.issuer.is_some(), first, first),
            (label::SUBJECT, self.subject.is_some(), first, true),
            (label::AUDIENCE, self.audience.is_some(), first, true),
            (label::EXPIRES, self.expires.is_some(), first, true),
            (label::ISSUED_AT, self.issued_at.is_some(), first, true),
            (label::ID, self.id.is_some(), true, true),
            (label::CONFIRMATION, self.holder.is_some(), true, true),
            (label::PREVIOUS, self.previous.is_some(), !first, !first),
            (label::TENANT, self.tenant.is_some(), first, true),
        ];
        let broken = |&&(_, there, required, allowed): &&(i64, bool, bool, bool)| -> bool {
            required && !there || there && !allowed
        };
        match rows.iter().find(broken) {
            Some((claim, ..)) => Err(Refusal::Claim(name(*claim))),
            None => Ok(()),
        }
    }
}

fn put<T>(slot: &mut Option<T>, value: Option<T>) -> Option<()> {
    *slot = Some(value?);
    Some(())
}

/// `{1: COSE_Key}` (RFC 8747, 3.2) with an OKP key on Ed25519 (RFC 9053, 7.2).
fn holder(value: Value) -> Option<PublicKey> {
    let [(which, key)] = <[_; 1]>::try_from(value.into_map().ok()?).ok()?;
    let [kind, curve, x] = <[_; 3]>::try_from(key.into_map().ok()?).ok()?;
    let fixed = which == Value::from(1)
        && kind == (Value::from(1), Value::from(1))
        && curve == (Value::from(-1), Value::from(6))
        && x.0 == Value::from(-2);
    PublicKey::parse(x.1.as_bytes().filter(|_| fixed)?)
}

/// The name of a claim, for messages.
pub fn name(claim: i64) -> &'static str {
    match claim {
        label::ISSUER => "iss",
        label::SUBJECT => "sub",
        label::AUDIENCE => "aud",
        label::EXPIRES => "exp",
        label::NOT_BEFORE => "nbf",
        label::ISSUED_AT => "iat",
        label::ID => "cti",
        label::CONFIRMATION => "cnf",
        label::PREVIOUS => "previous",
        label::TENANT => "tenant",
        label::ORGANISATION => "organisation",
        label::SCOPES => "scopes",
        label::ROLES => "roles",
        label::TRUST => "trust",
        label::CLEARANCE => "clearance",
        label::CREDENTIALS => "credentials",
        label::HOSTS => "hosts",
        label::METHODS => "methods",
        label::PATHS => "paths",
        label::TOOLS => "tools",
        label::MODELS => "models",
        label::BUDGET => "budget",
        label::DOCUMENT => "document",
        label::APPROVAL => "approval",
        label::DEPTH => "depth",
        _ => "unknown",
    }
}
