//! The issuer's introspection endpoint (RFC 7662): tells its client about the opaque tokens of
//! scenarios, and about JWTs what they say themselves.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use super::issuer::{dated, merged};
use super::keys::derive;
use crate::faults::Outcome;
use crate::scenario::TokenSeed;

/// What the gateway is to the endpoint; the secret holds characters that a form changes.
pub const CLIENT: &str = "gateway";
/// The gateway's secret there.
pub const SECRET: &str = "client s3cret/7Gq+Zk4~Qw%3D";
/// Where the endpoint is.
const PATH: &str = "/issuer/introspect";

/// What it knows, and how often it was asked.
#[derive(Default)]
pub struct Introspection(Mutex<State>);

#[derive(Default)]
struct State {
    known: BTreeMap<String, Known>,
    asked: usize,
}

#[derive(Clone)]
struct Known {
    claims: Value,
    /// The whole answer, as it stands.
    answer: Option<String>,
}

/// A question as it came.
pub struct Question<'a> {
    /// Path.
    pub path: &'a str,
    /// Content.
    pub body: &'a [u8],
    /// The field `authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The field `if-none-match`.
    pub unless: Option<&'a [u8]>,
}

/// The text of an opaque token.
pub fn text(scenario: &str, name: &str) -> String {
    format!("at_{}", URL_SAFE_NO_PAD.encode(derive(&format!("opaque {scenario} {name}"))))
}

impl Introspection {
    /// Tokens of a scenario exist from now on; `claims` are those of a JWT.
    pub fn know(&self, text: String, seed: &TokenSeed, claims: Value) {
        let usual = merged(json!({"active": true, "token_type": "Bearer"}), &claims);
        // Again: what it removes may stand in the usual ones.
        let claims = merged(usual, &seed.claims);
        let known = Known { claims, answer: seed.payload.clone() };
        self.state().known.insert(text, known);
    }

    /// Something else is said of a token from now on.
    pub fn change(&self, text: &str, overlay: &Value) {
        if let Some(known) = self.state().known.get_mut(text) {
            known.claims = merged(known.claims.clone(), overlay);
        }
    }

    /// How often it was asked since the last time.
    pub fn take_asked(&self) -> usize {
        std::mem::take(&mut self.state().asked)
    }

    /// What it answers; `None` for a path that is not its own.
    pub fn exchange(&self, question: &Question<'_>, now: UnixMillis) -> Option<Outcome> {
        if !question.path.starts_with(PATH) {
            return None;
        }
        self.state().asked += 1;
        let (id, secret) = (form(CLIENT), form(SECRET));
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        if question.authorization != Some(basic.as_bytes()) {
            return Some(Outcome::Answer(401, b"{\"error\":\"invalid_client\"}".to_vec()));
        }
        let said = token(question.body).map(|token| self.said(&token, now));
        Some(match said {
            Some(answer) => Outcome::Answer(200, answer.into_bytes()),
            None => Outcome::Answer(400, b"{\"error\":\"invalid_request\"}".to_vec()),
        })
    }

    fn said(&self, token: &str, now: UnixMillis) -> String {
        let inactive = || json!({"active": false}).to_string();
        match self.state().known.get(token) {
            Some(Known { answer: Some(answer), .. }) => answer.clone(),
            Some(Known { claims, .. }) => dated(claims.clone(), now).to_string(),
            None => of_itself(token).unwrap_or_else(inactive),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a JWT says.
fn of_itself(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = serde_json::from_slice(&payload).ok()?;
    Some(merged(json!({"active": true, "token_type": "Bearer"}), &claims).to_string())
}

/// The token in a form; nothing when the form is not what a client sends.
fn token(body: &[u8]) -> Option<String> {
    let pairs: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let hinted = pairs.get("token_type_hint").is_some_and(|hint| hint == "access_token");
    pairs.get("token").filter(|_| hinted && pairs.len() == 2).cloned()
}

fn form(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
