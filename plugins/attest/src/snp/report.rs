//! The attestation report of SEV-SNP (AMD 56860, table "ATTESTATION_REPORT"): 1184 bytes,
//! little-endian, signed over the first 672.
//!
//! Invariant: a [`Report`] has the length and the zeros that it has to have; nobody has
//! verified its signature yet.

use p384::ecdsa::signature::hazmat::PrehashVerifier;
use p384::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha384};

use crate::{Passed, Refusal, check};

/// Length of a report.
pub const LENGTH: usize = 1184;
/// What the signature covers.
const SIGNED: usize = 0x2a0;
/// ECDSA on P-384 with SHA-384.
const ECDSA_P384: u32 = 1;
const MASK_CHIP_KEY: u32 = 1 << 1;
/// Which key signed: 0 is the VCEK.
const SIGNING_KEY: u32 = 0b111 << 2;
const RESERVED_ONE: u64 = 1 << 17;
const MIGRATE_MA: u64 = 1 << 18;
const DEBUG: u64 = 1 << 19;

/// A report.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    signed: &'a [u8],
    version: u32,
    policy: u64,
    vmpl: u32,
    algorithm: u32,
    key_info: u32,
    report_data: [u8; 64],
    /// What was launched.
    pub measurement: [u8; 48],
    /// What the launch was bound to: for a container group, SHA-256 of its policy.
    pub host_data: [u8; 32],
    /// The firmware that the signing key stands for.
    pub reported_tcb: [u8; 8],
    /// The chip.
    pub chip_id: [u8; 64],
    r: [u8; 48],
    s: [u8; 48],
}

impl<'a> Report<'a> {
    /// Reads a report.
    ///
    /// # Errors
    /// [`Refusal::Report`] for another length, or where unused bytes of the signature or
    /// behind it, which nothing protects, are not zero.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() != LENGTH {
            return Err(Refusal::Report);
        }
        let report = Self::read(bytes).ok_or(Refusal::Report)?;
        let zero = |from, to| bytes.get(from..to).is_some_and(|it| it.iter().all(|b| *b == 0));
        let unused = [(0x2d0, 0x2e8), (0x318, LENGTH)];
        if unused.into_iter().all(|(from, to)| zero(from, to)) {
            Ok(report)
        } else {
            Err(Refusal::Report)
        }
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let word = |at| field(bytes, at).map(u32::from_le_bytes);
        Some(Self {
            signed: bytes.get(..SIGNED)?,
            version: word(0)?,
            policy: field(bytes, 0x08).map(u64::from_le_bytes)?,
            vmpl: word(0x30)?,
            algorithm: word(0x34)?,
            key_info: word(0x48)?,
            report_data: field(bytes, 0x50)?,
            measurement: field(bytes, 0x90)?,
            host_data: field(bytes, 0xc0)?,
            reported_tcb: field(bytes, 0x180)?,
            chip_id: field(bytes, 0x1a0)?,
            r: field(bytes, 0x2a0)?,
            s: field(bytes, 0x2e8)?,
        })
    }

    /// What has to hold whoever signed it.
    pub(super) fn acceptable(&self, passed: Passed<'_>) -> Result<(), Refusal> {
        let known = matches!(self.version, 2 | 3 | 5);
        check(known, "report: version", Refusal::ReportVersion, passed)?;
        let vcek = self.key_info & (MASK_CHIP_KEY | SIGNING_KEY) == 0;
        let vcek = vcek && self.algorithm == ECDSA_P384;
        check(vcek, "report: signing key is a VCEK", Refusal::SigningKey, passed)?;
        let strict = self.policy & (RESERVED_ONE | MIGRATE_MA | DEBUG) == RESERVED_ONE;
        check(strict, "report: no debugging, no migration", Refusal::GuestPolicy, passed)?;
        check(self.vmpl == 0, "report: VMPL 0", Refusal::Vmpl, passed)
    }

    /// Whether the holder of `key` signed it.
    pub fn signed_by(&self, key: &VerifyingKey) -> bool {
        let reversed = |mut number: [u8; 48]| {
            number.reverse();
            number
        };
        let signature = Signature::from_scalars(reversed(self.r), reversed(self.s));
        let digest = Sha384::digest(self.signed);
        signature.is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok())
    }

    /// Whether it was asked for with this hash and nothing else.
    pub fn binds(&self, hash: &[u8; 32]) -> bool {
        self.report_data
            .split_first_chunk::<32>()
            .is_some_and(|(bound, rest)| bound == hash && rest.iter().all(|byte| *byte == 0))
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
