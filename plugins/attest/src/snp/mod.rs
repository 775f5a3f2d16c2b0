//! AMD SEV-SNP reports, appraised without anybody between (kind `snp`).
//!
//! Owns the order of the checks and what they are made against. Invariant: the chain ends
//! in a root that is compiled in, or that a `danger_` key of the configuration has given.

pub mod certificate;
pub mod report;
mod roots;
mod rsa;
pub mod tcb;
pub mod uvm;
pub mod vcek;

use self::certificate::Certificate;
use self::report::Report;
pub use self::roots::{Product, Root, pinned};
use self::tcb::Tcb;
use self::uvm::Endorser;
use self::vcek::Vcek;
use crate::{Context, Passed, Refusal, check};

/// What a service sends.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The report, 1184 bytes.
    pub report: &'a [u8],
    /// DER of the certificate of the key that signed it.
    pub vcek: &'a [u8],
    /// DER of the certificate between it and the root.
    pub ask: &'a [u8],
    /// `COSE_Sign1` that endorses the measurement.
    pub uvm: Option<&'a [u8]>,
}

/// What is believed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Roots of the products that are allowed.
    pub roots: Vec<Root>,
    /// Chips that are allowed; with none, any of an allowed product.
    pub chip_ids: Vec<[u8; 64]>,
    /// Oldest firmware by product.
    pub floors: Vec<(Product, Tcb)>,
    /// Who may endorse measurements.
    pub endorsers: Vec<Endorser>,
    /// Measurements that need no endorsement.
    pub measurements: Vec<[u8; 48]>,
}

/// Appraises a report; when its certificates end, in seconds.
///
/// # Errors
/// The first rule that is broken.
pub fn appraise(
    parts: &Parts<'_>,
    policy: &Policy,
    context: &Context<'_>,
    passed: Passed<'_>,
) -> Result<u64, Refusal> {
    let report = Report::parse(parts.report)?;
    report.acceptable(passed)?;
    let (product, vcek, end) = chain(parts, policy, context.now, passed)?;
    let signed = report.signed_by(vcek.key());
    check(signed, "report: signed by the VCEK", Refusal::ReportSignature, passed)?;
    hardware(&report, &vcek, product, policy, passed)?;
    let known = context.releases.admits(&report.host_data);
    check(known, "host data: in the release set", Refusal::HostData, passed)?;
    measured(&report, parts.uvm, policy, passed)?;
    let binds = report.binds(context.runtime_hash);
    check(binds, "report data: binds the runtime data", Refusal::ReportData, passed)?;
    Ok(end)
}

/// VCEK <- ASK <- a root of an allowed product.
fn chain<'a>(
    parts: &Parts<'a>,
    policy: &Policy,
    now: u64,
    passed: Passed<'_>,
) -> Result<(Product, Vcek<'a>, u64), Refusal> {
    let ask = Certificate::parse(parts.ask).ok_or(Refusal::Certificate)?;
    let vcek = Certificate::parse(parts.vcek).ok_or(Refusal::Certificate)?;
    let root = policy.roots.iter().find(|root| ask.is_signed_pss(root.key()));
    let root = root.ok_or(Refusal::Chain)?;
    let key = ask.authority_key().ok_or(Refusal::Certificate)?;
    let linked = vcek.issuer == ask.subject && vcek.is_signed_pss(&key);
    check(linked, "certificate: chain to a pinned root", Refusal::Chain, passed)?;
    let valid = [&ask, &vcek].iter().all(|it| (it.not_before..it.not_after).contains(&now));
    check(valid, "certificate: chain valid now", Refusal::CertificateTime, passed)?;
    let end = ask.not_after.min(vcek.not_after);
    Ok((root.product(), Vcek::read(&vcek)?, end))
}

/// The certificate is that of this chip with this firmware, and both are allowed.
fn hardware(
    report: &Report<'_>,
    vcek: &Vcek<'_>,
    product: Product,
    policy: &Policy,
    passed: Passed<'_>,
) -> Result<(), Refusal> {
    check(vcek.is_of(product), "product: allowed", Refusal::Product, passed)?;
    let tcb = Tcb::from_bytes(product, &report.reported_tcb).ok_or(Refusal::Report)?;
    let same = vcek.tcb() == tcb;
    check(same, "firmware: certificate and report agree", Refusal::TcbDiffers, passed)?;
    let floors = policy.floors.iter().filter(|(of, _)| *of == product);
    let high = floors.map(|(_, floor)| floor).all(|floor| tcb.reaches(floor));
    check(high, "firmware: at or above the floor", Refusal::TcbFloor, passed)?;
    let same = vcek.is_for_chip(&report.chip_id);
    check(same, "chip id: certificate and report agree", Refusal::ChipDiffers, passed)?;
    let known = policy.chip_ids.is_empty() || policy.chip_ids.contains(&report.chip_id);
    check(known, "chip id: allowed", Refusal::ChipNotAllowed, passed)
}

/// A configured measurement, or one that a pinned issuer endorses.
fn measured(
    report: &Report<'_>,
    endorsement: Option<&[u8]>,
    policy: &Policy,
    passed: Passed<'_>,
) -> Result<(), Refusal> {
    if policy.measurements.contains(&report.measurement) {
        passed("measurement: in the configured list");
        return Ok(());
    }
    let endorsement = endorsement.filter(|_| !policy.endorsers.is_empty());
    let endorsement = endorsement.ok_or(Refusal::Measurement)?;
    let endorsed = uvm::open(endorsement, &policy.endorsers).ok_or(Refusal::Endorsement)?;
    passed("measurement: endorsement signed by a pinned issuer");
    let same = endorsed == report.measurement;
    check(same, "measurement: the endorsed one", Refusal::Measurement, passed)
}
