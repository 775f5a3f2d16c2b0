//! `witnesses`: who else signs checkpoints of the audit log.
//!
//! Invariant: each has a name and a key of its own; a witness elsewhere is asked over TLS.

use postern_tlog::cosignature::Witness;
use serde::Deserialize;

use super::{ConfigError, problem};

/// Most witnesses: a note has room for 16 signatures.
const MOST: usize = 8;

/// One of `witnesses` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    /// Where `add-checkpoint` is (C2SP tlog-witness).
    url: String,
    /// Its key, `name+hash+key`.
    key: String,
}

/// A witness and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAt {
    /// Without `/add-checkpoint`.
    pub url: String,
    /// Its name and key.
    pub key: Witness,
}

pub(super) fn checked(wires: Vec<Wire>) -> Result<Vec<WitnessAt>, ConfigError> {
    if wires.len() > MOST {
        return Err(problem("witnesses", format!("expected at most {MOST}")));
    }
    let mut witnesses: Vec<WitnessAt> = Vec::new();
    for (at, wire) in wires.into_iter().enumerate() {
        let key = Witness::parse(&wire.key);
        let expected = "expected name+hash+key of a witness (cosignature/v1)";
        let key = key.ok_or_else(|| problem(&format!("witnesses.{at}.key"), expected))?;
        if witnesses.iter().any(|other| other.key.name() == key.name()) {
            return Err(problem(&format!("witnesses.{at}.key"), "expected a name of its own"));
        }
        if !allowed(&wire.url) {
            let expected = "expected https://…, or http:// on 127.0.0.1, without user and query";
            return Err(problem(&format!("witnesses.{at}.url"), expected));
        }
        witnesses.push(WitnessAt { url: wire.url.trim_end_matches('/').to_owned(), key });
    }
    Ok(witnesses)
}

/// What is asked is public, and what comes back is signed: TLS keeps others from stopping it.
fn allowed(url: &str) -> bool {
    let authority = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://").filter(|rest| rest.starts_with("127.0.0.1:")));
    let authority = authority.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    !authority.is_empty() && !url.contains(['@', '#', '?', ' ', '\\'])
}
