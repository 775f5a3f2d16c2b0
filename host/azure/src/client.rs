//! The one part that talks.
//!
//! Blocking: to be called from a thread that may wait. Invariant: every request has a deadline
//! ([`Settings::patience`]) and a largest answer, follows no redirect, uses no proxy, and is
//! repeated as [`retry::after`] says and no further.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::call::{self, Answer, Call};
use crate::release::Asked;
use crate::transfer::TransferKey;
use crate::{KeyRef, Refused, attest, retry};

/// Largest answer: a release has a chain of certificates and a wrapped key in it.
const ANSWER: u64 = 64 << 10;
/// A token is not used in its last seconds.
const SPARE: u64 = 60;

/// How to pause. Tests do not.
pub type Waits = fn(Duration);

/// What a client needs to know.
pub struct Settings {
    /// The machine's identity service.
    pub identity: String,
    /// Which of the machine's identities.
    pub client_id: Option<String>,
    /// Roots in DER in place of the built-in ones, for tests.
    pub roots: Option<Vec<Vec<u8>>>,
    /// Longest wait for one answer.
    pub patience: Duration,
    /// Pauses before a request is repeated.
    pub pause: Waits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identity: "http://169.254.169.254".to_owned(),
            client_id: None,
            roots: None,
            patience: Duration::from_secs(4),
            pause: std::thread::sleep,
        }
    }
}

/// Talks to the machine's identity service, the attestation service and vaults.
pub struct Client {
    settings: Settings,
    agent: Agent,
    roots: Vec<TrustAnchor<'static>>,
    tokens: Mutex<HashMap<&'static str, (Zeroizing<String>, UnixMillis)>>,
}

impl Client {
    /// With these settings.
    ///
    /// # Errors
    /// When a root is not a certificate.
    pub fn new(settings: Settings) -> Result<Self, Refused> {
        let (roots, trusted) = match &settings.roots {
            None => (webpki_roots::TLS_SERVER_ROOTS.to_vec(), RootCerts::WebPki),
            Some(own) => {
                let anchors: Result<_, _> = own.iter().map(|der| anchor(der)).collect();
                let own = own.iter().map(|der| Certificate::from_der(der).to_owned());
                (anchors?, own.collect::<Vec<_>>().into())
            }
        };
        let agent = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .https_only(false)
            .timeout_global(Some(settings.patience))
            .tls_config(TlsConfig::builder().root_certs(trusted).build())
            .build();
        Ok(Self { agent: agent.into(), roots, tokens: Mutex::default(), settings })
    }

    /// The key-encryption key that `key` gives, released against the token that `attested`
    /// gives for runtime data.
    ///
    /// # Errors
    /// What a service refuses, or what does not hold of its answer.
    pub fn release(
        &self,
        key: &KeyRef,
        attested: &dyn Fn(&[u8]) -> Result<String, Refused>,
        now: UnixMillis,
    ) -> Result<Secret, Refused> {
        let transfer = TransferKey::draw()?;
        let token = attested(&transfer.runtime())?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| Refused::NoRandomness)?;
        let asked = Asked { key, transfer: &transfer, nonce: &B64.encode(nonce) };
        let answer = self.authorised(key.resource(), &asked.request(&token), now)?;
        asked.open(answer.content()?, &self.roots, now)
    }

    /// A token of the attestation service at `base` about `evidence`.
    ///
    /// # Errors
    /// What it refuses.
    pub fn attest(
        &self,
        base: &str,
        evidence: &attest::Evidence<'_>,
        runtime: &[u8],
    ) -> Result<String, Refused> {
        let answer = self.send(&attest::request(base, evidence, runtime), None)?;
        attest::token(answer.content()?)
    }

    /// Has `value` wrapped by a key that stays in its vault.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn wrap(&self, key: &KeyRef, value: &[u8], now: UnixMillis) -> Result<Secret, Refused> {
        let answer = self.authorised(key.resource(), &call::wrap(key, value), now)?;
        call::operated(answer.content()?, key)
    }

    /// Has `value` unwrapped by a key that stays in its vault.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn unwrap(&self, key: &KeyRef, value: &[u8], now: UnixMillis) -> Result<Secret, Refused> {
        let answer = self.authorised(key.resource(), &call::unwrap(key, value), now)?;
        call::operated(answer.content()?, key)
    }

    /// With the identity's token; once more with a new one where it is not accepted.
    fn authorised(
        &self,
        resource: &'static str,
        call: &Call,
        now: UnixMillis,
    ) -> Result<Answer, Refused> {
        let answer = self.send(call, Some(&self.token(resource, now)?))?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
        self.send(call, Some(&self.token(resource, now)?))
    }

    /// `Bearer …`, kept while it lives.
    fn token(&self, resource: &'static str, now: UnixMillis) -> Result<Zeroizing<String>, Refused> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) = tokens.get(resource).filter(|(_, end)| now < *end) {
            return Ok(token.clone());
        }
        let id = self.settings.client_id.as_deref();
        let answer = self.send(&call::identity(&self.settings.identity, resource, id), None)?;
        let (token, life) = call::identity_token(answer.content()?)?;
        let text = str::from_utf8(token.expose()).unwrap_or_default();
        let bearer = Zeroizing::new(["Bearer ", text].concat());
        let end = UnixMillis(now.0.saturating_add(life.saturating_sub(SPARE) * 1000));
        tokens.insert(resource, (bearer.clone(), end));
        Ok(bearer)
    }

    /// The last answer; those that may pass are not the last while there are tries.
    fn send(&self, call: &Call, bearer: Option<&str>) -> Result<Answer, Refused> {
        let mut tried = 0;
        loop {
            tried += 1;
            let answer = self.once(call, bearer);
            let refused = match &answer {
                Ok(answer) => answer.content().err(),
                Err(refused) => Some(refused.clone()),
            };
            match refused.and_then(|refused| retry::after(tried, &refused)) {
                Some(pause) => (self.settings.pause)(pause),
                None => return answer,
            }
        }
    }

    fn once(&self, call: &Call, bearer: Option<&str>) -> Result<Answer, Refused> {
        let sent = match &call.body {
            None => self.agent.get(&call.url).header("metadata", "true").call(),
            Some(body) => {
                let request = self.agent.post(&call.url).header("content-type", "application/json");
                let request = match bearer {
                    Some(bearer) => request.header("authorization", bearer),
                    None => request,
                };
                request.send(body)
            }
        };
        let mut answer = sent.map_err(|error| failed(&error))?;
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok());
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
        let body = Zeroizing::new(body.map_err(|error| failed(&error))?);
        Ok(Answer { status: answer.status().as_u16(), retry_after, body })
    }
}

fn anchor(der: &[u8]) -> Result<TrustAnchor<'static>, Refused> {
    let certificate = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&certificate);
    let anchor = anchor.map_err(|_| Refused::Malformed("root certificate"))?;
    Ok(anchor.to_owned())
}

fn failed(error: &ureq::Error) -> Refused {
    match error {
        ureq::Error::Timeout(_) => Refused::Slow,
        ureq::Error::BodyExceedsLimit(_) => Refused::TooLarge,
        error => Refused::Unreachable(Redacted::new(&error.to_string())),
    }
}
