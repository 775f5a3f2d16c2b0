//! AWS Signature Version 4 of one shape of request: a POST to `/` without a query.
//!
//! The signer in `plugins/core` signs requests of others and only against a permit; a crate would
//! bring a client with it. Source: "AWS Signature Version 4 for API requests" in the IAM User
//! Guide. Invariant: every field that is sent but the signature itself is signed.

use hmac::{Hmac, KeyInit, Mac};
use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Service name of Secrets Manager.
const SERVICE: &str = "secretsmanager";

/// What signs.
pub struct Keys {
    /// Access key id. No secret.
    pub id: String,
    /// Secret access key.
    pub secret: Secret,
    /// Session token of temporary ones.
    pub token: Option<Secret>,
}

/// `20260102T030405Z` of a moment.
#[must_use]
pub fn stamp(now: UnixMillis) -> String {
    let seconds = now.seconds();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day, so many days after 1970-01-01 (Howard Hinnant, `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The field `authorization` of a request with these fields (lower case, ascending) and content.
#[must_use]
pub fn authorization(
    fields: &[(&str, &[u8])],
    content: &[u8],
    keys: &Keys,
    region: &str,
    stamp: &str,
) -> String {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = Zeroizing::new(b"POST\n/\n\n".to_vec());
    for (name, value) in fields {
        [name.as_bytes(), b":", value, b"\n"].iter().for_each(|part| canonical.extend(*part));
    }
    let digest = hex::lower(&Sha256::digest(content));
    canonical.extend(format!("\n{names}\n{digest}").as_bytes());
    let day = stamp.split('T').next().unwrap_or_default();
    let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
    let request = hex::lower(&Sha256::digest(&*canonical));
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{request}");
    let mut key = Zeroizing::new([b"AWS4".as_slice(), keys.secret.expose()].concat());
    for part in [day, region, SERVICE, "aws4_request"] {
        key = Zeroizing::new(mac(&key, part.as_bytes()));
    }
    let signature = hex::lower(&mac(&key, text.as_bytes()));
    let id = &keys.id;
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
}

/// HMAC takes a key of any length.
fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_aws_writes_it() {
        for (seconds, want) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(UnixMillis(seconds * 1000)), want);
        }
    }
}
