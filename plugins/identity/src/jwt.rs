//! Access tokens that are JWTs (RFC 7519, RFC 9068), verified here.
//!
//! Owns the order of checks, the wait for keys and the memory of verified tokens. Rules and
//! signatures are `postern-jose`'s.
//!
//! Invariant: a token is good only under keys that its issuer has now: a new set forgets
//! what was verified before, and without a set nothing is good, which is our fault (503) and
//! not the caller's. One that says it is bound to a key (`cnf`) is refused, since nothing
//! here looks for the proof.

use std::cell::RefCell;
use std::rc::Rc;

use postern_core::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Sight, Verdict,
};
use postern_core::config::gate::Jwt;
use postern_core::denial::{Denial, KeysReason, TokenReason};
use postern_core::identity::{Identity, Kind};
use postern_core::key_service::{CallId, CallResult};
use postern_core::revocation;
use postern_core::time::{Moment, UnixMillis};
use postern_jose::jws::{LENGTH, Unverified};
use postern_jose::jwt::{self, Rules, Token};
use postern_jose::{Pure, Refusal};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cache::{Cache, Digest};
use crate::claims;
use crate::keys::Keys;

/// Tokens of one issuer.
pub struct Jwts {
    config: Jwt,
    rules: Rules,
    tenant: String,
    keys: Rc<Keys>,
    known: RefCell<Known>,
}

/// Tokens that were verified under the set at hand.
struct Known {
    /// Which one.
    generation: u64,
    tokens: Cache<Identity>,
}

impl Jwts {
    /// Tokens as configured, under these keys.
    pub fn new(config: &Jwt, tenant: &str, keys: Rc<Keys>) -> Rc<Self> {
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
        let known = RefCell::new(Known { generation: 0, tokens: Cache::new(config.cache) });
        Rc::new(Self { config: config.clone(), rules, tenant: tenant.to_owned(), keys, known })
    }

    /// The identity of a token that is as good now as when it was verified.
    fn remembered(&self, digest: &Digest, now: UnixMillis) -> Option<Identity> {
        let standing = self.keys.standing(now);
        standing.set?;
        let mut known = self.known.try_borrow_mut().ok()?;
        if known.generation != standing.generation {
            known.tokens.clear();
            known.generation = standing.generation;
        }
        known.tokens.find(digest, now)
    }

    fn verified(
        &self,
        token: &Unverified,
        digest: &Digest,
        now: UnixMillis,
    ) -> Result<Identity, Lack> {
        let standing = self.keys.standing(now);
        let set = standing.set.ok_or(Lack::NoKeys)?;
        let token = match jwt::check(token, &set, &self.rules, now.seconds(), &Pure) {
            Ok(token) => token,
            Err(Refusal::NoKeys) => return Err(Lack::NoKeys),
            Err(Refusal::UnknownKey) if standing.failing => return Err(Lack::NoKeys),
            Err(Refusal::UnknownKey) => return Err(Lack::UnknownKey),
            Err(other) => return Err(Lack::Other(reason(other))),
        };
        let identity = self.identity(&token, digest, now).map_err(Lack::Other)?;
        if let Ok(mut known) = self.known.try_borrow_mut()
            && known.generation == standing.generation
        {
            let end = UnixMillis(token.expires().saturating_mul(1000));
            known.tokens.put(*digest, identity.clone(), end);
        }
        Ok(identity)
    }

