//! The one part that talks.
//!
//! Blocking. Invariant: every request ends by its deadline, reads no more than [`ANSWER`],
//! follows no redirect, uses no proxy of the environment, and is made once.

use std::time::Instant;

use postern_core::redacted::Redacted;
use ureq::Agent;
use ureq::http::HeaderValue;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::Refused;
use crate::kv2::call::{Answer, Call};

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

    /// POSTs `call`'s content, or GETs without one.
    pub(crate) fn send(
        &self,
        call: &Call,
        fields: Vec<Field>,
        deadline: Instant,
    ) -> Result<Answer, Refused> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refused::late());
        }
        let sent = match &call.body {
            None => {
                let asked = self.0.get(&call.url).config().timeout_global(Some(left)).build();
                fields.into_iter().fold(asked, |asked, (name, is)| asked.header(name, is)).call()
            }
            Some(body) => {
                let asked = self.0.post(&call.url).config().timeout_global(Some(left)).build();
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

/// A field of a request.
pub(crate) type Field = (&'static str, HeaderValue);

/// A field that holds a secret: marked, so that the client's own log leaves it out; `None` where
/// it cannot stand in one.
pub(crate) fn secret_field(name: &'static str, value: &[u8]) -> Option<Field> {
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

fn failed(error: &ureq::Error) -> Refused {
    match error {
        ureq::Error::Timeout(_) => Refused::late(),
        ureq::Error::BodyExceedsLimit(_) => Refused::Malformed("an answer of more than 64 KiB"),
        error => Refused::Unreachable(Redacted::new(&error.to_string())),
    }
}
