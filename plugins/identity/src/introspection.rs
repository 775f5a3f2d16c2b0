//! Tokens that say nothing by themselves: their issuer is asked about them (RFC 7662).
//!
//! Owns which tokens are asked about, the calls, and what is remembered of answers. What an
//! answer means is [`answer`]'s.
//!
//! Invariant: nothing is asked about that begins like another credential of this gate, and no
//! JWT but those of the issuers that the configuration lists. An endpoint that does not
//! answer, or not as it should, is no fault of the caller's (503). An answer is believed for
//! `ttl` at most and never past the token's end; a token that is asked about is asked about
//! once, whoever else presents it meanwhile.

mod answer;
mod flight;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use postern_core::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Sight, Verdict,
};
use postern_core::config::gate::Introspected;
use postern_core::denial::{Denial, KeysReason, TokenReason};
use postern_core::identity::Kind;
use postern_core::key_service::{
    Authorization, Background, Call, CallId, CallResult, Destination, MAX_ANSWER,
};
use postern_core::secret::Secret;
use postern_core::time::{Moment, UnixMillis};
use postern_jose::jws::Unverified;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Services;
use crate::cache::{Cache, Digest};
use crate::dpop::Proofs;
use crate::holder::Holder;
use answer::{Good, Outcome, Rules};
use flight::{Flight, Flights};

/// A call takes no longer than a request waits.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Most characters of a token.
const LENGTH: usize = 4 << 10;
/// What a JOSE header begins with (RFC 7515, 4), spaces before it left out.
const OBJECT: u8 = b'{';

/// Tokens of one endpoint, in their field.
pub struct Introspection {
    tokens: Rc<Tokens>,
    /// What other credentials begin with.
    others: Vec<String>,
}

/// What all requests share.
pub struct Tokens {
    config: Introspected,
    rules: Rules,
    authorization: Authorization,
    proofs: Option<Proofs>,
    /// The cache of one gate, whose tenant is part of every name in it all the same.
    tenant: String,
    good: RefCell<Cache<Good>>,
    /// Apart from the good ones: whoever invents tokens displaces none of these.
    refused: RefCell<Cache<TokenReason>>,
    flights: Flights,
}

impl Introspection {
    /// Tokens as configured, but those that begin like the credentials of `others`; `secret` is
    /// what this gate shows to the endpoint.
    pub fn new(
        config: &Introspected,
        tenant: &str,
        others: Vec<String>,
        secret: &Secret,
        services: &Services,
    ) -> Option<Self> {
        let authorization = basic(&config.client_id, secret)?;
        let proofs = config.dpop.map(|window| Proofs::new(window, services));
        let tokens = Tokens {
            rules: Rules::of(config, tenant),
            authorization,
            proofs,
            tenant: tenant.to_owned(),
            good: RefCell::new(Cache::new(config.cache)),
            refused: RefCell::new(Cache::new(config.cache)),
            flights: Flights::default(),
            config: config.clone(),
        };
        Some(Self { tokens: Rc::new(tokens), others })
    }

    /// What asks when a request that had asked has gone, and others wait.
    pub fn background(&self) -> Rc<dyn Background> {
        Rc::clone(&self.tokens) as _
    }

    /// Whether the endpoint may see it.
    fn is_asked_about(&self, token: &str) -> Result<(), TokenReason> {
        let config = &self.tokens.config;
        if token.len() > LENGTH {
            return Err(TokenReason::TooLong);
        }
        let begins = |list: &[String]| list.iter().any(|one| token.starts_with(one));
        let fits = config.prefixes.is_empty() || begins(&config.prefixes);
        if !is_b64token(token) || !fits || begins(&self.others) {
            return Err(TokenReason::Syntax);
        }
        if !is_jose(token) {
            return Ok(());
        }
        // One that does not parse may be of any issuer.
        let issuer = Unverified::parse(token.as_bytes()).ok().and_then(|jwt| jwt.claimed_issuer());
        let issuer = issuer.ok_or(TokenReason::Form)?;
        let listed = config.jwt_issuers.contains(&issuer);
        listed.then_some(()).ok_or(TokenReason::Issuer)
    }
}

