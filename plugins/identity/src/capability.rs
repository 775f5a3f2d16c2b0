//! Capability tokens with proof of possession (`plugins/capability/SPEC.md`) as an
//! authenticator.
//!
//! Owns what becomes of a verified token, presented or just issued for an invite: the identity document, the limits that the gate
//! holds the request against, and the reason for the record where it is refused.
//!
//! Invariant: nobody is established without a proof over this very request whose nonce no
//! worker has met, and what the content has to be is what was signed: nothing, where the
//! proof covers no digest.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use postern_capability::cache::Cache;
use postern_capability::proof::{self, Request, Window};
use postern_capability::right::Right;
use postern_capability::{Chain, Context, IssuerKey, PublicKey, Refusal, Tables, claims};
use postern_core::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Revocable, Sight, Verdict,
};
use postern_core::config::gate::{CAPABILITY_FIELD, Capability};
use postern_core::config::{ConfigError, Problems};
use postern_core::denial::{Denial, Ours, PolicyReason, ProofKind, TokenReason};
use postern_core::fields::Fields;
use postern_core::hex;
use postern_core::identity::{Identity, Kind};
use postern_core::limits::Limits;
use postern_core::nonces::{Met, Nonces};
use postern_core::revocation;
use postern_core::time::{Moment, UnixMillis};
use sha2::{Digest, Sha256};

use crate::nonce;

const TRUST: [&str; 4] = ["observer", "suggester", "collaborator", "autonomous"];

/// The capability tokens of a tenant.
pub struct Capabilities(pub(crate) Rc<Verifier>);

pub(crate) struct Verifier {
    pub(crate) config: Capability,
    tenant: String,
    issuers: Vec<IssuerKey>,
    tables: Tables,
    cache: RefCell<Cache>,
    /// When expired tokens were dropped last, in seconds.
    swept: Cell<u64>,
    nonces: Rc<dyn Nonces>,
}

impl Capabilities {
    /// Tokens of the configured issuers; every key that is no key of Ed25519 is a problem.
    pub fn new(
        config: &Capability,
        tenant: &str,
        nonces: Rc<dyn Nonces>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let issuers = problems.list("issuers", config.issuers.clone(), |one| {
            let expected = || ConfigError::one("key", "expected a key of Ed25519");
            let key = PublicKey::parse(&one.key).ok_or_else(expected)?;
            Ok(IssuerKey { id: one.kid, issuer: one.issuer, key })
        });
        let issuers = problems.finish(Some(issuers))?;
        Ok(Self(Rc::new(Verifier {
            tables: Tables::new(issuers.iter().map(|issuer| &issuer.key)),
            cache: RefCell::new(Cache::new(config.cache)),
            config: config.clone(),
            tenant: tenant.to_owned(),
            swept: Cell::new(0),
            issuers,
            nonces,
        })))
    }
}

impl Authenticator for Capabilities {
    fn kind(&self) -> Kind {
        Kind::Capability
    }

    fn sight(&self, presented: &Presented<'_>) -> Sight {
        let Some(token) = presented.value(CAPABILITY_FIELD) else { return Sight::Absent };
        if !token.starts_with(postern_capability::token::PREFIX) {
            return Sight::Unlike(TokenReason::Syntax);
        }
        let signed = Signed::read(presented.fields, token);
        let attempt = CapabilityAttempt { verifier: Rc::clone(&self.0), signed };
        Sight::Recognised { place: CAPABILITY_FIELD.to_owned(), attempt: Box::new(attempt) }
    }
}

/// What of a head a proof is about; `None` where it is not one line of text.
pub(crate) struct Signed {
    method: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    target: Option<String>,
    token: String,
    input: Option<String>,
    signature: Option<String>,
    /// `Some(None)` for a digest that is not one line of text.
    digest: Option<Option<String>>,
    has_content: bool,
    /// Fields that the proof names, one line of text each.
    pub(crate) fields: Vec<(String, String)>,
}

impl Signed {
    pub(crate) fn read(fields: &Fields, token: &str) -> Self {
        let text = |name| Some(str::from_utf8(fields.only(name)?).ok()?.to_owned());
        let none = |value: &[u8]| value == b"0";
        Self {
            method: text(":method"),
            scheme: text(":scheme"),
            authority: text(":authority"),
            target: text(":path"),
            token: token.to_owned(),
            input: text("signature-input"),
            signature: text("signature"),
            digest: fields.has("content-digest").then(|| text("content-digest")),
            has_content: fields.has("transfer-encoding") || !fields.all("content-length").all(none),
            fields: text("signature-input").map_or_else(Vec::new, |input| named(fields, &input)),
        }
    }

