//! Tokens that are JWTs, verified here: access tokens (RFC 7519, RFC 9068) and, for
//! [`crate::svid`], JWT-SVIDs.
//!
//! Owns the order of checks, the wait for keys and the memory of verified tokens. Rules and
//! signatures are `postern-jose`'s.
//!
//! Invariant: a token is good only under keys that its issuer has now: a new set forgets
//! what was verified before, and without a set nothing is good, which is our fault (503) and
//! not the caller's. One that says it is bound (`cnf`) is good only on a connection with that
//! certificate, or with a proof by that key, every time it comes; with any other kind of
//! confirmation it is refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use postern_core::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Sight, Verdict,
};
use postern_core::config::gate::{Jwt, Workloads};
use postern_core::denial::{Denial, KeysReason, TokenReason};
use postern_core::identity::{Identity, Kind};
use postern_core::revocation;
use postern_core::spiffe::SpiffeId;
use postern_core::time::{Moment, UnixMillis};
use postern_jose::jws::{LENGTH, Unverified};
use postern_jose::jwt::{self, Rules, Token};
use postern_jose::{Refusal, Signatures};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Services;
use crate::cache::{Cache, Digest};
use crate::claims;
use crate::confirmation::Confirmation;
use crate::dpop::Proofs;
use crate::holder::Holder;
use crate::keys::{Keys, Standing};
use crate::workload;

/// Tokens of one issuer, or of one trust domain.
pub struct Jwts {
    reading: Reading,
    rules: Rules,
    max_life: Duration,
    /// Of keys that tokens are bound to, where they may be.
    proofs: Option<Proofs>,
    signatures: Rc<dyn Signatures>,
    tenant: String,
    keys: Rc<Keys>,
    known: RefCell<Known>,
}

/// What a good token is turned into an identity document by.
pub enum Reading {
    /// Claims.
    Access(Box<Jwt>),
    /// A SPIFFE ID of this trust domain.
    Svid(Rc<Workloads>, String),
}

/// Tokens that were verified under the set at hand.
struct Known {
    /// Which one.
    generation: u64,
    tokens: Cache<Good>,
}

/// What a verified token says.
#[derive(Clone)]
struct Good {
    identity: Identity,
    bound: Confirmation,
}

impl Jwts {
    /// Tokens as configured, under these keys.
    pub fn new(config: &Jwt, tenant: &str, keys: Rc<Keys>, services: &Services) -> Rc<Self> {
        let kind = match config.access_tokens_only {
            true => jwt::Kind::AccessToken,
            false => jwt::Kind::Plain,
        };
        let rules = Rules {
            issuer: config.issuer.clone(),
            audiences: config.audiences.clone(),
            kind,
            leeway: config.leeway.as_secs(),
        };
        let reading = Reading::Access(Box::new(config.clone()));
        let proofs = config.dpop.map(|window| Proofs::new(window, services));
        let bounds = (config.max_life, config.cache);
        Self::of(reading, rules, bounds, tenant, (keys, proofs, services))
    }

    /// Tokens that these rules are for, of at most this life; so many are remembered.
    pub fn of(
        reading: Reading,
        rules: Rules,
        (max_life, cache): (Duration, usize),
        tenant: &str,
        (keys, proofs, services): (Rc<Keys>, Option<Proofs>, &Services),
    ) -> Rc<Self> {
        let known = RefCell::new(Known { generation: 0, tokens: Cache::new(cache) });
        let (tenant, signatures) = (tenant.to_owned(), Rc::clone(&services.signatures));
        Rc::new(Self { reading, rules, max_life, proofs, signatures, tenant, keys, known })
    }

    /// A token that is as good now as when it was verified.
    fn remembered(&self, digest: &Digest, now: UnixMillis) -> Option<Good> {
        let standing = self.keys.standing(now);
        standing.set?;
        let mut known = self.known.try_borrow_mut().ok()?;
        if known.generation != standing.generation {
            known.tokens.clear();
            known.generation = standing.generation;
        }
        known.tokens.find(digest, now)
    }

