//! Tokens and rights as JSON that people and other programs read.
//!
//! Invariant: what [`inspect`] returns was **not** verified; it serves to look at a token
//! and decides nothing.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::{Map, Value, json};

use crate::block::Block;
use crate::chain::Chain;
use crate::claims::{self, Claims};
use crate::form::Set;
use crate::proof::Proof;
use crate::refusal::Refusal;
use crate::right::Right;
use crate::token;

/// The key id and the claims of each block, of a token that nobody has verified.
pub fn inspect(token: &str) -> Result<Value, Refusal> {
    let mut blocks = Vec::new();
    for bytes in token::blocks(token.as_bytes())? {
        let block = Block::parse(&bytes, blocks.is_empty())?;
        let mut shown = json!({"claims": claims(&block.claims()?)});
        if let (Some(id), Some(shown)) = (block.key_id(), shown.as_object_mut()) {
            shown.insert("kid".to_owned(), json!(id));
        }
        blocks.push(shown);
    }
    Ok(json!({"verified": false, "blocks": blocks}))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The claims of a block under their names; bytes in hexadecimal.
pub fn claims(claims: &Claims) -> Value {
    let rows = [
        ("iss", json!(claims.issuer)),
        ("sub", json!(claims.subject)),
        ("aud", json!(claims.audience)),
        ("exp", json!(claims.expires)),
        ("nbf", json!(claims.not_before)),
        ("iat", json!(claims.issued_at)),
        ("cti", json!(claims.id.map(|id| hex(&id)))),
        ("cnf", json!(claims.holder.as_ref().map(|key| hex(key.as_bytes())))),
        ("previous", json!(claims.previous.map(|hash| hex(&hash)))),
        ("tenant", json!(claims.tenant)),
        ("organisation", json!(claims.organisation)),
        ("scopes", json!(claims.scopes)),
        ("roles", json!(claims.roles)),
        ("trust", json!(claims.trust)),
        ("clearance", json!(claims.clearance)),
        ("credentials", json!(claims.credentials)),
        ("hosts", json!(claims.hosts)),
        ("methods", json!(claims.methods)),
        ("paths", json!(claims.paths)),
        ("tools", json!(claims.tools)),
        ("models", json!(claims.models)),
        ("budget", json!(claims.budget)),
        ("document", json!(claims.document)),
        ("approval", json!(claims.approval)),
        ("depth", json!(claims.depth)),
    ];
    there(rows)
}

fn there<const N: usize>(rows: [(&str, Value); N]) -> Value {
    let there = rows.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(there.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// A verified chain.
pub fn chain(chain: &Chain) -> Value {
    let widened = chain.widened().iter().map(|(block, labels)| {
        let names: Vec<_> = labels.iter().map(|label| claims::name(*label)).collect();
        json!({"block": block, "claims": names})
    });
    json!({
        "issuer": chain.issuer().issuer,
        "kid": chain.issuer().id,
        "subjects": chain.subjects(),
        "ids": chain.ids().iter().map(|id| hex(id)).collect::<Vec<_>>(),
        "holder": B64.encode(chain.holder().as_bytes()),
        "right": right(chain.right()),
        "widened": widened.collect::<Vec<_>>(),
    })
}

/// An effective right; limits that there are not are left out.
pub fn right(right: &Right) -> Value {
    let limit = |set: &Option<Set>| json!(set);
    let rows = [
        ("expires", json!(right.expires)),
        ("not_before", json!(right.not_before)),
        ("tenant", json!(right.tenant)),
        ("organisation", json!(right.organisation)),
        ("scopes", json!(right.scopes)),
        ("roles", json!(right.roles)),
        ("trust", json!(right.trust)),
        ("clearance", json!(right.clearance)),
        ("credentials", json!(right.credentials)),
        ("hosts", limit(&right.hosts)),
        ("methods", limit(&right.methods)),
        ("paths", limit(&right.paths)),
        ("tools", limit(&right.tools)),
        ("models", limit(&right.models)),
        ("budget", json!(right.budget)),
        ("document", json!(right.document)),
        ("approval", json!(right.approval)),
    ];
    there(rows)
}

/// A verified proof.
pub fn proof(proof: &Proof) -> Value {
    json!({
        "nonce": proof.nonce(),
        "created": proof.created(),
        "content_sha256": proof.content().map(|digest| hex(digest)),
        "fields": proof.fields(),
        "replay_key": hex(proof.replay_key()),
    })
}
