//! Evidence of an SEV-SNP guest: a report of this machine, what its host says about it, and
//! a token of Azure Attestation where one is configured.
//!
//! Not run on hardware yet: the report source and the host's folder follow the kernel's and
//! Microsoft's documentation, and tests stand in for both. Invariant: a document is served
//! only while the report in it binds the runtime data that was asked for.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use super::{Attester, Host, Maa};
use crate::config::HardwareEvidence as Settings;
use crate::fault::Fault;

/// Length of a report.
const REPORT: usize = 1184;
/// Where the firmware that a report speaks for stands in it.
const REPORTED_TCB: std::ops::Range<usize> = 0x180..0x188;
/// Most bytes of a release set.
const RELEASE_SET: usize = 8 << 10;
/// How long a report and its token are used; gateways take tokens of an hour.
const FRESH_MS: u64 = 30 * 60 * 1000;
/// Least time between two reports for challenges, which anybody may send.
const CHALLENGE_MS: u64 = 1000;

/// Gives reports.
pub trait ReportSource: Send + Sync {
    /// A report with this report data.
    ///
    /// # Errors
    /// What the kernel answers.
    fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Fault>;
}

/// The kernel's interface for attestation reports (configfs, `tsm/report`, Linux 6.7).
pub struct Tsm(PathBuf);

impl Default for Tsm {
    fn default() -> Self {
        Self(PathBuf::from("/sys/kernel/config/tsm/report"))
    }
}

impl Tsm {
    /// At another folder, for tests.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

impl ReportSource for Tsm {
    fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Fault> {
        let entry = self.0.join(format!("postern-{}", std::process::id()));
        let failed = |error: std::io::Error| Fault::file(&entry, &error);
        // Left over by a process of the same number that was killed.
        let _ = std::fs::remove_dir(&entry);
        std::fs::create_dir(&entry).map_err(failed)?;
        // An attribute of the kernel: it is there, and takes one write.
        let report = OpenOptions::new()
            .write(true)
            .open(entry.join("inblob"))
            .and_then(|mut inblob| inblob.write_all(report_data))
            .and_then(|()| std::fs::read(entry.join("outblob")));
        let _ = std::fs::remove_dir(&entry);
        report.map_err(failed)
    }
}

/// What was made for one runtime data.
struct Made {
    runtime: [u8; 32],
    at: UnixMillis,
    members: String,
}

/// What is kept between questions.
#[derive(Default)]
struct Kept {
    latest: Option<Made>,
    challenged: Option<UnixMillis>,
}

/// Evidence of this machine.
pub struct Hardware {
    source: Box<dyn ReportSource>,
    host: Host,
    maa: Option<Maa>,
    direct: bool,
    release_set: PathBuf,
    kept: Mutex<Kept>,
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
            kept: Mutex::default(),
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

    /// The members for `runtime`: those that were made for it and are fresh, or new ones.
    /// When new ones cannot be had, the old ones serve until gateways find them too old.
    fn kept(&self, runtime: &[u8], now: UnixMillis) -> Result<String, Fault> {
        let hash: [u8; 32] = Sha256::digest(runtime).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = kept.latest.as_ref().filter(|made| made.runtime == hash);
        if let Some(made) = ours.filter(|made| now.0.abs_diff(made.at.0) < FRESH_MS) {
            return Ok(made.members.clone());
        }
        let old = ours.map(|made| made.members.clone());
        match (self.members(runtime), old) {
            (Ok(members), _) => {
                let made = Made { runtime: hash, at: now, members: members.clone() };
                kept.latest = Some(made);
                Ok(members)
            }
            (Err(fault), Some(members)) => {
                tracing::warn!(%fault, "no new evidence; the old one is served");
                Ok(members)
            }
            (Err(fault), None) => Err(fault),
        }
    }

    /// New members for a challenge, one a second at most.
    fn challenged(&self, runtime: &[u8], now: UnixMillis) -> Result<String, Fault> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.challenged.is_some_and(|last| now.0.abs_diff(last.0) < CHALLENGE_MS) {
            return Err(Fault::Attestation(Redacted::new("more than one challenge a second")));
        }
        kept.challenged = Some(now);
        drop(kept);
        self.members(runtime)
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
        // Runtime data in answer to a challenge starts with that member (RFC 8785 order).
        let members = if runtime.starts_with(b"{\"crp\":{\"challenge\"") {
            self.challenged(runtime, now)?
        } else {
            self.kept(runtime, now)?
        };
        // Read each time: the operator puts a new set there every few days.
        let set = postern_files::read_bounded(&self.release_set, RELEASE_SET)
            .map_err(|e| Fault::file(&self.release_set, &e))?;
        let (runtime, set) = (B64.encode(runtime), B64.encode(set));
        let document =
            format!("{{\"v\":1,{members},\"runtime\":\"{runtime}\",\"release_set\":\"{set}\"}}");
        Ok(document.into_bytes())
    }
}
