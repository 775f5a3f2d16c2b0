//! Requests to HashiCorp Vault, and its answers: plain values without a socket.
//!
//! Shapes: Vault's HTTP API, "KV secrets engine version 2", "`AppRole` auth method" and
//! "token auth method". Invariant: texts of an answer are read into buffers that are wiped.

use std::collections::BTreeMap;
use std::fmt;

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::{Path, Place, Refused, ServerUrl, Value};

/// Largest value, which is what the key service keeps.
const LARGEST: usize = 16 * 1024;
/// A token is not used in its last part, up to a minute.
const SPARE: u64 = 60;

/// A request. The token is added where it is sent.
pub struct Call {
    /// Where to.
    pub url: String,
    /// The namespace, where it is not the root.
    pub namespace: Option<Path>,
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
    fn content(&self) -> Result<&[u8], Refused> {
        match self.status {
            200 => Ok(&self.body),
            status => Err(Refused::of_status(status, self.wait)),
        }
    }
}

/// Reads a secret: `GET /v1/MOUNT/data/PATH`.
#[must_use]
pub fn read(server: &ServerUrl, mount: &Path, place: &Place, version: Option<u64>) -> Call {
    let version = version.map(|number| format!("?version={number}")).unwrap_or_default();
    let url = format!("{server}/v1/{mount}/data/{}{version}", place.path());
    Call { url, namespace: None, body: None }
}

/// Whether a token lives: `GET /v1/auth/token/lookup-self`.
#[must_use]
pub fn lookup_self(server: &ServerUrl) -> Call {
    let url = format!("{server}/v1/auth/token/lookup-self");
    Call { url, namespace: None, body: None }
}

#[derive(Serialize)]
struct AppRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

/// Logs in: `POST /v1/auth/MOUNT/login`.
///
/// # Errors
/// When the secret id is no text.
pub fn app_role(
    server: &ServerUrl,
    mount: &Path,
    role_id: &str,
    secret_id: &Secret,
) -> Result<Call, Refused> {
    let refused = || Refused::LoginExpired("AppRole login");
    let secret_id = str::from_utf8(secret_id.expose()).map_err(|_| refused())?;
    // Grown once, so that no copy is left behind.
    let room = 64 + 6 * (role_id.len() + secret_id.len());
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *body, &AppRole { role_id, secret_id }).map_err(|_| refused())?;
    let url = format!("{server}/v1/auth/{mount}/login");
    Ok(Call { url, namespace: None, body: Some(body) })
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

/// The token of a login, and until when it is used; `None` where it does not end.
///
/// # Errors
/// What the vault refuses, or when there is no token.
pub fn logged_in(
    answer: &Answer,
    now: UnixMillis,
) -> Result<(Secret, Option<UnixMillis>), Refused> {
    let content = match answer.status {
        // A wrong or used-up secret id is a bad request to Vault.
        400 | 401 | 403 => return Err(Refused::LoginExpired("AppRole login")),
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
pub fn value(answer: &Answer, field: &str, version: Option<u64>) -> Result<Value, Refused> {
    let read: Result<Read, _> = serde_json::from_slice(answer.content()?);
    let Ok(Read { data }) = read else {
        return Err(Refused::Malformed("secret: expected an answer of KV version 2"));
    };
    if version.is_some_and(|asked| asked != data.metadata.version) {
        return Err(Refused::Malformed("another version than was asked for"));
    }
    let Some(mut fields) = data.data.filter(|_| !data.metadata.destroyed) else {
        return Err(Refused::NotFound("version: it was deleted"));
    };
    let text = match fields.remove(field) {
        None => return Err(Refused::NotFound("field")),
        Some(Item::Other) => return Err(Refused::Malformed("field: expected a text")),
        Some(Item::Text(text)) => text,
    };
    if !(1..=LARGEST).contains(&text.len()) {
        return Err(Refused::Malformed("field: expected 1 to 16384 bytes"));
    }
    let secret = Secret::new(text.as_bytes().to_vec());
    Ok(Value { secret, version: data.metadata.version })
}

/// A member of a secret: a text, wiped, or something that is no value for us.
enum Item {
    Text(Zeroizing<String>),
    Other,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Item, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Item::Other)
    }
}
