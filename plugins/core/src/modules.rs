//! What names the modules of a gateway to the key service.
//!
//! A module cannot hash itself, so its digest is what the configuration says it is; who checks it
//! against the file is `postern check` and our own gateway. Invariant: one set of digests has one
//! name, whatever the order in which it is written.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::ConfigError;
use crate::config::Problems;
use crate::hex;

/// The modules that there are: three in a proxy, one component in Spin.
pub const NAMES: [&str; 4] = ["audit", "credential", "gate", "gateway"];

/// `SHA-256("postern modules/1\0" || each: u8 length, name, digest)`, ascending by name.
pub fn digest(modules: &BTreeMap<&str, [u8; 32]>) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"postern modules/1\0");
    for (name, digest) in modules {
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        hash = hash.chain_update([length]).chain_update(name).chain_update(digest);
    }
    hash.finalize().into()
}

/// `modules` of the credential's document: names and SHA-256 in hexadecimal.
pub fn read(wire: &BTreeMap<String, String>) -> Result<Option<[u8; 32]>, ConfigError> {
    let mut problems = Problems::default();
    let mut modules = BTreeMap::new();
    for (name, text) in wire {
        let known = NAMES.contains(&name.as_str());
        match hex::read::<32>(text.as_bytes()) {
            Some(digest) if known => drop(modules.insert(name.as_str(), digest)),
            Some(_) => problems.note(name, "expected gate, credential, audit or gateway"),
            None => problems.note(name, "expected 64 hexadecimal digits"),
        }
    }
    problems.finish(Some((!modules.is_empty()).then(|| digest(&modules))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_over_every_digest_and_every_name() {
        let one = digest(&BTreeMap::from([("gate", [1; 32]), ("credential", [2; 32])]));
        let expected = Sha256::new()
            .chain_update(b"postern modules/1\0\x0acredential")
            .chain_update([2; 32])
            .chain_update(b"\x04gate")
            .chain_update([1; 32])
            .finalize();
        assert_eq!(one, <[u8; 32]>::from(expected));
        for other in [
            BTreeMap::from([("gate", [1; 32])]),
            BTreeMap::from([("gate", [2; 32]), ("credential", [1; 32])]),
            BTreeMap::from([("gate", [1; 32]), ("audit", [2; 32])]),
        ] {
            assert_ne!(digest(&other), one);
        }
    }

    #[test]
    fn what_is_written_is_read_or_named() {
        let wire = |rows: &[(&str, &str)]| {
            let rows = rows.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            read(&rows.collect()).map_err(|error| error.problems[0].path.clone())
        };
        let digest = "ab".repeat(32);
        assert_eq!(wire(&[]), Ok(None));
        let named = super::digest(&BTreeMap::from([("gate", [0xab; 32])]));
        assert_eq!(wire(&[("gate", &digest)]), Ok(Some(named)));
        assert_eq!(wire(&[("gate", &digest[2..])]), Err("gate".into()));
        assert_eq!(wire(&[("other", &digest)]), Err("other".into()));
    }
}
