//! `notify`: by which channels people are told that a request waits.
//!
//! Invariant: a host is https, but on this machine with simulated evidence; secrets are in
//! files of their own and not here.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, problem};

/// Most channels.
const MOST: usize = 32;

/// One of `notify` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    /// What logs and events call it.
    name: String,
    /// Whose approvals.
    tenant: String,
    /// File (mode 0600) of one line: the webhook's key (`whsec_…`), the bot's or user's token,
    /// or the path of Slack's incoming webhook.
    secret: PathBuf,
    /// A signed webhook (Standard Webhooks).
    webhook: Option<Webhook>,
    /// A Telegram bot.
    telegram: Option<Telegram>,
    /// An incoming webhook of Slack.
    slack: Option<Slack>,
    /// A room of Matrix.
    matrix: Option<Matrix>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Telegram {
    chat: String,
    #[serde(default = "telegram")]
    api: String,
}

fn telegram() -> String {
    "https://api.telegram.org".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slack {
    #[serde(default = "slack")]
    api: String,
}

fn slack() -> String {
    "https://hooks.slack.com".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    homeserver: String,
    room: String,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What logs and events call it.
    pub name: String,
    /// Whose approvals.
    pub tenant: String,
    /// Private file with the secret.
    pub secret: PathBuf,
    /// What it is.
    pub medium: Medium,
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A signed webhook.
    Webhook {
        /// Where it is.
        url: String,
    },
    /// A Telegram bot.
    Telegram {
        /// Its API.
        api: String,
        /// Whom it writes to.
        chat: String,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Its host.
        api: String,
    },
    /// A room of Matrix.
    Matrix {
        /// Its server.
        homeserver: String,
        /// Its id.
        room: String,
    },
}

impl Medium {
    fn url(&self) -> &str {
        match self {
            Self::Webhook { url } => url,
            Self::Telegram { api, .. } | Self::Slack { api } => api,
            Self::Matrix { homeserver, .. } => homeserver,
        }
    }
}

pub(super) fn checked(
    wires: Vec<Wire>,
    base: &Path,
    simulated: bool,
) -> Result<Vec<Channel>, ConfigError> {
    if wires.len() > MOST {
        return Err(problem("notify", format!("expected at most {MOST} channels")));
    }
    let mut channels: Vec<Channel> = Vec::new();
    for wire in wires {
        let at = format!("notify.{}", wire.name);
        if wire.name.is_empty() || channels.iter().any(|channel| channel.name == wire.name) {
            return Err(problem(&at, "expected a name of its own"));
        }
        let media = [
            wire.webhook.map(|it| Medium::Webhook { url: it.url }),
            wire.telegram.map(|it| Medium::Telegram { api: it.api, chat: it.chat }),
            wire.slack.map(|it| Medium::Slack { api: it.api }),
            wire.matrix.map(|it| Medium::Matrix { homeserver: it.homeserver, room: it.room }),
        ];
        let mut media = media.into_iter().flatten();
        let (Some(medium), None) = (media.next(), media.next()) else {
            return Err(problem(&at, "expected one of webhook, telegram, slack and matrix"));
        };
        if !allowed(medium.url(), simulated) {
            return Err(problem(&at, "expected https://… without user and fragment"));
        }
        let secret = base.join(wire.secret);
        channels.push(Channel { name: wire.name, tenant: wire.tenant, secret, medium });
    }
    Ok(channels)
}

fn allowed(url: &str, simulated: bool) -> bool {
    let plain = simulated && url.starts_with("http://127.0.0.1:");
    let rest = url.strip_prefix("https://").unwrap_or(if plain { "127.0.0.1" } else { "" });
    let authority = rest.split('/').next().unwrap_or_default();
    !authority.is_empty() && !url.contains(['@', '#', ' ', '\\']) && !url.ends_with('/')
}