    fn identity(
        &self,
        token: &Token,
        digest: &Digest,
        now: UnixMillis,
    ) -> Result<Identity, TokenReason> {
        // `iat` was checked to be a date, and not to lie ahead.
        let issued = token.claim("iat").and_then(Value::as_f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let issued = issued.map_or(now.seconds(), |seconds| seconds as u64);
        if token.expires().saturating_sub(issued) > self.config.max_life.as_secs() {
            return Err(TokenReason::Life);
        }
        if token.claim("cnf").is_some() {
            return Err(TokenReason::Bound);
        }
        if let Some(tenants) = &self.config.tenants {
            let tid = token.claim("tid").and_then(Value::as_str);
            if !tid.is_some_and(|tid| tenants.iter().any(|one| one == tid)) {
                return Err(TokenReason::Directory);
            }
        }
        let token_facts = claims::Token {
            kind: Kind::Jwt,
            issuer: &self.config.issuer,
            digest: *digest,
            expires: token.expires(),
        };
        claims::identity(&self.config.claims, token.claims(), &token_facts, &self.tenant)
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

/// The issuer's tokens in its field.
pub struct JwtAuthenticator(pub Rc<Jwts>);

impl Authenticator for JwtAuthenticator {
    fn kind(&self) -> Kind {
        Kind::Jwt
    }

    fn sight(&self, presented: &Presented<'_>) -> Sight {
        let header = self.0.config.header.as_str();
        if presented.value(header).is_none() {
            return Sight::Absent;
        }
        let token = match header {
            "authorization" => presented.token(header, &["Bearer"]),
            _ => presented.value(header),
        };
        let Some(token) = token else { return Sight::Unlike(TokenReason::Scheme) };
        // Nothing longer is a token, and hashing it would only cost time.
        if token.len() > LENGTH {
            return Sight::Unlike(TokenReason::TooLong);
        }
        let unverified = match Unverified::parse(token.as_bytes()) {
            Ok(unverified) => unverified,
            Err(refusal) => return Sight::Unlike(reason(refusal)),
        };
        // Another issuer's may be another authenticator's.
        match unverified.claimed_issuer() {
            Some(issuer) if issuer == self.0.config.issuer => {}
            Some(_) => return Sight::Unlike(TokenReason::Issuer),
            None => return Sight::Unlike(TokenReason::Claim),
        }
        let attempt = JwtAttempt {
            tokens: Rc::clone(&self.0),
            digest: Sha256::digest(token).into(),
            token: unverified,
            waits: None,
        };
        Sight::Recognised { place: header.to_owned(), attempt: Box::new(attempt) }
    }
}

struct JwtAttempt {
    tokens: Rc<Jwts>,
    digest: Digest,
    token: Unverified,
    /// Fetches that had ended when this began to wait for the next one.
    waits: Option<u64>,
}

impl JwtAttempt {
    /// The key it is signed with can be revoked as well, where the token names one.
    fn established(&self, identity: Identity) -> Established {
        let key = self.token.key_id().map(|id| (revocation::Kind::IssuerKey, id.to_owned()));
        Established::verified(identity).known_by(key)
    }

    fn verdict(&self, now: UnixMillis) -> Result<Verdict, Lack> {
        match self.tokens.verified(&self.token, &self.digest, now) {
            Ok(identity) => Ok(Ok(self.established(identity))),
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
        if let Some(identity) = self.tokens.remembered(&self.digest, at.now) {
            return Progress::Done(Ok(self.established(identity)));
        }
        let ended = self.tokens.keys.standing(at.now).ended;
        match self.verdict(at.now) {
            Ok(verdict) => Progress::Done(verdict),
            Err(_) if self.tokens.keys.want(at.now) => {
                self.waits = Some(ended);
                Progress::Wait
            }
            Err(missing) => Progress::Done(Err(without(&missing))),
        }
    }

    /// It makes no calls.
    fn heard(&mut self, _: CallId, _: CallResult, _: Moment) -> Progress {
        Progress::Done(Err(self.late()))
    }

    fn look(&mut self, now: UnixMillis) -> Option<Verdict> {
        if Some(self.tokens.keys.standing(now).ended) == self.waits {
            return None;
        }
        Some(self.verdict(now).unwrap_or_else(|missing| Err(without(&missing))))
    }

    fn abandon(&mut self) {}

    fn late(&self) -> Denial {
        Denial::KeysUnavailable(KeysReason::Late)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::config::gate::{Claims, Endpoint, KeySource};
    use postern_core::key_service::Background;
    use postern_core::key_service::CallAnswer;
    use postern_core::time::Entropy;

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
        };
        Jwts::new(&config, "acme", Rc::new(Keys::new(&keys).unwrap()))
    }

    fn attempt(tokens: &Rc<Jwts>) -> JwtAttempt {
        // `{"alg":"EdDSA"}`, `{}` and a signature of zeros.
        let text = format!("eyJhbGciOiJFZERTQSJ9.e30.{}", "A".repeat(86));
        let token = Unverified::parse(text.as_bytes()).ok().unwrap();
        JwtAttempt { tokens: Rc::clone(tokens), digest: [0; 32], token, waits: None }
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