    fn verified(&self, token: &Unverified, digest: &Digest, now: UnixMillis) -> Result<Good, Lack> {
        let standing = self.keys.standing(now);
        let set = standing.set.ok_or(Lack::NoKeys)?;
        let token = match jwt::check(token, &set, &self.rules, now.seconds(), &*self.signatures) {
            Ok(token) => token,
            Err(Refusal::NoKeys) => return Err(Lack::NoKeys),
            Err(Refusal::UnknownKey) if standing.failing => return Err(Lack::NoKeys),
            Err(Refusal::UnknownKey) => return Err(Lack::UnknownKey),
            Err(other) => return Err(Lack::Other(reason(other))),
        };
        let good = self.good(&token, digest, now).map_err(Lack::Other)?;
        if let Ok(mut known) = self.known.try_borrow_mut()
            && known.generation == standing.generation
        {
            let end = UnixMillis(token.expires().saturating_mul(1000));
            known.tokens.put(*digest, good.clone(), end);
        }
        Ok(good)
    }

    fn good(&self, token: &Token, digest: &Digest, now: UnixMillis) -> Result<Good, TokenReason> {
        // `iat` was checked to be a date, and not to lie ahead.
        let issued = token.claim("iat").and_then(Value::as_f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let issued = issued.map_or(now.seconds(), |seconds| seconds as u64);
        if token.expires().saturating_sub(issued) > self.max_life.as_secs() {
            return Err(TokenReason::Life);
        }
        let bound = Confirmation::read(token.claim("cnf")).ok_or(TokenReason::Bound)?;
        let identity = match &self.reading {
            Reading::Access(config) => self.caller(config, token, digest)?,
            Reading::Svid(workloads, domain) => self.workload(workloads, domain, token, digest)?,
        };
        Ok(Good { identity, bound })
    }

    fn caller(
        &self,
        config: &Jwt,
        token: &Token,
        digest: &Digest,
    ) -> Result<Identity, TokenReason> {
        if let Some(tenants) = &config.tenants {
            let tid = token.claim("tid").and_then(Value::as_str);
            if !tid.is_some_and(|tid| tenants.iter().any(|one| one == tid)) {
                return Err(TokenReason::Directory);
            }
        }
        let token_facts = claims::Token {
            kind: Kind::Jwt,
            issuer: &config.issuer,
            digest: *digest,
            expires: Some(token.expires()),
        };
        claims::identity(&config.claims, token.claims(), &token_facts, &self.tenant)
    }

    /// The trust domain whose keys have signed it is the only one that it can speak for.
    fn workload(
        &self,
        workloads: &Workloads,
        domain: &str,
        token: &Token,
        digest: &Digest,
    ) -> Result<Identity, TokenReason> {
        let id = token.subject().and_then(SpiffeId::parse).ok_or(TokenReason::SpiffeId)?;
        if id.trust_domain() != domain {
            return Err(TokenReason::TrustDomain);
        }
        let document = workload::Document {
            kind: Kind::JwtSvid,
            token_id: claims::token_id(token.claims(), digest)?,
            expires: Some(token.expires()),
        };
        workload::identity(workloads, &id, document, &self.tenant)
    }

    /// The way to a verdict about a token.
    pub fn attempt(
        self: &Rc<Self>,
        token: Unverified,
        digest: Digest,
        holder: Holder,
    ) -> Box<dyn Attempt> {
        Box::new(JwtAttempt {
            tokens: Rc::clone(self),
            digest,
            token,
            holder,
            waits: None,
            generation: 0,
        })
    }
}

/// What a token lacks to be good now.
enum Lack {
    /// Keys of ours, or newer ones than we could get.
    NoKeys,
    /// A key of its issuer.
    UnknownKey,
    /// Something that no fetch would change.
    Other(TokenReason),
}

fn reason(refusal: Refusal) -> TokenReason {
    match refusal {
        Refusal::TooLong => TokenReason::TooLong,
        Refusal::Form => TokenReason::Form,
        Refusal::Json => TokenReason::Json,
        Refusal::Header => TokenReason::Header,
        Refusal::Algorithm => TokenReason::Algorithm,
        Refusal::NoKeys | Refusal::UnknownKey => TokenReason::UnknownKey,
        Refusal::Signature => TokenReason::Signature,
        Refusal::Type => TokenReason::Type,
        Refusal::Claim(_) => TokenReason::Claim,
        Refusal::Issuer => TokenReason::Issuer,
        Refusal::Audience => TokenReason::Audience,
        Refusal::Expired => TokenReason::Expired,
        Refusal::NotYet => TokenReason::NotYet,
    }
}

/// The token in a field, in compact form and unverified; the field has one of these schemes
/// where it is `Authorization`.
pub fn presented(
    shown: &Presented<'_>,
    header: &str,
    schemes: &[&str],
) -> Result<(Unverified, Digest), Sight> {
    if shown.value(header).is_none() {
        return Err(Sight::Absent);
    }
    let token = match header {
        "authorization" => shown.token(header, schemes),
        _ => shown.value(header),
    };
    let Some(token) = token else { return Err(Sight::Unlike(TokenReason::Scheme)) };
    // Nothing longer is a token, and hashing it would only cost time.
    if token.len() > LENGTH {
        return Err(Sight::Unlike(TokenReason::TooLong));
    }
    let unverified = Unverified::parse(token.as_bytes());
    let unverified = unverified.map_err(|refusal| Sight::Unlike(reason(refusal)))?;
    Ok((unverified, Sha256::digest(token).into()))
}

/// An issuer's tokens in its field.
pub struct JwtAuthenticator {
    header: String,
    issuer: String,
    tokens: Rc<Jwts>,
}

impl JwtAuthenticator {
    /// Tokens as configured, under these keys.
    pub fn new(config: &Jwt, tenant: &str, keys: Rc<Keys>, services: &Services) -> Self {
        let (header, issuer) = (config.header.clone(), config.issuer.clone());
        Self { header, issuer, tokens: Jwts::new(config, tenant, keys, services) }
    }
}

impl Authenticator for JwtAuthenticator {
    fn kind(&self) -> Kind {
        Kind::Jwt
    }

