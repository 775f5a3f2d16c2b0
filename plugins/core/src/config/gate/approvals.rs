//! `approvals`: where people decide, and how long they have.

use std::time::Duration;

use serde::Deserialize;

use super::BodyMode;
use super::capability::seconds;
use super::forward::endpoint;
use crate::config::{ConfigError, Problems};
use crate::hex;

/// `approvals` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalsWire {
    /// URL of the page of the key service on which people decide: an approval's link is this,
    /// `/` and its id. Default: none, and refusals have no link.
    pub page: Option<String>,
    /// Path below which callers ask how their approvals stand. Default `/.postern/approval`.
    pub poll: Option<String>,
    /// How long people have. Default `10m`, `30s` to `24h`.
    pub life: Option<String>,
    /// When a caller asks again, at the earliest (`Retry-After`). Default `5s`, `1s` to `1h`.
    pub retry_after: Option<String>,
}

/// How requests wait for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// URL of the page, without a slash at its end.
    pub page: Option<String>,
    /// Path below which callers ask.
    pub poll: String,
    /// How long people have.
    pub life: Duration,
    /// When a caller asks again.
    pub retry: Duration,
}

/// Reads it, and that content is held for it.
pub(super) fn read(
    wire: Option<ApprovalsWire>,
    body: BodyMode,
    problems: &mut Problems,
) -> Option<Approvals> {
    let wire = wire?;
    if body != BodyMode::Hold {
        problems.note("body", "expected hold, since an approval covers the content");
    }
    problems.part("approvals", approvals(wire))
}

fn approvals(wire: ApprovalsWire) -> Result<Approvals, ConfigError> {
    let mut problems = Problems::default();
    let page = wire.page.and_then(|text| problems.scalar("page", page(&text)));
    let poll = wire.poll.unwrap_or_else(|| "/.postern/approval".to_owned());
    let poll = problems.scalar("poll", endpoint(&poll).map(|_| poll));
    let mut span = |path, text: Option<String>, default: &str, (least, most)| {
        problems.scalar(path, seconds(text.as_deref().unwrap_or(default), least, most))
    };
    let life = span("life", wire.life, "10m", (30, 86_400));
    let retry = span("retry_after", wire.retry_after, "5s", (1, 3600));
    let read = (|| Some(Approvals { page, poll: poll?, life: life?, retry: retry? }))();
    problems.finish(read)
}

/// It stands in JSON as it is.
fn page(text: &str) -> Result<String, &'static str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let secure = text.starts_with("https://") || text.starts_with("http://127.0.0.1:");
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\?#<>".contains(&byte));
    let fits = secure && plain && text.len() <= 256;
    fits.then(|| text.to_owned()).ok_or("expected an https:// URL without query")
}

impl Approvals {
    /// The id that a path asks about, if it is one below [`Approvals::poll`].
    pub fn asked(&self, path: &[u8]) -> Option<[u8; 16]> {
        let id = path.strip_prefix(self.poll.as_bytes())?.strip_prefix(b"/")?;
        let id: [u8; 16] = hex::read(id)?;
        Some(id)
    }

    /// Where people decide about an approval.
    pub fn link(&self, id: &[u8; 16]) -> Option<String> {
        Some(format!("{}/{}", self.page.as_deref()?, hex::lower(id)))
    }

    /// Where its caller asks how it stands.
    pub fn poll(&self, id: &[u8; 16]) -> String {
        format!("{}/{}", self.poll, hex::lower(id))
    }
}
