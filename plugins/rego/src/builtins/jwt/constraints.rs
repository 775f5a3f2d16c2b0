//! What `io.jwt.decode_verify` is asked to hold a token against.
//!
//! Invariant: there is exactly one of keys and a secret.

use regorus::Value;

use super::No;
use super::keys::{self, Key};
use crate::builtins::text;

#[derive(Default)]
pub(super) struct Constraints {
    pub(super) keys: Vec<Key>,
    algorithm: String,
    issuer: String,
    audience: String,
    /// Seconds since the epoch, as the float that OPA compares.
    time: f64,
}

impl Constraints {
    #[expect(clippy::cast_precision_loss, reason = "as in OPA")]
    pub(super) fn read(value: &Value, now: i64) -> Result<Self, No> {
        let Value::Object(object) = value else { return Err(No::Error) };
        let mut read = Self { time: seconds(now as f64), ..Self::default() };
        let (mut cert, mut secret) = (false, false);
        for (name, value) in object.iter() {
            let said = || text(value).map(str::to_owned).ok_or(No::Error);
            match text(name) {
                Some("cert") => {
                    cert = true;
                    read.keys.extend(keys::read(&said()?)?);
                }
                Some("secret") => {
                    let said = said()?;
                    secret = !said.is_empty();
                    read.keys.extend(secret.then(|| Key::secret(&said)));
                }
                Some("alg") => read.algorithm = said()?,
                Some("iss") => read.issuer = said()?,
                Some("aud") => read.audience = said()?,
                Some("time") => read.time = number(value).map(seconds)?,
                _ => return Err(No::Error),
            }
        }
        if cert == secret { Err(No::Error) } else { Ok(read) }
    }

    pub(super) fn take_algorithm(&self, name: &str) -> bool {
        self.algorithm.is_empty() || self.algorithm == name
    }

    pub(super) fn take_claims(&self, claims: &Value) -> Result<bool, No> {
        let claim = |name: &str| claims.as_object().ok()?.get(&Value::from(name));
        if !self.issuer.is_empty() {
            match claim("iss") {
                Some(Value::String(issuer)) if **issuer == *self.issuer => {}
                Some(Value::String(_)) | None => return Ok(false),
                // OPA panics.
                Some(_) => return Err(No::Unknown),
            }
        }
        let meant = match claim("aud") {
            None => self.audience.is_empty(),
            Some(Value::Array(all)) => all.iter().any(|one| self.is_audience(one)),
            Some(one) => self.is_audience(one),
        };
        if !meant {
            return Ok(false);
        }
        if claim("exp").map(number).transpose()?.is_some_and(|end| self.time >= end) {
            return Ok(false);
        }
        let begun = claim("nbf").map(number).transpose()?;
        Ok(begun.is_none_or(|begin| self.time >= begin))
    }

    fn is_audience(&self, value: &Value) -> bool {
        text(value) == Some(&self.audience)
    }
}

/// The float next to a number, as OPA takes it.
#[expect(clippy::cast_precision_loss, reason = "as in OPA")]
fn number(value: &Value) -> Result<f64, No> {
    let Value::Number(number) = value else { return Err(No::Error) };
    let whole = number.as_i64().map(|whole| whole as f64);
    whole.or_else(|| number.as_f64()).ok_or(No::Unknown)
}

fn seconds(nanoseconds: f64) -> f64 {
    nanoseconds / 1e9
}
