//! Requests to HashiCorp Vault, and its answers: plain values without a socket.
//!
//! Shapes: Vault's HTTP API, "KV secrets engine version 2", "`AppRole` auth method",
//! "Kubernetes auth method" and "token auth method". Invariant: texts of an answer are read
//! into buffers that are wiped.

use std::collections::BTreeMap;

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::item::{Item, text_of};
use crate::{Path, Place, Refused, ServerUrl, Value, Version};

/// A token is not used in its last part, up to a minute.
const SPARE: u64 = 60;

/// A request. Namespace and token are added where it is sent.
pub struct Call {
    /// Where to.
    pub url: String,
    /// Content of a POST; a GET without one.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

/// An answer, whole.
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Seconds of `Retry-After`, where it says seconds.
    pub wait: Option<u64>,
    /// Content.
    pub body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn content(&self) -> Result<&[u8], Refused> {
        match self.status {
            200 => Ok(&self.body),
            status => Err(Refused::of_status(status, self.wait)),
        }
    }
}

/// Reads a secret: `GET /v1/MOUNT/data/PATH`.
#[must_use]
pub fn read(server: &ServerUrl, mount: &Path, place: &Place, version: Option<&Version>) -> Call {
    let version = version.map(|number| format!("?version={number}")).unwrap_or_default();
    let url = format!("{server}/v1/{mount}/data/{}{version}", place.path());
    Call { url, body: None }
}

/// Whether a token lives: `GET /v1/auth/token/lookup-self`.
#[must_use]
pub fn lookup_self(server: &ServerUrl) -> Call {
    let url = format!("{server}/v1/auth/token/lookup-self");
    Call { url, body: None }
}

#[derive(Serialize)]
struct AppRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct Kubernetes<'a> {
    role: &'a str,
    jwt: &'a str,
}

/// What is said of a login by its method.
pub const APP_ROLE: &str = "AppRole login";
/// As [`APP_ROLE`].
pub const KUBERNETES: &str = "Kubernetes login";

/// Logs in by `AppRole`: `POST /v1/auth/MOUNT/login`.
///
/// # Errors
/// When the secret id is no text.
pub fn app_role(
    server: &ServerUrl,
    mount: &Path,
    role_id: &str,
    secret_id: &Secret,
) -> Result<Call, Refused> {
    let secret_id = text(secret_id, APP_ROLE)?;
    let body = body(&AppRole { role_id, secret_id }, role_id.len() + secret_id.len());
    Ok(login(server, mount, body.ok_or(Refused::LoginExpired(APP_ROLE))?))
}

/// Logs in by the token of a service account of Kubernetes: `POST /v1/auth/MOUNT/login`.
///
/// # Errors
/// When the token is no text.
pub fn kubernetes(
    server: &ServerUrl,
    mount: &Path,
    role: &str,
    token: &Secret,
) -> Result<Call, Refused> {
    let jwt = text(token, KUBERNETES)?;
    let body = body(&Kubernetes { role, jwt }, role.len() + jwt.len());
    Ok(login(server, mount, body.ok_or(Refused::LoginExpired(KUBERNETES))?))
}

fn text<'a>(secret: &'a Secret, what: &'static str) -> Result<&'a str, Refused> {
    str::from_utf8(secret.expose()).map_err(|_| Refused::LoginExpired(what))
}

/// Grown once, so that no copy is left behind.
fn body(content: &impl Serialize, length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(64 + 6 * length));
    serde_json::to_writer(&mut *body, content).ok()?;
    Some(body)
}

fn login(server: &ServerUrl, mount: &Path, body: Zeroizing<Vec<u8>>) -> Call {
    let url = format!("{server}/v1/auth/{mount}/login");
    Call { url, body: Some(body) }
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Zeroizing<String>,
    lease_duration: u64,
}

/// The token of a login by `method`, and until when it is used; `None` where it does not end.
///
/// # Errors
/// What the vault refuses, or when there is no token.
pub fn logged_in(
    answer: &Answer,
    method: &'static str,
    now: UnixMillis,
) -> Result<(Secret, Option<UnixMillis>), Refused> {
    let content = match answer.status {
        // A wrong or used-up secret id is a bad request to Vault.
        400 | 401 | 403 => return Err(Refused::LoginExpired(method)),
        404 => return Err(Refused::NotFound("way to log in")),
        _ => answer.content()?,
    };
    let malformed = Refused::Malformed("answer to a login");
    let Ok(LoggedIn { auth }) = serde_json::from_slice(content) else { return Err(malformed) };
    let graphic = auth.client_token.bytes().all(|byte| byte.is_ascii_graphic());
    if auth.client_token.is_empty() || !graphic {
        return Err(malformed);
    }
    let life = auth.lease_duration.saturating_sub(SPARE.min(auth.lease_duration / 10));
    let end = UnixMillis(now.0.saturating_add(life.saturating_mul(1000)));
    let end = (auth.lease_duration > 0).then_some(end);
    Ok((Secret::new(auth.client_token.as_bytes().to_vec()), end))
}

#[derive(Deserialize)]
struct Read {
    data: Versioned,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<BTreeMap<String, Item>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    destroyed: bool,
}

/// The value of a field, of the version that was asked for.
///
/// # Errors
/// What the vault refuses, or when there is no such field, or it is no text that can be kept.
pub fn value(answer: &Answer, field: &str, version: Option<&Version>) -> Result<Value, Refused> {
    let read: Result<Read, _> = serde_json::from_slice(answer.content()?);
    let Ok(Read { data }) = read else {
        return Err(Refused::Malformed("secret: expected an answer of KV version 2"));
    };
    let found = Version::from(data.metadata.version);
    if version.is_some_and(|asked| *asked != found) {
        return Err(Refused::Malformed("another version than was asked for"));
    }
    let Some(mut fields) = data.data.filter(|_| !data.metadata.destroyed) else {
        return Err(Refused::NotFound("version: it was deleted"));
    };
    let secret = text_of(&mut fields, field)?;
    Ok(Value { secret, version: found })
}
