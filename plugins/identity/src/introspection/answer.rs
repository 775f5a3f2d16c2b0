//! What an introspection endpoint's answer says about a token (RFC 7662, 2.2).
//!
//! Invariant: only a reply with status 200 and one JSON object of at most [`LENGTH`] bytes, each
//! name once, with members of the types that the specification gives them, says anything; and
//! only `active: true` with an audience of this gate is of a good token.

use postern_core::config::gate::{Claims, Introspected};
use postern_core::denial::{KeysReason, TokenReason};
use postern_core::identity::{Identity, Kind};
use postern_core::key_service::CallResult;
use postern_core::time::UnixMillis;
use postern_jose::jwt::{audiences, text, time};
use postern_jose::{Refusal, json};
use serde_json::{Map, Value};

use crate::cache::Digest;
use crate::claims;
use crate::confirmation::Confirmation;

/// Most bytes of an answer.
const LENGTH: usize = 16 << 10;

/// What is known of a token now.
#[derive(Clone)]
pub enum Outcome {
    /// Whose it is.
    Good(Box<Good>),
    /// It is of no use here.
    Refused(TokenReason),
    /// Nothing.
    Unanswered(KeysReason),
}

/// What a good token says.
#[derive(Clone)]
pub struct Good {
    /// The identity document.
    pub identity: Identity,
    /// Who may use it.
    pub bound: Confirmation,
}

/// What a token has to satisfy.
pub struct Rules {
    issuer: String,
    audiences: Vec<String>,
    leeway: u64,
    typed: bool,
    names: Claims,
    tenant: String,
}

/// Why an answer is of no good token.
enum Lack {
    /// Of the token.
    Token(TokenReason),
    /// Of the answer.
    Answer,
}

impl From<Refusal> for Lack {
    /// A member of another type.
    fn from(_: Refusal) -> Self {
        Self::Answer
    }
}

impl Rules {
    /// As configured, for a gate of `tenant`.
    pub fn of(config: &Introspected, tenant: &str) -> Self {
        Self {
            issuer: config.issuer.clone(),
            audiences: config.audiences.clone(),
            leeway: config.leeway.as_secs(),
            typed: config.typed,
            names: config.claims.clone(),
            tenant: tenant.to_owned(),
        }
    }

    /// What a reply says about the token with this SHA-256.
    pub fn read(&self, result: CallResult, token: &Digest, now: UnixMillis) -> Outcome {
        // The host's own failures look like replies: no other status counts.
        let reply = result.ok().filter(|reply| reply.status == Some(200));
        let Some(reply) = reply else { return Outcome::Unanswered(KeysReason::Unanswered) };
        let members = (reply.body.len() <= LENGTH).then(|| json::object(&reply.body)).flatten();
        let Some(members) = members else { return Outcome::Unanswered(KeysReason::Answer) };
        match self.check(members, token, now.seconds()) {
            Ok(good) => Outcome::Good(Box::new(good)),
            Err(Lack::Token(reason)) => Outcome::Refused(reason),
            Err(Lack::Answer) => Outcome::Unanswered(KeysReason::Answer),
        }
    }

    fn check(&self, said: Map<String, Value>, token: &Digest, now: u64) -> Result<Good, Lack> {
        match said.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(Lack::Token(TokenReason::Inactive)),
            _ => return Err(Lack::Answer),
        }
        self.check_type(&said)?;
        if text(&said, "iss")?.is_some_and(|issuer| issuer != self.issuer) {
            return Err(Lack::Token(TokenReason::Issuer));
        }
        let audiences = match said.contains_key("aud") {
            true => audiences(&said)?,
            false => Vec::new(),
        };
        if !audiences.iter().any(|one| self.audiences.iter().any(|own| own == one)) {
            return Err(Lack::Token(TokenReason::Audience));
        }
        let expires = self.check_times(&said, now)?;
        let bound = Confirmation::read(said.get("cnf"));
        let bound = bound.ok_or(Lack::Token(TokenReason::Bound))?;
        // A token that its issuer calls bound is none for whoever holds it.
        if text(&said, "token_type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"))
            && !matches!(bound, Confirmation::Key(_))
        {
            return Err(Lack::Token(TokenReason::Bound));
        }
        let known = claims::Token {
            kind: Kind::Introspected,
            issuer: &self.issuer,
            digest: *token,
            expires,
        };
        let said = with_subject(said)?;
        let identity = claims::identity(&self.names, &said, &known, &self.tenant);
        Ok(Good { identity: identity.map_err(Lack::Token)?, bound })
    }

    /// It has to be an access token: servers answer about refresh tokens as well.
    fn check_type(&self, said: &Map<String, Value>) -> Result<(), Lack> {
        let is = |kind: &str, names: &[&str]| names.iter().any(|it| kind.eq_ignore_ascii_case(it));
        let kind = text(said, "token_type")?;
        let access = kind.map_or(!self.typed, |kind| is(kind, &["Bearer", "DPoP"]));
        // Of servers that call every token `Bearer`.
        let used = text(said, "token_use")?.is_none_or(|usage| is(usage, &["access_token"]));
        if access && used { Ok(()) } else { Err(Lack::Token(TokenReason::Type)) }
    }

    /// Whether it is good now, and until when.
    fn check_times(&self, said: &Map<String, Value>, now: u64) -> Result<Option<u64>, Lack> {
        let expires = time(said, "exp")?;
        let soon = now.saturating_add(self.leeway);
        let starts = [time(said, "nbf")?, time(said, "iat")?];
        if starts.into_iter().flatten().any(|start| start > soon) {
            return Err(Lack::Token(TokenReason::NotYet));
        }
        if expires.is_some_and(|end| end.saturating_add(self.leeway) <= now) {
            return Err(Lack::Token(TokenReason::Expired));
        }
        Ok(expires)
    }
}

/// A client that acts for itself is its own subject (as in RFC 9068, 2.2), apart from any user who
/// is called like it: `client:` and its identifier.
fn with_subject(mut said: Map<String, Value>) -> Result<Map<String, Value>, Lack> {
    if text(&said, "sub")?.is_none()
        && let Some(client) = text(&said, "client_id")?
    {
        let client = Value::from(format!("client:{client}"));
        said.insert("sub".to_owned(), client);
    }
    Ok(said)
}

#[cfg(test)]
mod tests;
