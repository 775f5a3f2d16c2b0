//! Telling people that a request waits: a link and nothing else.
//!
//! Owns the trait behind which channels are ([`Adapter`]) and when they are tried
//! ([`sending`]). Invariant: a notice has the link and the time until which it is good; never
//! what was asked for, by whom, or with what. A host that `keys.yaml` does not name is never
//! called, no redirect is followed, every call has a deadline, and there are five at most.

mod adapters;
mod sending;
mod webhook;

use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use ureq::http;

use crate::config::{Channel as Settings, Medium};
use crate::fault::Fault;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) approval: [u8; 16],
    /// Page of the request.
    pub(crate) link: String,
    pub(crate) expires: UnixMillis,
}

impl Notice {
    pub(crate) fn new(origin: &str, approval: [u8; 16], expires: UnixMillis) -> Self {
        let link = format!("{origin}/.postern/approvals/{}", hex::lower(&approval));
        Self { approval, link, expires }
    }

    /// For a chat.
    fn text(&self) -> String {
        format!("A request waits for your decision: {}", self.link)
    }
}

/// A way to tell people.
pub(crate) trait Adapter: Send + Sync {
    /// The call that tells them. It may hold a secret, so it is not logged.
    fn call(&self, notice: &Notice, now: UnixMillis) -> Result<http::Request<Vec<u8>>, Fault>;

    /// Whether the answer says that it was taken.
    fn took(&self, status: u16, content: &[u8]) -> bool;
}

/// A channel of one tenant.
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) adapter: Box<dyn Adapter>,
}

impl Channel {
    /// With its secret, which is read from a private file.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Fault> {
        let secret = secret(&settings.secret)?;
        let adapter: Box<dyn Adapter> = match &settings.medium {
            Medium::Webhook { url } => Box::new(webhook::Webhook::new(url, &secret)?),
            Medium::Telegram { api, chat } => {
                Box::new(adapters::Telegram { api: api.clone(), chat: chat.clone(), token: secret })
            }
            Medium::Slack { api } => Box::new(adapters::Slack { api: api.clone(), path: secret }),
            Medium::Matrix { homeserver, room } => Box::new(adapters::Matrix {
                homeserver: homeserver.clone(),
                room: room.clone(),
                token: secret,
            }),
        };
        let (name, tenant) = (settings.name.clone(), settings.tenant.clone());
        Ok(Self { name, tenant, adapter })
    }
}

/// One line of a file that nobody else can read.
fn secret(file: &std::path::Path) -> Result<Secret, Fault> {
    let text = postern_files::read_private(file, 4096).map(Secret::new);
    let text = text.map_err(|e| Fault::file(file, &e))?;
    let line = Secret::new(text.expose().trim_ascii().to_vec());
    let good = !line.is_empty() && line.expose().iter().all(u8::is_ascii_graphic);
    if good { Ok(line) } else { Err(Fault::file(file, &"expected one line of ASCII")) }
}

/// A JSON call.
fn call(
    method: &str,
    url: &str,
    fields: &[(&str, &str)],
    body: &serde_json::Value,
) -> Result<http::Request<Vec<u8>>, Fault> {
    let request = http::Request::builder().method(method).uri(url);
    let request = request.header("content-type", "application/json");
    let request =
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.to_string().into_bytes()).map_err(|_| Fault::Malformed("notification"))
}

/// A secret as it stands in a URL or a field: its form was checked when it was read.
fn text(secret: &Secret) -> Result<&str, Fault> {
    str::from_utf8(secret.expose()).map_err(|_| Fault::Malformed("notification secret"))
}

#[cfg(test)]
mod tests;