/// `client_secret_basic`: both parts encoded as a form before they are joined (RFC 6749, 2.3.1).
fn basic(client_id: &str, secret: &Secret) -> Option<Authorization> {
    let mut pair = Zeroizing::new(String::new());
    pair.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.expose()));
    let value = format!("Basic {}", *Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes())));
    Authorization::new(Secret::new(value.into_bytes()))
}

/// RFC 6750, 2.1.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(letter)
}

/// Whether its first part is an encoded JSON object, in either alphabet: a JWS or a JWE, well
/// formed or not.
fn is_jose(token: &str) -> bool {
    let Some((first, _)) = token.split_once('.') else { return false };
    let letters = first.bytes().take(64).map(|byte| match byte {
        b'+' => '-',
        b'/' => '_',
        other => char::from(other),
    });
    let mut letters: String = letters.collect();
    // Whole groups: what comes first is all that matters.
    letters.truncate(letters.len() & !3);
    let Ok(start) = BASE64_URL_SAFE_NO_PAD.decode(letters) else { return false };
    start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&OBJECT)
}

impl Authenticator for Introspection {
    fn kind(&self) -> Kind {
        Kind::Introspected
    }

    fn sight(&self, shown: &Presented<'_>) -> Sight {
        let config = &self.tokens.config;
        let header = config.header.as_str();
        if shown.value(header).is_none() {
            return Sight::Absent;
        }
        let proofs = self.tokens.proofs.is_some();
        let schemes: &[&str] = if proofs { &["Bearer", "DPoP"] } else { &["Bearer"] };
        let token = match config.is_bearer() {
            true => shown.token(header, schemes),
            false => shown.value(header),
        };
        let Some(token) = token else { return Sight::Unlike(TokenReason::Scheme) };
        if let Err(reason) = self.is_asked_about(token) {
            return Sight::Unlike(reason);
        }
        let proven = proofs && shown.token(header, &["DPoP"]).is_some();
        let attempt = IntrospectionAttempt {
            tokens: Rc::clone(&self.tokens),
            digest: Sha256::digest(token).into(),
            token: token.to_owned(),
            holder: Holder::of(shown, proven),
            role: Role::Idle,
        };
        Sight::Recognised { place: header.to_owned(), attempt: Box::new(attempt) }
    }
}

impl Tokens {
    /// What an answer is remembered by.
    fn name(&self, token: &Digest) -> Digest {
        let name = Sha256::new().chain_update(b"postern introspected/1\0");
        name.chain_update(token).chain_update(self.tenant.as_bytes()).finalize().into()
    }

    fn remembered(&self, name: &Digest, now: UnixMillis) -> Option<Outcome> {
        let good = self.good.try_borrow_mut().ok()?.find(name, now);
        if let Some(good) = good {
            return Some(Outcome::Good(Box::new(good)));
        }
        self.refused.try_borrow_mut().ok()?.find(name, now).map(Outcome::Refused)
    }

    /// Keeps what may be kept. A token that is not good yet may be in a moment.
    fn remember(&self, name: Digest, outcome: &Outcome, now: UnixMillis) {
        let end = now.after(self.config.ttl);
        match outcome {
            Outcome::Good(good) => {
                let token = good.identity.expires.map(|end| UnixMillis(end.saturating_mul(1000)));
                let end = token.map_or(end, |token| end.min(token));
                if let Ok(mut cache) = self.good.try_borrow_mut() {
                    cache.put(name, (**good).clone(), end);
                }
            }
            Outcome::Refused(TokenReason::NotYet) | Outcome::Unanswered(_) => {}
            Outcome::Refused(reason) => {
                if let Ok(mut cache) = self.refused.try_borrow_mut() {
                    cache.put(name, *reason, end);
                }
            }
        }
    }

