//! `policy` of the gate's document: which policy decides, as text and data.
//!
//! Owns what can be checked without knowing the policy's language. Invariant: a
//! [`PolicySource`] has at least one module, each with a name of its own, or a bundle.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::gate::endpoint::{Endpoint, EndpointWire, endpoint};
use crate::config::gate::tokens::span;
use crate::config::{ConfigError, Problems};

/// `policy` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyWire {
    /// A policy in Rego, the language of the Open Policy Agent. Required.
    pub rego: Option<RegoWire>,
}

/// `policy.rego` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegoWire {
    /// The text of the only module, named `inline.rego`. Either this, `modules` or `bundle`.
    pub inline: Option<String>,
    /// Several modules; at most 256.
    #[serde(default)]
    pub modules: Vec<ModuleWire>,
    /// Modules and data as a bundle.
    pub bundle: Option<BundleWire>,
    /// The document `data` that rules read. Default `{}`; a bundle brings its own.
    pub data: Option<Value>,
    /// The rule that decides. Default `data.envoy.authz.allow`.
    pub query: Option<String>,
    /// Most instructions of one decision; beyond it is a refusal. Default 25000, limit
    /// 1000000.
    pub instructions: Option<u32>,
}

/// `policy.rego.bundle` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleWire {
    /// The bundle (`.tar.gz`) in base64 (RFC 4648, 4). Required, unless it is polled; beside
    /// `poll` it is the one that a worker begins with.
    pub inline: Option<String>,
    /// Where newer ones come from.
    pub poll: Option<PollWire>,
    /// A JSON Web Key Set (RFC 7517, 5): one of its keys must have signed the bundle. Without
    /// it no signature is looked at, and the bundle is trusted as this document is. Required
    /// with `poll`.
    pub keys: Option<Value>,
}

/// `policy.rego.bundle.poll` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollWire {
    /// Fetched from here with `GET`, and `If-None-Match` where the answer had an `ETag`.
    pub from: Option<EndpointWire>,
    /// How often. Default `1m`; `1s` to `24h`.
    pub every: Option<String>,
    /// How long the last good one decides when the server neither confirms it (304) nor has one
    /// that can be taken. After that every request is refused. Default `24h`, at least `every`,
    /// at most `168h`.
    pub keep: Option<String>,
    /// Bundles with a smaller serial, or with none, are refused. Default 0: none is needed.
    #[serde(default)]
    pub least_serial: u64,
}

/// One module as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleWire {
    /// Name, for messages. Required.
    pub name: Option<String>,
    /// Its text. Required.
    pub text: Option<String>,
}

/// A policy as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// Modules: name and text; none where there is a bundle.
    pub modules: Vec<(String, String)>,
    /// A bundle, whose modules and data these are.
    pub bundle: Option<BundleSource>,
    /// The document `data`: an object.
    pub data: Value,
    /// Path of the rule that decides.
    pub query: String,
    /// Most instructions of one decision.
    pub instructions: u32,
}

/// A bundle as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleSource {
    /// Its bytes, which nobody has looked at. Always there where nothing is polled.
    pub content: Option<Vec<u8>>,
    /// Where newer ones come from.
    pub poll: Option<Poll>,
    /// The keys of which one must have signed it, as JSON.
    pub keys: Option<Vec<u8>>,
}

/// A bundle that is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// From where.
    pub from: Endpoint,
    /// How often.
    pub every: Duration,
    /// How long the last good one decides.
    pub keep: Duration,
    /// Smallest serial that is taken; 0 takes bundles without one.
    pub least_serial: u64,
}

/// Names the policy in force to the key service: SHA-256 over a label and, each with a length of
/// 32 bits, the query, the instructions as decimal, and then the bundle with its keys, or name and
/// text of each module and the data. Of a bundle that is polled it has where it comes from and the
/// smallest serial, and not what came: its signature says what may. Without a policy over the
/// label alone.
pub(super) fn hash(policy: Option<&PolicySource>) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"postern policy/1\0");
    let parts = policy.map(PolicySource::parts).unwrap_or_default();
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        hash = hash.chain_update(length.to_be_bytes()).chain_update(part);
    }
    hash.finalize().into()
}

