//! Why evidence is refused.
//!
//! Invariant: a refusal names a rule and never a value of the evidence.

use thiserror::Error;

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The release set is not in its one form, or not of the pinned origin.
    #[error("release set: not as specified")]
    ReleaseSet,
    /// No pinned key has signed the release set, or one in a pinned name is bad.
    #[error("release set: not signed by a pinned release key")]
    ReleaseSignature,
    /// The release set has ended, or would last longer than seven days from now.
    #[error("release set: not valid at this time")]
    ReleaseTime,
    /// The release set is older than one seen before.
    #[error("release set: older than one that was seen before")]
    ReleaseSequence,
    /// The image is not in the release set.
    #[error("host data: not in the release set")]
    HostData,
    /// The report binds other runtime data.
    #[error("report data: does not bind the runtime data")]
    ReportData,
    /// The report has another length, or its unused bytes are not zero.
    #[error("report: expected 1184 bytes as specified")]
    Report,
    /// A report version that is not known.
    #[error("report: version is not 2, 3 or 5")]
    ReportVersion,
    /// Not ECDSA P-384, masked chip id, or not signed by a VCEK.
    #[error("report: not signed with a versioned chip endorsement key")]
    SigningKey,
    /// The guest can be debugged, can be migrated, or its policy is malformed.
    #[error("report: guest policy allows debugging or migration")]
    GuestPolicy,
    /// The report was asked for by less than the most privileged level.
    #[error("report: not from VMPL 0")]
    Vmpl,
    /// The report's signature does not hold.
    #[error("report: signature does not hold")]
    ReportSignature,
    /// A certificate that is not as expected.
    #[error("certificate: not as specified")]
    Certificate,
    /// A certificate is not valid at this time.
    #[error("certificate: not valid at this time")]
    CertificateTime,
    /// No root of an allowed product stands behind the certificates.
    #[error("certificate: no chain to the root of an allowed product")]
    Chain,
    /// The certificate is for another product than its chain.
    #[error("certificate: product is not that of its chain")]
    Product,
    /// Certificate and report disagree about the firmware.
    #[error("firmware: certificate and report differ")]
    TcbDiffers,
    /// The firmware is older than the configured floor.
    #[error("firmware: below the configured floor")]
    TcbFloor,
    /// Certificate and report disagree about the chip.
    #[error("chip id: certificate and report differ")]
    ChipDiffers,
    /// The chip is not among those that are allowed.
    #[error("chip id: not in the configured list")]
    ChipNotAllowed,
    /// Nothing that is pinned vouches for the measurement.
    #[error("measurement: not endorsed and not in the configured list")]
    Measurement,
    /// The endorsement of the utility VM does not verify.
    #[error("endorsement: not signed by the pinned issuer")]
    Endorsement,
    /// The token is malformed, of another algorithm or type, or not signed.
    #[error("token: {0}")]
    Token(postern_jose::Refusal),
    /// Nobody pinned this issuer and key.
    #[error("token: issuer and key are not pinned")]
    NotPinned,
    /// The token is not valid at this time or too old.
    #[error("token: not valid at this time")]
    TokenTime,
    /// A claim is missing, of another type or of another value.
    #[error("token: claim {0} is not as required")]
    Claim(&'static str),
}
