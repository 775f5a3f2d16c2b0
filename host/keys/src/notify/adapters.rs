//! Chats: the calls that their documentation describes.
//!
//! Run against local servers of this shape; not run against the services themselves. Each asks
//! not to have the link looked at: it is for people alone.

use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde_json::{Value, json};
use ureq::http;

use super::{Adapter, Notice, call, text};
use crate::fault::Fault;

/// `sendMessage` of the Telegram Bot API.
pub(super) struct Telegram {
    pub(super) api: String,
    pub(super) chat: String,
    pub(super) token: Secret,
}

impl Adapter for Telegram {
    fn call(&self, notice: &Notice, _: UnixMillis) -> Result<http::Request<Vec<u8>>, Fault> {
        let url = format!("{}/bot{}/sendMessage", self.api, text(&self.token)?);
        let body = json!({
            "chat_id": self.chat, "text": notice.text(),
            "link_preview_options": { "is_disabled": true },
        });
        call("POST", &url, &[], &body)
    }

    fn took(&self, status: u16, content: &[u8]) -> bool {
        let answer: Value = serde_json::from_slice(content).unwrap_or_default();
        status == 200 && answer.get("ok") == Some(&Value::Bool(true))
    }
}

/// An incoming webhook of Slack. Its path is the secret.
pub(super) struct Slack {
    pub(super) api: String,
    pub(super) path: Secret,
}

impl Adapter for Slack {
    fn call(&self, notice: &Notice, _: UnixMillis) -> Result<http::Request<Vec<u8>>, Fault> {
        let url = format!("{}/{}", self.api, text(&self.path)?.trim_start_matches('/'));
        let body = json!({ "text": notice.text(), "unfurl_links": false, "unfurl_media": false });
        call("POST", &url, &[], &body)
    }

    fn took(&self, status: u16, content: &[u8]) -> bool {
        status == 200 && content.trim_ascii() == b"ok"
    }
}

/// `PUT …/send/m.room.message/…` of Matrix's client-server API. The approval is the
/// transaction, so that a call that is made again leaves one message.
pub(super) struct Matrix {
    pub(super) homeserver: String,
    pub(super) room: String,
    pub(super) token: Secret,
}

impl Adapter for Matrix {
    fn call(&self, notice: &Notice, _: UnixMillis) -> Result<http::Request<Vec<u8>>, Fault> {
        let room: String = form_urlencoded::byte_serialize(self.room.as_bytes()).collect();
        let url = format!(
            "{}/_matrix/client/v3/rooms/{room}/send/m.room.message/{}",
            self.homeserver,
            hex::lower(&notice.approval)
        );
        let bearer = format!("Bearer {}", text(&self.token)?);
        let body = json!({ "msgtype": "m.text", "body": notice.text() });
        call("PUT", &url, &[("authorization", &bearer)], &body)
    }

    fn took(&self, status: u16, content: &[u8]) -> bool {
        let answer: Value = serde_json::from_slice(content).unwrap_or_default();
        status == 200 && answer.get("event_id").is_some_and(Value::is_string)
    }
}
