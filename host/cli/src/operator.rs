//! The operator: which service, which tenant, and the key that signs.
//!
//! Owns `operator.json` (mode 0600), which `postern enrol` writes. Invariant: the key is
//! read only from a file that nobody else can read, and is never printed.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::hex;
use postern_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::service::{Endpoint, Service};

/// Largest `operator.json`.
const MAX_FILE: usize = 64 << 10;

/// How a command finds the operator's file.
#[derive(clap::Args)]
pub struct OperatorArgs {
    /// The operator's file, as `postern enrol` wrote it.
    #[arg(
        long = "operator",
        value_name = "FILE",
        env = "POSTERN_OPERATOR",
        default_value = "operator.json",
        global = false
    )]
    pub file: PathBuf,
}

/// `operator.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u8,
    url: String,
    ca: String,
    id: String,
    tenant: String,
    seed: Zeroizing<String>,
    #[serde(default)]
    danger_allow_simulated: Option<String>,
    /// As `key_service.evidence` of a module.
    #[serde(default)]
    evidence: Option<serde_json::Value>,
}

/// Who asks the key service.
pub struct Operator {
    /// Where it is and how it is known.
    pub endpoint: Endpoint,
    /// Id at the service.
    pub id: [u8; 16],
    /// Tenant.
    pub tenant: String,
    /// Ed25519 seed.
    pub seed: Secret,
}

impl Operator {
    /// Reads the file that `args` name.
    pub fn load(args: &OperatorArgs) -> Outcome<Self> {
        let bytes = postern_files::read_private(&args.file, MAX_FILE)
            .or_environment("cannot read the operator's file (--operator, POSTERN_OPERATOR)")?;
        let bytes = Zeroizing::new(bytes);
        // A parser's error quotes what it read, which may be the key.
        let wire = serde_json::from_slice::<Wire>(&bytes)
            .map_err(|e| format!("line {}: expected the output of postern enrol", e.line()))
            .or_environment(args.file.display())?;
        Self::from_wire(wire).ok_or_else(|| {
            let file = args.file.display();
            Failure::environment(format_args!("{file}: expected the output of postern enrol"))
        })
    }

    fn from_wire(wire: Wire) -> Option<Self> {
        if wire.v != 1 {
            return None;
        }
        let simulated = match &wire.danger_allow_simulated {
            Some(text) => Some(B64.decode(text).ok()?.try_into().ok()?),
            None => None,
        };
        let seed = Secret::new(B64.decode(wire.seed.as_bytes()).ok()?);
        if seed.len() != 32 {
            return None;
        }
        let id = hex::read(wire.id.as_bytes())?;
        let endpoint = Endpoint { url: wire.url, ca: wire.ca, simulated, evidence: wire.evidence };
        Some(Self { endpoint, id, tenant: wire.tenant, seed })
    }

    /// Writes the file, mode 0600.
    pub fn save(&self, path: &Path) -> Outcome {
        let wire = Wire {
            v: 1,
            url: self.endpoint.url.clone(),
            ca: self.endpoint.ca.clone(),
            id: hex::lower(&self.id),
            tenant: self.tenant.clone(),
            seed: Zeroizing::new(B64.encode(self.seed.expose())),
            danger_allow_simulated: self.endpoint.simulated.map(|key| B64.encode(key)),
            evidence: self.endpoint.evidence.clone(),
        };
        let json = Zeroizing::new(serde_json::to_vec_pretty(&wire).or_bug("operator.json")?);
        postern_files::write_private(path, &json).or_environment("cannot write")
    }

    /// The service that this operator belongs to.
    pub fn service(&self) -> Outcome<Service<'_>> {
        Service::new(&self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator() -> Operator {
        let endpoint = Endpoint {
            url: "https://127.0.0.1:1".into(),
            ca: "pem".into(),
            simulated: Some([9; 32]),
            evidence: None,
        };
        let seed = Secret::new(vec![7; 32]);
        Operator { endpoint, id: [0xab; 16], tenant: "acme".into(), seed }
    }

    #[test]
    fn a_damaged_file_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("operator.json");
        for text in ["{\"v\": \"SECRET\"}", "\"SECRET\"", "{\"SECRET\": 1}", "SECRET"] {
            postern_files::write_private(&file, text.as_bytes()).unwrap();
            let refused = Operator::load(&OperatorArgs { file: file.clone() }).err().unwrap();
            assert!(!refused.to_string().contains("SECRET"), "{refused}");
        }
    }

    #[test]
    fn a_saved_operator_is_read_back_and_nobody_else_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("operator.json");
        operator().save(&file).unwrap();
        let read = Operator::load(&OperatorArgs { file: file.clone() }).unwrap();
        assert_eq!((read.id, read.seed.expose()), ([0xab; 16], [7; 32].as_slice()));
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&file, everyone).unwrap();
        let failure = Operator::load(&OperatorArgs { file }).map(drop).unwrap_err();
        assert!(failure.to_string().contains("chmod 600"), "{failure}");
    }
}
