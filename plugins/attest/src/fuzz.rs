//! Fuzz targets: the parsers of what a key service sends. Each takes any bytes and may only
//! return; nothing is accepted under keys that nobody holds.

use crate::note::{self, Key};
use crate::release_set::{Authorised, Pins, ReleaseSet};
use crate::snp::certificate::Certificate;
use crate::snp::report::Report;
use crate::snp::uvm::{self, Endorser};
use crate::snp::vcek::Vcek;
use crate::{Context, maa};

/// SEV-SNP reports.
pub fn fuzz_report(bytes: &[u8]) {
    if let Ok(report) = Report::parse(bytes) {
        assert_eq!(bytes.len(), 1184, "report");
        // Neither the hash nor its absence is a trap.
        let _ = report.binds(&[0; 32]);
    }
}

/// Certificates and their extensions.
pub fn fuzz_certificate(bytes: &[u8]) {
    if let Some(certificate) = Certificate::parse(bytes) {
        let _ = Vcek::read(&certificate).map(|vcek| vcek.is_for_chip(&[0; 64]));
    }
}

/// Tokens, whole and as claims.
pub fn fuzz_token(bytes: &[u8]) {
    let policy = maa::Policy {
        issuers: Vec::new(),
        policy_hashes: Vec::new(),
        max_age: maa::MAX_AGE,
        floors: Vec::new(),
        three_claims: true,
    };
    let releases = Authorised::nothing();
    let context = Context { runtime_hash: &[0; 32], releases: &releases, now: 1_795_329_000 };
    assert!(maa::appraise(bytes, &policy, &context, &mut |_| ()).is_err(), "nobody is pinned");
    maa::fuzz_claims(bytes, &context);
}

/// Endorsements.
pub fn fuzz_endorsement(bytes: &[u8]) {
    let nobody = "did:x509:0:sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA::eku:1.3.6.1";
    let endorsers: Vec<Endorser> = Endorser::new(nobody, "feed", 0).into_iter().collect();
    assert_eq!(uvm::open(bytes, &endorsers), None, "nobody has this hash");
}

/// Signed notes and release sets.
pub fn fuzz_release_set(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(set) = ReleaseSet::parse(text) {
        assert_eq!(set.text(), text, "release set");
    }
    if let Some(key) = Key::parse(text) {
        assert_eq!(key.vkey(), text, "key");
    }
    assert!(note::open(text, &[]).is_err(), "signed by nobody");
    let pins = Pins { origin: "x".into(), keys: Vec::new() };
    assert!(pins.open(bytes, 0, 0, &mut |_| ()).is_err(), "nobody is pinned");
}
