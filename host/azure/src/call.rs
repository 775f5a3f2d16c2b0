//! Requests, and answers to them: plain values without a socket.
//!
//! Owns the REST shapes that are not a release's. Invariant: a token or an unwrapped key is read
//! out of a buffer that is wiped.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::secret::Secret;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{KeyRef, Refused};

/// Version of the vaults' interface.
pub const VAULT_API: &str = "7.4";

/// A request. The caller adds the token where one is needed.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// Where to.
    pub url: String,
    /// Content of a POST; a GET without one.
    pub body: Option<String>,
}

/// An answer, whole.
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Seconds of `Retry-After`, where it says seconds.
    pub retry_after: Option<u64>,
    /// Content.
    pub body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The content of a 200; what the map says of anything else.
    ///
    /// # Errors
    /// [`Refused::of_status`].
    pub fn content(&self) -> Result<&[u8], Refused> {
        if self.status == 200 {
            return Ok(&self.body);
        }
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        let inner = problem.error.innererror.map(|inner| inner.code);
        let code = inner.filter(|code| !code.is_empty()).unwrap_or(problem.error.code);
        Err(Refused::of_status(self.status, &code, self.retry_after))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    error: ProblemBody,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: String,
    innererror: Option<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    code: String,
}

/// Asks the machine's identity service at `base` for a token for `resource`.
#[must_use]
pub fn identity(base: &str, resource: &str, client_id: Option<&str>) -> Call {
    let client = client_id.map(|id| format!("&client_id={id}")).unwrap_or_default();
    let url = format!(
        "{base}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{client}"
    );
    Call { url, body: None }
}

#[derive(Deserialize)]
struct Token<'a> {
    access_token: &'a str,
    /// Seconds, in a text.
    expires_in: Option<&'a str>,
}

/// The token, and the seconds that it lives.
///
/// # Errors
/// When there is none.
pub fn identity_token(content: &[u8]) -> Result<(Secret, u64), Refused> {
    let malformed = || Refused::Malformed("identity token");
    let token: Token<'_> = serde_json::from_slice(content).map_err(|_| malformed())?;
    let graphic = token.access_token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.access_token.is_empty() || !graphic {
        return Err(malformed());
    }
    let life = token.expires_in.and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok((Secret::new(token.access_token.as_bytes().to_vec()), life))
}

/// Has `value` wrapped by the vault's key (RSA-OAEP-256).
#[must_use]
pub fn wrap(key: &KeyRef, value: &[u8]) -> Call {
    wrapping(key, "wrapkey", value)
}

/// Has `value` unwrapped by the vault's key.
#[must_use]
pub fn unwrap(key: &KeyRef, value: &[u8]) -> Call {
    wrapping(key, "unwrapkey", value)
}

fn wrapping(key: &KeyRef, operation: &str, value: &[u8]) -> Call {
    let body = json!({"alg": "RSA-OAEP-256", "value": B64.encode(value)}).to_string();
    Call { url: format!("{key}/{operation}?api-version={VAULT_API}"), body: Some(body) }
}

#[derive(Deserialize)]
struct Operated<'a> {
    kid: &'a str,
    value: &'a str,
}

/// The result of [`wrap`] or [`unwrap`], by the version that was asked.
///
/// # Errors
/// When it is not one, or is of another key.
pub fn operated(content: &[u8], key: &KeyRef) -> Result<Secret, Refused> {
    let malformed = Refused::Malformed("key operation");
    let Ok(operated) = serde_json::from_slice::<Operated<'_>>(content) else {
        return Err(malformed);
    };
    if operated.kid != key.to_string() {
        return Err(Refused::Other("key"));
    }
    B64.decode(operated.value).map(Secret::new).map_err(|_| malformed)
}