    /// The question about a token (RFC 7662, 2.1).
    fn call(&self, id: CallId, token: &str) -> Call {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let endpoint = &self.config.endpoint;
        Call {
            id,
            to: Destination::Named {
                cluster: endpoint.cluster.clone(),
                authority: endpoint.authority.clone(),
            },
            method: "POST",
            path: endpoint.path.clone().into(),
            content_type: "application/x-www-form-urlencoded",
            authorization: Some(self.authorization.clone()),
            unless: None,
            most: MAX_ANSWER,
            body: body.into_bytes(),
            timeout: TIMEOUT,
        }
    }

    /// The end of a question: for whoever waits, and for those who come.
    fn settle(&self, flight: &Flight, result: CallResult, now: UnixMillis) {
        let outcome = self.rules.read(result, &flight.token_digest, now);
        self.remember(flight.name, &outcome, now);
        self.flights.land(flight, outcome);
    }
}

/// Asks in the place of requests that have gone.
impl Background for Tokens {
    fn due(&self, now: UnixMillis) -> Option<Call> {
        let (id, flight) = self.flights.take_over(now)?;
        Some(self.call(id, &flight.token))
    }

    fn heard(&self, call: CallId, result: CallResult, now: UnixMillis) -> bool {
        let Some(flight) = self.flights.taken_over(call) else { return false };
        self.settle(&flight, result, now);
        true
    }
}

/// What an attempt does about its token.
enum Role {
    /// Nothing: it has not begun, or has ended.
    Idle,
    /// It has asked, in its own request.
    Asks(Rc<Flight>),
    /// Somebody else has.
    Waits(Rc<Flight>),
}

struct IntrospectionAttempt {
    tokens: Rc<Tokens>,
    /// SHA-256 of the token.
    digest: Digest,
    token: String,
    holder: Holder,
    role: Role,
}

impl IntrospectionAttempt {
    fn verdict(&self, outcome: Outcome, now: UnixMillis) -> Verdict {
        let good = match outcome {
            Outcome::Good(good) => good,
            Outcome::Refused(reason) => return Err(Denial::InvalidToken(reason)),
            Outcome::Unanswered(reason) => return Err(Denial::KeysUnavailable(reason)),
        };
        let proofs = self.tokens.proofs.as_ref();
        let next = self.holder.confirm(&good.bound, proofs, &self.digest, now)?;
        Ok(Established::verified(good.identity).offering(next))
    }
}

impl Attempt for IntrospectionAttempt {
    fn start(&mut self, at: Moment) -> Progress {
        let name = self.tokens.name(&self.digest);
        if let Some(outcome) = self.tokens.remembered(&name, at.now) {
            return Progress::Done(self.verdict(outcome, at.now));
        }
        if let Some(flight) = self.tokens.flights.find(&name) {
            self.role = Role::Waits(flight);
            return Progress::Wait;
        }
        let Some((id, flight)) =
            self.tokens.flights.start((name, self.digest), &self.token, at.now)
        else {
            return Progress::Done(Err(Denial::KeysUnavailable(KeysReason::Busy)));
        };
        self.role = Role::Asks(flight);
        Progress::Ask(self.tokens.call(id, &self.token))
    }

    fn heard(&mut self, _: CallId, result: CallResult, at: Moment) -> Progress {
        let Role::Asks(flight) = std::mem::replace(&mut self.role, Role::Idle) else {
            return Progress::Done(Err(self.late()));
        };
        self.tokens.settle(&flight, result, at.now);
        let outcome = flight.outcome().unwrap_or(Outcome::Unanswered(KeysReason::Unanswered));
        Progress::DoneForAll(self.verdict(outcome, at.now))
    }

    fn look(&mut self, now: UnixMillis) -> Option<Verdict> {
        let Role::Waits(flight) = &self.role else { return None };
        let outcome = flight.outcome()?;
        Some(self.verdict(outcome, now))
    }

    fn abandon(&mut self) {
        if let Role::Asks(flight) = std::mem::replace(&mut self.role, Role::Idle) {
            self.tokens.flights.leave(&flight);
        }
    }

    fn late(&self) -> Denial {
        Denial::KeysUnavailable(KeysReason::InTime)
    }
}

#[cfg(test)]
mod tests;
