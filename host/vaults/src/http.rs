//! The one part that talks.
//!
//! Blocking. Invariant: every request ends by its deadline, reads no more than [`ANSWER`],
//! follows no redirect, uses no proxy of the environment, and is made once.

use std::time::Instant;

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use ureq::Agent;
use ureq::http::HeaderValue;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::Refused;
use crate::call::{Answer, Call};

/// Largest answer: a secret with all its fields.
const ANSWER: u64 = 64 << 10;

pub(crate) struct Http(Agent);

impl Http {
    /// Trusts these roots (DER), or the built-in ones.
    pub(crate) fn new(roots: Option<&[Vec<u8>]>) -> Self {
        let trusted = match roots {
            None => RootCerts::WebPki,
            Some(own) => {
                let own = own.iter().map(|der| Certificate::from_der(der).to_owned());
                own.collect::<Vec<_>>().into()
            }
        };
        let agent = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(TlsConfig::builder().root_certs(trusted).build())
            .build();
        Self(agent.into())
    }

    pub(crate) fn send(
        &self,
        call: &Call,
        token: Option<&Secret>,
        deadline: Instant,
    ) -> Result<Answer, Refused> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refused::late());
        }
        let fields = fields(call, token)?;
        let sent = match &call.body {
            None => {
                let asked = self.0.get(&call.url).config().timeout_global(Some(left)).build();
                fields.into_iter().fold(asked, |asked, (name, is)| asked.header(name, is)).call()
            }
            Some(body) => {
                let asked = self.0.post(&call.url).config().timeout_global(Some(left)).build();
                let asked = asked.header("content-type", "application/json");
                let asked =
                    fields.into_iter().fold(asked, |asked, (name, is)| asked.header(name, is));
                asked.send(body.as_slice())
            }
        };
        let mut answer = sent.map_err(|error| failed(&error))?;
        let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|text| text.parse().ok());
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
        let body = Zeroizing::new(body.map_err(|error| failed(&error))?);
        Ok(Answer { status: answer.status().as_u16(), wait, body })
    }
}

type Field = (&'static str, HeaderValue);

fn fields(call: &Call, token: Option<&Secret>) -> Result<Vec<Field>, Refused> {
    let mut fields = vec![("x-vault-request", HeaderValue::from_static("true"))];
    if let Some(namespace) = &call.namespace {
        let value = HeaderValue::from_str(namespace.as_str());
        fields.push(("x-vault-namespace", value.map_err(|_| Refused::Malformed("namespace"))?));
    }
    if let Some(token) = token {
        fields.push(("x-vault-token", token_field(token)?));
    }
    Ok(fields)
}

/// Marked, so that the client's own log leaves it out.
fn token_field(token: &Secret) -> Result<HeaderValue, Refused> {
    let value = HeaderValue::from_bytes(token.expose());
    let mut value = value.map_err(|_| Refused::LoginExpired("token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn failed(error: &ureq::Error) -> Refused {
    match error {
        ureq::Error::Timeout(_) => Refused::late(),
        ureq::Error::BodyExceedsLimit(_) => Refused::Malformed("an answer of more than 64 KiB"),
        error => Refused::Unreachable(Redacted::new(&error.to_string())),
    }
}
