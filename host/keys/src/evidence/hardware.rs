//! Evidence of an SEV-SNP guest: a report of this machine, what its host says about it, and
//! a token of Azure Attestation where one is configured.
//!
//! Not run on hardware yet: the report source and the host's folder follow the kernel's and
//! Microsoft's documentation, and tests stand in for both. Invariant: a document is served
//! only while the report in it binds the runtime data that was asked for.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use super::kept::Kept;
use super::{Attester, Host, Maa, ReportSource};
use crate::config::HardwareEvidence as Settings;
use crate::fault::Fault;

/// Length of a report.
const REPORT: usize = 1184;
/// Where the firmware that a report speaks for stands in it.
const REPORTED_TCB: std::ops::Range<usize> = 0x180..0x188;
/// Most bytes of a release set.
const RELEASE_SET: usize = 8 << 10;
/// Least time between two reports for challenges.
const CHALLENGES: Duration = Duration::from_secs(1);

/// Evidence of this machine.
pub struct Hardware {
    source: Box<dyn ReportSource>,
    host: Host,
    maa: Option<Maa>,
    direct: bool,
    release_set: PathBuf,
    kept: Kept,
}

impl Hardware {
    /// As configured, with reports from `source`.
    pub fn new(settings: &Settings, source: Box<dyn ReportSource>) -> Self {
        Self {
            source,
            host: Host::at(settings.host.clone()),
            maa: settings.maa.as_deref().map(Maa::new),
            direct: settings.snp,
            release_set: settings.release_set.clone(),
            kept: Kept::default(),
        }
    }

    /// A report, checked against what the host says about its certificate. Firmware may
    /// change under a running guest: then the host's files are read once more.
    fn report(&self, runtime_hash: &[u8; 32]) -> Result<(Vec<u8>, super::host::Facts), Fault> {
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(runtime_hash);
        for _ in 0..2 {
            let facts = self.host.read()?;
            let report = self.source.report(&report_data)?;
            let bound = report.get(0x50..0x90) == Some(&report_data);
            if report.len() != REPORT || !bound {
                return Err(Fault::Attestation(Redacted::new("a report that binds other data")));
            }
            if report.get(REPORTED_TCB) == Some(&facts.tcb) {
                return Ok((report, facts));
            }
        }
        let why = "the host's certificate is for other firmware than the report";
        Err(Fault::Attestation(Redacted::new(why)))
    }

    /// The members of the document that do not change while the runtime data does not.
    fn members(&self, runtime: &[u8]) -> Result<String, Fault> {
        let (report, facts) = self.report(&Sha256::digest(runtime).into())?;
        let mut members = format!("\"kind\":\"{}\"", self.kind());
        if let Some(maa) = &self.maa {
            let token = maa.attest(&report, &facts, runtime)?;
            members.push_str(&format!(",\"maa\":\"{token}\""));
        }
        if self.direct {
            let [report, vcek, ask, uvm] =
                [&report, &facts.vcek, &facts.ask, &facts.uvm].map(|part| B64.encode(part));
            members.push_str(&format!(
                ",\"snp\":{{\"report\":\"{report}\",\"vcek\":\"{vcek}\",\"ask\":\"{ask}\",\
                 \"uvm\":\"{uvm}\"}}"
            ));
        }
        Ok(members)
    }

    /// Read each time: the operator puts a new set there every few days.
    fn release_set(&self) -> std::io::Result<Vec<u8>> {
        postern_files::read_bounded(&self.release_set, RELEASE_SET)
    }

    /// The whole document.
    fn document(&self, runtime: &[u8], members: &str) -> Result<Vec<u8>, Fault> {
        let set = self.release_set().map_err(|e| Fault::file(&self.release_set, &e))?;
        let (runtime, set) = (B64.encode(runtime), B64.encode(set));
        let document =
            format!("{{\"v\":1,{members},\"runtime\":\"{runtime}\",\"release_set\":\"{set}\"}}");
        Ok(document.into_bytes())
    }
}

impl Attester for Hardware {
    fn kind(&self) -> &'static str {
        match (&self.maa, self.direct) {
            (Some(_), true) => "maa+snp",
            (Some(_), false) => "maa",
            (None, _) => "snp",
        }
    }

    fn attest(&self, runtime: &[u8], now: UnixMillis) -> Result<Vec<u8>, Fault> {
        let hash = Sha256::digest(runtime).into();
        let members = self.kept.get(hash, now, || self.members(runtime))?;
        self.document(runtime, &members)
    }

    fn answer(&self, runtime: &[u8], _: UnixMillis) -> Result<Vec<u8>, Fault> {
        self.document(runtime, &self.members(runtime)?)
    }

    fn token(&self, runtime: &[u8]) -> Result<String, Fault> {
        let Some(maa) = &self.maa else {
            return Err(Fault::Attestation(Redacted::new("no attestation service is configured")));
        };
        let (report, facts) = self.report(&Sha256::digest(runtime).into())?;
        maa.attest(&report, &facts, runtime)
    }

    fn between_challenges(&self) -> Duration {
        CHALLENGES
    }

    fn releases(&self) -> Option<Vec<u8>> {
        self.release_set().ok()
    }

    fn renew(&self, runtime: &[u8], now: UnixMillis) -> Result<(), Fault> {
        self.kept.renew(Sha256::digest(runtime).into(), now, || self.members(runtime))
    }
}