    pub(crate) fn request<'a>(
        &'a self,
        fields: &'a [(&'a str, &'a str)],
    ) -> Result<Request<'a>, TokenReason> {
        let part = |part: &'_ Option<String>| part.is_some();
        if !part(&self.input) && !part(&self.signature) {
            return Err(TokenReason::ProofMissing);
        }
        let digest = match &self.digest {
            Some(None) => return Err(TokenReason::ProofDigest),
            Some(Some(digest)) => Some(digest.as_str()),
            None => None,
        };
        let read = || {
            Some(Request {
                method: self.method.as_deref()?,
                scheme: self.scheme.as_deref()?,
                authority: self.authority.as_deref()?,
                target: self.target.as_deref()?,
                token: &self.token,
                signature_input: self.input.as_deref()?,
                signature: self.signature.as_deref()?,
                content_digest: digest,
                has_content: self.has_content,
                fields,
            })
        };
        read().ok_or(TokenReason::Proof)
    }
}

/// The fields whose names stand in a proof's input, in quotes.
fn named(fields: &Fields, input: &str) -> Vec<(String, String)> {
    let line = |field: &postern_core::fields::Field| {
        let name = str::from_utf8(&field.name).ok()?.to_ascii_lowercase();
        let named = input.contains(&format!("\"{name}\""));
        // What is no text fits no proof: it stands in as a value that none covers.
        let value = || str::from_utf8(&field.value).unwrap_or_default().to_owned();
        named.then(|| (name, value()))
    };
    fields.0.iter().filter_map(line).collect()
}

/// One token; its verdict needs nobody else.
struct CapabilityAttempt {
    verifier: Rc<Verifier>,
    signed: Signed,
}

impl Attempt for CapabilityAttempt {
    fn start(&mut self, at: Moment) -> Progress {
        Progress::Done(self.verifier.verdict(&self.signed, at.now))
    }
}

impl Verifier {
    fn verdict(&self, signed: &Signed, now: UnixMillis) -> Verdict {
        let fields: Vec<(&str, &str)> =
            signed.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = signed.request(&fields).map_err(Denial::InvalidToken)?;
        let chain = self.chain(&signed.token, now.seconds())?;
        let proof = proof::verify(&request, chain.holder(), self.window(now), &self.tables);
        let proof = proof.map_err(invalid)?;
        let next = match self.config.nonce.is_for(request.method) {
            true => nonce::check(&*self.nonces, proof.issued(), ProofKind::Capability, now)?,
            false => None,
        };
        // Only now, so that nobody else can use up a holder's nonces.
        self.first_use(proof.replay_key(), now)?;
        let nothing = || Sha256::digest(b"").into();
        let content = proof.content().copied().unwrap_or_else(nothing);
        let right = chain.right().clone();
        let limits = Rc::new(TokenLimits { right, signed: proof.fields().to_vec() });
        let established = established(&chain).of_content(content);
        Ok(established.within(limits, attempts(&chain)).offering(next))
    }

    /// When a proof is good.
    pub(crate) fn window(&self, now: UnixMillis) -> Window {
        Window {
            now: now.seconds(),
            past: self.config.past.as_secs(),
            future: self.config.future.as_secs(),
        }
    }

    /// Whom a token names that was just issued for `holder`: nobody where it is not one that a
    /// request could present here.
    pub(crate) fn issued(
        &self,
        token: &str,
        holder: &PublicKey,
        now: UnixMillis,
    ) -> Option<Established> {
        let chain = self.chain(token, now.seconds()).ok()?;
        (chain.holder() == holder).then(|| established(&chain))
    }

    fn chain(&self, token: &str, now: u64) -> Result<Chain, Denial> {
        let context = Context {
            tenant: &self.tenant,
            audience: &self.config.audience,
            issuers: &self.issuers,
            life: self.config.max_life.as_secs(),
            now,
        };
        let Ok(mut cache) = self.cache.try_borrow_mut() else {
            return Err(Denial::Internal(Ours::Unexpected));
        };
        if self.swept.replace(now) != now {
            cache.expire(now);
        }
        cache.verify(token.as_bytes(), &context, &self.tables).map_err(invalid)
    }

    fn first_use(&self, nonce: &[u8; 32], now: UnixMillis) -> Result<(), Denial> {
        match self.nonces.meet(nonce, now) {
            Met::New => Ok(()),
            Met::Before => Err(Denial::InvalidToken(TokenReason::Replayed)),
            Met::Full => Err(Denial::RateLimited),
            Met::Forged => Err(Denial::Internal(Ours::NoncesForged)),
            Met::Unwritten => Err(Denial::Internal(Ours::NoncesUnwritten)),
        }
    }
}

/// Whom a chain names, and by what that can be revoked.
fn established(chain: &Chain) -> Established {
    Established::verified(identity(chain)).known_by(passed_on(chain))
}