impl PolicySource {
    fn parts(&self) -> Vec<Cow<'_, [u8]>> {
        let mut parts = vec![
            Cow::Borrowed(self.query.as_bytes()),
            Cow::Owned(self.instructions.to_string().into_bytes()),
        ];
        if let Some(bundle) = &self.bundle {
            parts.push(Cow::Borrowed(b"bundle"));
            parts.push(Cow::Borrowed(bundle.content.as_deref().unwrap_or_default()));
            parts.push(Cow::Borrowed(bundle.keys.as_deref().unwrap_or_default()));
            if let Some(poll) = &bundle.poll {
                let from = &poll.from;
                parts.push(Cow::Borrowed(b"poll"));
                parts.extend(
                    [&from.cluster, &from.authority, &from.path]
                        .map(|it| Cow::Borrowed(it.as_bytes())),
                );
                parts.push(Cow::Owned(poll.least_serial.to_string().into_bytes()));
            }
            return parts;
        }
        parts.push(Cow::Borrowed(b"modules"));
        for (name, text) in &self.modules {
            parts.push(Cow::Borrowed(name.as_bytes()));
            parts.push(Cow::Borrowed(text.as_bytes()));
        }
        parts.push(Cow::Owned(self.data.to_string().into_bytes()));
        parts
    }
}

/// Where [`PolicySource`] stands in the document.
pub const PATH: &str = "policy.rego";
/// The rule that decides unless another is named: that of Envoy's OPA plugin.
pub const DEFAULT_QUERY: &str = "data.envoy.authz.allow";
/// Most instructions of one decision unless the document says so.
pub const DEFAULT_INSTRUCTIONS: u32 = 25_000;
const MOST_INSTRUCTIONS: u32 = 1_000_000;
const EVERY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST_MODULES: usize = 256;

pub(super) fn policy(wire: PolicyWire) -> Result<PolicySource, ConfigError> {
    let mut problems = Problems::default();
    let rego = problems.required("rego", wire.rego);
    let source = rego.and_then(|wire| problems.part("rego", source(wire)));
    problems.finish(source)
}

fn source(wire: RegoWire) -> Result<PolicySource, ConfigError> {
    let mut problems = Problems::default();
    let sources = [wire.inline.is_some(), !wire.modules.is_empty(), wire.bundle.is_some()];
    if sources.iter().filter(|given| **given).count() != 1 || wire.modules.len() > MOST_MODULES {
        problems.note("", "expected either inline, 1 to 256 modules, or a bundle");
    }
    if wire.bundle.is_some() && wire.data.is_some() {
        problems.note("data", "expected none beside a bundle, which brings its own");
    }
    let bundle = wire.bundle.and_then(|wire| problems.part("bundle", bundle(wire)));
    let mut modules = problems.list("modules", wire.modules, module);
    modules.extend(wire.inline.map(|text| ("inline.rego".to_owned(), text)));
    let names: BTreeSet<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < modules.len() {
        problems.note("modules", "expected every name once");
    }
    let data = wire.data.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if !data.is_object() {
        problems.note("data", "expected an object");
    }
    let instructions = wire.instructions.unwrap_or(DEFAULT_INSTRUCTIONS);
    if !(1..=MOST_INSTRUCTIONS).contains(&instructions) {
        problems.note("instructions", "expected 1 to 1000000");
    }
    let query = wire.query.unwrap_or_else(|| DEFAULT_QUERY.to_owned());
    problems.finish(Some(PolicySource { modules, bundle, data, query, instructions }))
}

fn bundle(wire: BundleWire) -> Result<BundleSource, ConfigError> {
    let mut problems = Problems::default();
    if wire.inline.is_none() && wire.poll.is_none() {
        problems.note("", "expected inline, poll or both");
    }
    if wire.poll.is_some() && wire.keys.is_none() {
        problems.note("keys", "expected keys: what is polled has to be signed");
    }
    let content = wire.inline.and_then(|text| {
        let content = BASE64_STANDARD.decode(text.trim_ascii());
        if content.is_err() {
            problems.note("inline", "expected base64");
        }
        content.ok()
    });
    let poll = wire.poll.and_then(|wire| problems.part("poll", poll(wire)));
    let keys = wire.keys.map(|keys| keys.to_string().into_bytes());
    problems.finish(Some(BundleSource { content, poll, keys }))
}

fn poll(wire: PollWire) -> Result<Poll, ConfigError> {
    let mut problems = Problems::default();
    let every = span(&mut problems, "every", wire.every, EVERY);
    let keep = span(&mut problems, "keep", wire.keep, DAY.max(every));
    if !(Duration::from_secs(1)..=DAY).contains(&every) {
        problems.note("every", "expected 1s to 24h");
    }
    if !(every..=WEEK).contains(&keep) {
        problems.note("keep", "expected at least every, and at most 168h");
    }
    let from = problems.required("from", wire.from);
    let from = from.and_then(|from| problems.part("from", endpoint(from)));
    let least_serial = wire.least_serial;
    problems.finish(from.map(|from| Poll { from, every, keep, least_serial }))
}

fn module(wire: ModuleWire) -> Result<(String, String), ConfigError> {
    let mut problems = Problems::default();
    let name = problems.required("name", wire.name.filter(|name| !name.is_empty()));
    let text = problems.required("text", wire.text);
    problems.finish(name.zip(text))
}
