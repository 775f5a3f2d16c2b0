//! `.signatures.json`: one JWS (RFC 7515) over the digest of every file, as OPA has it.
//!
//! Invariant: a bundle that verifies has no file that the signature does not name, and no
//! file less.

use std::collections::BTreeMap;

use postern_core::hex;
use postern_jose::jws::Unverified;
use postern_jose::{KeySet, Pure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Files, MANIFEST, SIGNATURES, Wrong};

/// The only digest that is taken.
const DIGEST: &str = "SHA-256";

/// What is signed: the digest of each file.
pub fn payload(files: &Files) -> Result<Value, Wrong> {
    let one = |(name, digest): (String, String)| json!({"name": name, "hash": digest, "algorithm": DIGEST});
    let digests = digests(files)?;
    Ok(json!({"files": digests.into_iter().map(one).collect::<Vec<_>>()}))
}

/// Checks that a key of this set has signed exactly these files.
pub fn verify(files: &Files, keys: &KeySet) -> Result<(), Wrong> {
    let signed =
        files.get(SIGNATURES).ok_or("the bundle is not signed, and keys are configured")?;
    let wrong = |what: &str| format!("{SIGNATURES}: {what}");
    let document = postern_jose::json::object(signed).ok_or_else(|| wrong("expected JSON"))?;
    let Some([Value::String(token)]) =
        document.get("signatures").and_then(Value::as_array).map(Vec::as_slice)
    else {
        return Err(wrong("expected one signature"));
    };
    let refused =
        |why: postern_jose::Refusal| wrong(&format!("the signature does not hold: {why}"));
    let token = Unverified::parse(token.as_bytes()).map_err(refused)?;
    let verified = token.verify(keys, &Pure).map_err(refused)?;
    let claims = postern_jose::json::object(&verified.payload);
    let claims = claims.ok_or_else(|| wrong("expected JSON to be signed"))?;
    let named = named(claims.get("files")).ok_or_else(|| {
        wrong("expected files, each with a name of its own, hash and algorithm SHA-256")
    })?;
    compare(&digests(files)?, &named)
}

fn named(files: Option<&Value>) -> Option<BTreeMap<String, String>> {
    let mut named = BTreeMap::new();
    for file in files?.as_array()? {
        let text = |name: &str| file.get(name).and_then(Value::as_str);
        if text("algorithm") != Some(DIGEST) {
            return None;
        }
        if named.insert(text("name")?.to_owned(), text("hash")?.to_owned()).is_some() {
            return None;
        }
    }
    Some(named)
}

fn compare(
    ours: &BTreeMap<String, String>,
    signed: &BTreeMap<String, String>,
) -> Result<(), Wrong> {
    for (name, digest) in ours {
        match signed.get(name) {
            None => return Err(format!("{name}: not signed")),
            Some(signed) if signed != digest => {
                return Err(format!("{name}: not what was signed"));
            }
            Some(_) => {}
        }
    }
    let missing = signed.keys().find(|name| !ours.contains_key(*name));
    missing.map_or(Ok(()), |name| Err(format!("{name}: signed, and not in the bundle")))
}

/// The digest of every file but the signatures'.
fn digests(files: &Files) -> Result<BTreeMap<String, String>, Wrong> {
    let files = files.iter().filter(|(name, _)| name.as_str() != SIGNATURES);
    files
        .map(|(name, content)| {
            let structured = name == MANIFEST || name.ends_with(".json");
            let bytes =
                if structured { canonical(&super::json(name, content)?) } else { content.clone() };
            Ok((name.clone(), hex::lower(&Sha256::digest(bytes))))
        })
        .collect()
}

/// JSON as OPA hashes it: without blanks, names sorted, texts as Go writes them without its
/// escapes for HTML. A number that is not written in the shortest form is written so, and
/// fails to verify: OPA takes its digits as they stand.
fn canonical(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    // Go's two exceptions from raw letters.
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").into_bytes()
}
