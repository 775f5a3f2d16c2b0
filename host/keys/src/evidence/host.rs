//! What the host of a confidential container group says about its machine: the files of
//! Azure's security context folder.
//!
//! Nothing here is trusted: gateways verify all of it. Invariant: bounded reads; a file that
//! is not as documented is a fault that names it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use postern_core::redacted::Redacted;
use serde::Deserialize;

use crate::fault::Fault;

/// Most bytes of one file.
const FILE: usize = 64 << 10;

/// The folder, if one is configured; else where the platform puts it.
#[derive(Clone, Debug)]
pub struct Host(Option<PathBuf>);

/// What the files hold.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The firmware that the certificate is for, as a report has it.
    pub(super) tcb: [u8; 8],
    /// DER.
    pub(super) vcek: Vec<u8>,
    /// DER.
    pub(super) ask: Vec<u8>,
    /// PEM of VCEK, ASK and ARK, in this order.
    pub(super) chain: String,
    /// `COSE_Sign1`.
    pub(super) uvm: Vec<u8>,
}

/// `host-amd-cert-base64`, decoded.
#[derive(Deserialize)]
struct Certificates {
    #[serde(rename = "vcekCert")]
    vcek: String,
    tcbm: String,
    #[serde(rename = "certificateChain")]
    chain: String,
}

impl Host {
    /// At this folder; with `None`, where `UVM_SECURITY_CONTEXT_DIR` says, or the one folder
    /// `/security-context-…`.
    pub fn at(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    fn folder(&self) -> Result<PathBuf, Fault> {
        let named = || std::env::var_os("UVM_SECURITY_CONTEXT_DIR").map(PathBuf::from);
        if let Some(folder) = self.0.clone().or_else(named) {
            return Ok(folder);
        }
        let root = std::fs::read_dir("/").map_err(|e| Fault::file(Path::new("/"), &e))?;
        let context = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with("security-context-"))
        };
        let found = root.filter_map(|entry| entry.ok().map(|entry| entry.path())).find(context);
        found.ok_or_else(|| Fault::file(Path::new("/security-context-*"), &"no such folder"))
    }

    pub(super) fn read(&self) -> Result<Facts, Fault> {
        let folder = self.folder()?;
        let path = folder.join("host-amd-cert-base64");
        let bad = |what: &str| Fault::file(&path, &format!("expected {what}"));
        let certificates: Certificates = serde_json::from_slice(&decoded(&path)?)
            .map_err(|_| bad("vcekCert, tcbm, certificateChain"))?;
        let tcb = u64::from_str_radix(&certificates.tcbm, 16).map_err(|_| bad("tcbm in hex"))?;
        let chain = format!("{}\n{}", certificates.vcek.trim(), certificates.chain.trim());
        let [vcek, ask, _] = pem(&chain)
            .and_then(|all| <[_; 3]>::try_from(all).ok())
            .ok_or_else(|| bad("three certificates in PEM"))?;
        let uvm = decoded(&folder.join("reference-info-base64"))?;
        Ok(Facts { tcb: tcb.to_le_bytes(), vcek, ask, chain, uvm })
    }
}

fn decoded(path: &Path) -> Result<Vec<u8>, Fault> {
    let bytes = postern_files::read_bounded(path, FILE).map_err(|e| Fault::file(path, &e))?;
    let text = String::from_utf8_lossy(&bytes);
    B64.decode(text.trim()).map_err(|_| Fault::File {
        path: path.display().to_string(),
        why: Redacted::new("expected base64"),
    })
}

/// DER of every certificate in a PEM text.
fn pem(text: &str) -> Option<Vec<Vec<u8>>> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let blocks = blocks.map(|block| {
        let content: String =
            block.split_once("-----END CERTIFICATE-----")?.0.split_whitespace().collect();
        B64.decode(content).ok()
    });
    blocks.collect()
}
