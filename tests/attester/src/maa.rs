//! Tokens as Azure Attestation writes them for confidential containers.

use serde_json::{Value, json};

use crate::keys::Rsa;
use crate::{HOST_DATA, MEASUREMENT, b64, hex, sha256};

/// The test issuer.
pub const ISSUER: &str = "https://test.attest.example";
/// Its key's id, with the characters that real ones have.
pub const KEY_ID: &str = "T3st/Key+Id=";

/// A good header.
#[must_use]
pub fn header() -> Value {
    json!({"alg": "RS256", "jku": format!("{ISSUER}/certs"), "kid": KEY_ID, "typ": "JWT"})
}

/// Good claims for `runtime`, issued at `now`.
#[must_use]
pub fn claims(runtime: &[u8], now: u64) -> Value {
    json!({
        "exp": now + 28_800, "iat": now, "nbf": now, "iss": ISSUER, "jti": "ab".repeat(32),
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-compliance-status": "azure-compliant-uvm",
        "x-ms-policy-hash": b64(&[0x90; 32]),
        "x-ms-runtime": serde_json::from_slice::<Value>(runtime).unwrap_or(Value::Null),
        "x-ms-sevsnpvm-authorkeydigest": "00".repeat(48),
        "x-ms-sevsnpvm-bootloader-svn": 3,
        "x-ms-sevsnpvm-familyId": "01".repeat(16),
        "x-ms-sevsnpvm-guestsvn": 2,
        "x-ms-sevsnpvm-hostdata": hex(&HOST_DATA),
        "x-ms-sevsnpvm-idkeydigest": "00".repeat(48),
        "x-ms-sevsnpvm-imageId": "02".repeat(16),
        "x-ms-sevsnpvm-is-debuggable": false,
        "x-ms-sevsnpvm-launchmeasurement": hex(&MEASUREMENT),
        "x-ms-sevsnpvm-microcode-svn": 115,
        "x-ms-sevsnpvm-migration-allowed": false,
        "x-ms-sevsnpvm-reportdata": format!("{}{}", hex(&sha256(runtime)), "0".repeat(64)),
        "x-ms-sevsnpvm-reportid": "07".repeat(32),
        "x-ms-sevsnpvm-smt-allowed": true,
        "x-ms-sevsnpvm-snpfw-svn": 8,
        "x-ms-sevsnpvm-tee-svn": 0,
        "x-ms-sevsnpvm-vmpl": 0,
        "x-ms-ver": "1.0",
    })
}

/// A token by the test key over any header and claims.
#[must_use]
pub fn token(header: &Value, claims: &Value) -> String {
    token_of(header.to_string().as_bytes(), claims.to_string().as_bytes())
}

/// A token by the test key over any bytes.
#[must_use]
pub fn token_of(header: &[u8], claims: &[u8]) -> String {
    signed(&Rsa::maa(), header, claims)
}

/// A token by a key that nobody pins, in the test key's name.
#[must_use]
pub fn token_by_stranger(header: &Value, claims: &Value) -> String {
    signed(&Rsa::stranger(), header.to_string().as_bytes(), claims.to_string().as_bytes())
}

fn signed(key: &Rsa, header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", b64(header), b64(claims));
    let signature = b64(&key.pkcs1_sha256(signed.as_bytes()));
    format!("{signed}.{signature}")
}