    fn sight(&self, shown: &Presented<'_>) -> Sight {
        let proofs = self.tokens.proofs.is_some();
        let schemes: &[&str] = if proofs { &["Bearer", "DPoP"] } else { &["Bearer"] };
        let (token, digest) = match presented(shown, &self.header, schemes) {
            Ok(found) => found,
            Err(sight) => return sight,
        };
        // Another issuer's may be another authenticator's.
        match token.claimed_issuer() {
            Some(issuer) if issuer == self.issuer => {}
            Some(_) => return Sight::Unlike(TokenReason::Issuer),
            None => return Sight::Unlike(TokenReason::Claim),
        }
        // The scheme says that a proof comes along (RFC 9449, 7.1).
        let proven = proofs && shown.token(&self.header, &["DPoP"]).is_some();
        let attempt = self.tokens.attempt(token, digest, Holder::of(shown, proven));
        Sight::Recognised { place: self.header.clone(), attempt }
    }
}

struct JwtAttempt {
    tokens: Rc<Jwts>,
    digest: Digest,
    token: Unverified,
    holder: Holder,
    /// Fetches that had ended when this began to wait for the next one.
    waits: Option<u64>,
    /// The set that did not have its key.
    generation: u64,
}

impl JwtAttempt {
    /// The token is good; now its holder has to be the one that it was made for. The key it is
    /// signed with can be revoked as well, where the token names one.
    fn established(&self, good: Good, now: UnixMillis) -> Verdict {
        let Good { identity, bound } = good;
        let next = self.holder.confirm(&bound, self.tokens.proofs.as_ref(), &self.digest, now)?;
        let key = self.token.key_id().map(|id| (revocation::Kind::IssuerKey, id.to_owned()));
        let id = (identity.kind == Kind::JwtSvid).then(|| SpiffeId::parse(&identity.subject));
        let id = id.flatten().and_then(|id| workload::revocable(&id));
        Ok(Established::verified(identity).known_by(key).known_by(id).offering(next))
    }

    fn verdict(&self, now: UnixMillis) -> Result<Verdict, Lack> {
        match self.tokens.verified(&self.token, &self.digest, now) {
            Ok(good) => Ok(self.established(good, now)),
            Err(Lack::Other(reason)) => Ok(Err(Denial::InvalidToken(reason))),
            Err(missing) => Err(missing),
        }
    }
}

/// What to say when no further key comes.
fn without(missing: &Lack) -> Denial {
    match missing {
        Lack::NoKeys => Denial::KeysUnavailable(KeysReason::Never),
        Lack::UnknownKey => Denial::InvalidToken(TokenReason::UnknownKey),
        Lack::Other(reason) => Denial::InvalidToken(*reason),
    }
}

impl Attempt for JwtAttempt {
    fn start(&mut self, at: Moment) -> Progress {
        if let Some(good) = self.tokens.remembered(&self.digest, at.now) {
            return Progress::Done(self.established(good, at.now));
        }
        let Standing { ended, generation, .. } = self.tokens.keys.standing(at.now);
        match self.verdict(at.now) {
            Ok(verdict) => Progress::Done(verdict),
            Err(_) if self.tokens.keys.want(at.now) => {
                (self.waits, self.generation) = (Some(ended), generation);
                Progress::Wait
            }
            Err(missing) => Progress::Done(Err(without(&missing))),
        }
    }

