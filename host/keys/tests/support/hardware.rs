//! A made machine: reports of the test chip, and what its host says.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use postern_attester::{self as made, MaaServer, Uvm, Vcek};
use postern_keys::Fault;
use postern_keys::config::HardwareEvidence;
use postern_keys::evidence::ReportSource;
use serde_json::json;

use super::NOW;

/// A machine of the test chip.
pub struct Machine;

impl ReportSource for Machine {
    fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Fault> {
        let data = *report_data;
        Ok(made::report(b"", |report| report[0x50..0x90].copy_from_slice(&data)))
    }
}

pub fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", B64.encode(der))
}

/// The host's folder and a release set.
pub fn host(folder: &Path, tcbm: &str) {
    let chain = pem(&made::ask()) + &pem(&made::ask_by_stranger());
    let certificates = json!({
        "vcekCert": pem(&Vcek::default().der()), "tcbm": tcbm, "certificateChain": chain,
        "cacheControl": "86400",
    });
    let write =
        |name: &str, bytes: &[u8]| postern_files::write_atomic(folder.join(name), bytes).unwrap();
    write("host-amd-cert-base64", B64.encode(certificates.to_string()).as_bytes());
    write("reference-info-base64", B64.encode(Uvm::default().cose()).as_bytes());
    let set = made::release_set(4, NOW.seconds() + 3600, &[made::HOST_DATA]);
    write("releases.note", set.as_bytes());
}

/// As the report of the test chip has it, most significant byte first.
pub const TCBM: &str = "d314000000000007";

pub fn settings(folder: &Path, snp: bool, maa: Option<&MaaServer>) -> HardwareEvidence {
    HardwareEvidence {
        snp,
        maa: maa.map(MaaServer::url),
        host: Some(folder.to_owned()),
        release_set: folder.join("releases.note"),
    }
}