/// One answer for all of them; the record learns more.
pub(crate) fn invalid(refusal: Refusal) -> Denial {
    Denial::InvalidToken(match refusal {
        Refusal::TooLong
        | Refusal::Text
        | Refusal::Encoding
        | Refusal::Blocks
        | Refusal::Structure
        | Refusal::Header => TokenReason::Syntax,
        Refusal::UnknownClaim | Refusal::Claim(_) => TokenReason::Claims,
        Refusal::UnknownIssuer => TokenReason::Issuer,
        Refusal::Signature => TokenReason::Signature,
        Refusal::Chain | Refusal::TooDeep | Refusal::Disjoint => TokenReason::Chain,
        Refusal::NotYet => TokenReason::NotYet,
        Refusal::Expired => TokenReason::Expired,
        Refusal::Life => TokenReason::Life,
        Refusal::Audience => TokenReason::Audience,
        Refusal::Tenant => TokenReason::Tenant,
        Refusal::ProofForm | Refusal::ProofComponents | Refusal::ProofParameters => {
            TokenReason::Proof
        }
        Refusal::ProofStale | Refusal::ProofFuture => TokenReason::ProofTime,
        Refusal::ProofDigest => TokenReason::ProofDigest,
        Refusal::ProofSignature => TokenReason::ProofSignature,
    })
}

/// The user is for whom the token was issued, the agent to whom it was passed last; the name
/// of the token is its first block's. The caller is the whole chain with the key that it names
/// last: others hold tokens with the same first blocks, and whoever made a block can make
/// another with the same `cti`, but not for a key that is not his.
fn identity(chain: &Chain) -> Identity {
    let right = chain.right();
    let user = chain.subjects().first().cloned().unwrap_or_default();
    let agent = chain.subjects().last().cloned().unwrap_or_default();
    let id = chain.ids().first().map(|id| hex::lower(id)).unwrap_or_default();
    let trust = TRUST.get(usize::from(right.trust)).copied().unwrap_or(TRUST[0]);
    let list = |set: &postern_capability::form::Set| set.iter().cloned().collect();
    Identity {
        subject: subject(chain),
        kind: Kind::Capability,
        tenant: right.tenant.clone(),
        organisation: right.organisation.clone().unwrap_or_default(),
        user,
        agent,
        roles: list(&right.roles),
        scopes: list(&right.scopes),
        trust: trust.to_owned(),
        clearance: (right.clearance > 0).then(|| right.clearance.to_string()),
        document: right.document.clone(),
        token_id: id,
        expires: Some(right.expires),
        platform: None,
    }
}

/// `capability:a0…a0.a1…a1#` and the key of the last `cnf`.
fn subject(chain: &Chain) -> String {
    let ids: Vec<String> = chain.ids().iter().map(|id| hex::lower(id)).collect();
    format!("capability:{}#{}", ids.join("."), hex::lower(chain.holder().as_bytes()))
}

/// The issuer's key, every block, and everybody through whose hands the token went: one of
/// them revoked, and nothing that was narrowed from there on holds.
fn passed_on(chain: &Chain) -> Vec<Revocable> {
    let blocks = chain.ids().iter().map(|id| (revocation::Kind::Token, hex::lower(id)));
    let holders = chain.subjects().iter().map(|name| (revocation::Kind::Agent, name.clone()));
    let key = (revocation::Kind::IssuerKey, chain.issuer().id.clone());
    blocks.chain(holders).chain([key]).collect()
}

/// `1:scopes` for a second block that asked for scopes that the first had not.
fn attempts(chain: &Chain) -> Vec<String> {
    let block = |(block, asked): &(usize, Vec<i64>)| -> Vec<String> {
        asked.iter().map(|claim| format!("{block}:{}", claims::name(*claim))).collect()
    };
    chain.widened().iter().flat_map(block).collect()
}

/// The limits of a token's right, and of what its holder has signed.
#[derive(Debug)]
struct TokenLimits {
    right: Right,
    signed: Vec<String>,
}

impl Limits for TokenLimits {
    fn admits(
        &self,
        method: &str,
        authority: Option<&str>,
        path: &str,
    ) -> Result<(), PolicyReason> {
        let right = &self.right;
        let only = |right: Right| right.admits(method, authority.unwrap_or_default(), path);
        let none = Right::default;
        if !only(Right { methods: right.methods.clone(), ..none() }) {
            return Err(PolicyReason::TokenMethod);
        }
        if !only(Right { hosts: right.hosts.clone(), ..none() }) {
            return Err(PolicyReason::TokenHost);
        }
        if !only(Right { paths: right.paths.clone(), ..none() }) {
            return Err(PolicyReason::TokenPath);
        }
        // Nothing here knows which tool or model a request is for, what it costs, or how to
        // have it approved.
        let unknown = right.tools.is_some() || right.models.is_some() || right.budget.is_some();
        if unknown || right.approval > 0 {
            return Err(PolicyReason::TokenLimit);
        }
        Ok(())
    }

    fn admits_credential(&self, name: &str) -> bool {
        self.right.credentials.contains(name)
    }

    fn document(&self) -> Option<&str> {
        self.right.document.as_deref()
    }

    fn covers(&self, field: &str) -> bool {
        self.signed.iter().any(|signed| signed == field)
    }
}

#[cfg(test)]
mod tests;