    fn look(&mut self, now: UnixMillis) -> Option<Verdict> {
        let Standing { ended, generation, .. } = self.tokens.keys.standing(now);
        let waits = Some(ended) == self.waits;
        if waits && generation == self.generation {
            return None;
        }
        match self.verdict(now) {
            Ok(verdict) => Some(verdict),
            // Another worker's set, fetched before this was asked for: the next may have it.
            Err(_) if waits => None,
            Err(missing) => Some(Err(without(&missing))),
        }
    }

    fn late(&self) -> Denial {
        Denial::KeysUnavailable(KeysReason::Late)
    }
}

#[cfg(test)]
mod tests {
    use postern_core::config::gate::{Claims, Endpoint, KeySource};
    use postern_core::key_service::Background;
    use postern_core::key_service::CallAnswer;
    use postern_core::time::Entropy;
    use postern_jose::Usage;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn tokens() -> Rc<Jwts> {
        let text = |text: &str| text.to_owned();
        let from = Endpoint { cluster: text("idp"), authority: text("idp.test"), path: text("/j") };
        let (refresh, keep) = (Duration::from_secs(300), Duration::from_secs(600));
        let keys = KeySource::Fetched { from, refresh, keep };
        let none = Vec::new;
        let config = Jwt {
            header: text("authorization"),
            issuer: text("https://idp.test"),
            audiences: vec![text("gw")],
            access_tokens_only: false,
            leeway: Duration::ZERO,
            max_life: Duration::from_secs(60),
            keys: keys.clone(),
            claims: Claims {
                tenant: none(),
                organisation: none(),
                user: none(),
                agent: none(),
                roles: none(),
                scopes: none(),
                trust: none(),
                clearance: none(),
            },
            tenants: None,
            cache: 4,
            dpop: None,
        };
        let services = Services::none();
        let keys = Keys::new(&keys, Usage::Signatures, &services.commons).unwrap();
        Jwts::new(&config, "acme", Rc::new(keys), &services)
    }

    fn attempt(tokens: &Rc<Jwts>) -> JwtAttempt {
        // `{"alg":"EdDSA"}`, `{}` and a signature of zeros.
        let text = format!("eyJhbGciOiJFZERTQSJ9.e30.{}", "A".repeat(86));
        let token = Unverified::parse(text.as_bytes()).ok().unwrap();
        JwtAttempt {
            tokens: Rc::clone(tokens),
            digest: [0; 32],
            token,
            holder: Holder::default(),
            waits: None,
            generation: 0,
        }
    }

    #[test]
    fn who_waits_for_keys_is_told_that_they_come_late_and_else_that_there_are_none() {
        let tokens = tokens();
        let mut waits = attempt(&tokens);
        let at = |now| Moment { now, entropy: Entropy([0; 32]) };
        assert!(matches!(waits.start(at(NOW)), Progress::Wait));
        let call = tokens.keys.due(NOW).unwrap();
        assert!(waits.look(NOW.after(Duration::from_secs(1))).is_none());
        // The gate gives up first.
        assert_eq!(waits.late(), Denial::KeysUnavailable(KeysReason::Late));
        assert_eq!(KeysReason::Late.as_str(), "keys_late");
        tokens.keys.heard(call.id, Ok(CallAnswer::of(500, Vec::new())), NOW);
        let none = Denial::KeysUnavailable(KeysReason::Never);
        assert_eq!(waits.look(NOW).unwrap().unwrap_err(), none);
        // Nothing is on its way now, so nobody waits.
        let Progress::Done(verdict) = attempt(&tokens).start(at(NOW)) else { panic!("waits") };
        assert_eq!(verdict.unwrap_err(), none);
    }
}
