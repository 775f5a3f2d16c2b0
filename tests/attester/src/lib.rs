//! Evidence that tests make and sign themselves, good and hostile.
//!
//! Owns the keys in `keys/` and writes reports, certificates, endorsements, tokens and
//! release sets with code of its own and with `ring`: none of what it tests. Invariant:
//! nothing here is trusted by anything that ships; the keys are public.
#![forbid(unsafe_code)]

mod cbor;
mod der;
mod keys;
mod maa;
mod server;
mod snp;

pub use keys::{RELEASE_NAME, maa_key, release_set, release_vkey, root_modulus, stranger_root};
pub use maa::{ISSUER, KEY_ID, claims, header, token, token_by_stranger, token_of};
pub use server::MaaServer;
pub use snp::{Turin, Uvm, Vcek, ask, ask_by_stranger, report, report_by, uvm_fingerprint};

/// The container group's policy hash that test releases have.
pub const HOST_DATA: [u8; 32] = [0xca; 32];
/// The measurement that the test endorsement names.
pub const MEASUREMENT: [u8; 48] = [0x51; 48];
/// The test chip.
pub const CHIP_ID: [u8; 64] = [0xc1; 64];
/// Origin of the test release set.
pub const ORIGIN: &str = "keys.example/test";

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64url without padding.
#[must_use]
pub fn b64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}
